"""Pre-training as its users run it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import REPOSITORY

from stages import pretrain
from tarkib import params
from tarkib.errors import TarkibError
from tarkib.models import load_backbone
from tarkib.pretraining import publishing

SMALL = {"recordings": "heard", "steps": 2, "batch_size": 2, "clusters": 4}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with three recordings, one of them damaged; the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    content["pretrain"].update(SMALL)
    content["run"].update({"workers": 1, "devices": "cpu"})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "heard").mkdir()
    for name in ("one", "two"):
        samples = 0.1 * np.random.default_rng(len(name)).standard_normal(150_000)
        soundfile.write(tmp_path / f"heard/{name}.flac", samples, 24_000)
    (tmp_path / "heard/bad.wav").write_bytes(b"RIFF, but no more")
    return tmp_path


def test_it_leaves_a_backbone_and_says_how_to_go_on(project, capsys):
    pretrain.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("bad.wav: cannot be decoded")
    assert lines[1] == "2 recordings, 0.00 hours"
    assert lines[-2].startswith("step 2/2, held out: acoustic loss ")
    assert lines[-1] == "fine-tune from it: dvc exp run -S model.backbone=models/backbone"
    assert load_backbone("models/backbone", seed=1).hidden_size == 96
    assert "2 recordings" in (project / "models/backbone/README.md").read_text()
    assert not list((project / ".cache/pretraining/checkpoints").glob("*/checkpoint-*"))


def test_a_failure_leaves_the_backbone_that_was_there(project, monkeypatch):
    (project / "models/backbone").mkdir(parents=True)
    (project / "models/backbone/config.json").write_text("the old one")

    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "card", fails)
    with pytest.raises(OSError, match="No space"):
        pretrain.main()
    assert (project / "models/backbone/config.json").read_text() == "the old one"
    assert [path.name for path in (project / "models").iterdir()] == ["backbone"]


def test_no_recordings_is_an_error(project):
    content = yaml.safe_load((project / "params.yaml").read_text())
    content["pretrain"]["recordings"] = "nowhere"
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    assert params.load().pretrain.recordings == "nowhere"
    with pytest.raises(TarkibError, match=r"nowhere: no such folder; .*pretrain\.recordings"):
        pretrain.main()
