"""Pre-training as its users run it."""

import re
from pathlib import Path

import pytest
from conftest import noise, write

from pipeline.conftest import run_python, run_stage, set_parameters
from tarkib.models import load_backbone

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with three recordings, one of them damaged."""
    set_parameters(tmp_path, pretrain={"recordings": "music", "steps": 2, "batch_size": 2, "clusters": 4})
    for seed in range(2):
        write(tmp_path / f"music/{seed}.flac", noise(6.25, seed))
    (tmp_path / "music/bad.wav").write_bytes(b"RIFF, but no more")
    return tmp_path


def test_it_leaves_a_backbone_and_says_how_to_go_on(folder):
    lines = run_stage(folder, "pretrain").stdout.splitlines()
    assert lines[0].startswith("bad.wav: cannot be decoded")
    assert lines[1] == "2 recordings, 0.00 hours"
    assert lines[-2].startswith("step 2/2, held out: acoustic loss ")
    line = """fine-tune from it: dvc exp run -S model.backbone=models/backbone -S 'model.revision="([0-9a-f]{16})"'"""
    pinned = re.fullmatch(line, lines[-1])[1]
    assert load_backbone(str(folder / "models/backbone"), revision=pinned, seed=1).hidden_size == 96
    assert "2 recordings" in (folder / "models/backbone/README.md").read_text()
    assert not list((folder / ".cache/pretraining/checkpoints").glob("*/checkpoint-*"))


FAILURES = """
import shutil
from contextlib import suppress
import stages
from stages import pretrain
from tarkib import pretraining

def fails(*_):
    raise OSError(28, "No space left on device")

pretraining.card = fails
for _ in range(2):
    with suppress(SystemExit):
        stages.run(pretrain.main)
    shutil.rmtree("music", ignore_errors=True)
"""


def test_failures_are_errors_and_leave_the_backbone_that_was_there(folder):
    (folder / "models/backbone").mkdir(parents=True)
    (folder / "models/backbone/config.json").write_text("the old one")
    done = run_python(folder, FAILURES)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: No space left on device; make room")
    assert errors[1].startswith("error: music: no such folder; put recordings there or point pretrain.recordings to")
    assert (folder / "models/backbone/config.json").read_text() == "the old one"
    assert [path.name for path in (folder / "models").iterdir()] == ["backbone"]
