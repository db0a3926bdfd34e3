"""A disk without room, played by a limit on a file's size: both let a write fail midway."""

import shutil

import pytest

from .conftest import checksums, run_python, set_parameters

LIMITED = """
import resource, runpy, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
runpy.run_module("stages.{stage}", run_name="__main__")
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", ["demo", "slice", "mix"])
def test_a_stage_without_room_says_so_and_leaves_the_old(mixed, tmp_path, stage, workers):
    folder = tmp_path / "project"
    shutil.copytree(mixed, folder)
    set_parameters(folder, run={"workers": workers})
    done = run_python(folder, LIMITED.format(stage=stage))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "error: File too large; make room (or raise the limit) and run dvc repro again" in done.stderr
    assert checksums(folder, "data") == checksums(mixed, "data")
    assert not list(folder.rglob("*.partial"))
