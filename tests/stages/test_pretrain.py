"""Pre-training as its users run it."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import REPOSITORY

from stages.conftest import run_python, run_stage
from tarkib.models import load_backbone

SMALL = {"recordings": "unlabelled", "steps": 2, "batch_size": 2, "clusters": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with three recordings, one of them damaged."""
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    content["pretrain"].update(SMALL)
    content["run"].update({"workers": 1, "devices": "cpu"})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "unlabelled").mkdir()
    for name in ("one", "second"):
        samples = 0.1 * np.random.default_rng(len(name)).standard_normal(150_000)
        soundfile.write(tmp_path / f"unlabelled/{name}.flac", samples, 24_000)
    (tmp_path / "unlabelled/bad.wav").write_bytes(b"RIFF, but no more")
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
    import shutil
    shutil.rmtree("unlabelled", ignore_errors=True)
"""


def test_failures_are_one_line_and_leave_the_previous_backbone(folder):
    (folder / "models/backbone").mkdir(parents=True)
    (folder / "models/backbone/config.json").write_text("the old one")
    done = run_python(folder, FAILURES)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: No space left on device; make room")
    assert errors[1].startswith(
        "error: unlabelled: no such folder; put recordings there or point pretrain.recordings to them"
    )
    assert (folder / "models/backbone/config.json").read_text() == "the old one"
    assert [path.name for path in (folder / "models").iterdir()] == ["backbone"]
