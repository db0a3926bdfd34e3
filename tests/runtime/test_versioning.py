"""What Git and DVC know of the project, in projects of a few files."""

import subprocess
from pathlib import Path

import pytest

from tarkib.errors import TarkibError
from tarkib.runtime import versioning

DVC_YAML = "stages:\n  demo:\n    cmd: x\n    outs:\n      - data/demo\n      - metrics.json:\n          cache: false\n"


def git(*arguments: str, at: Path | None = None) -> None:
    named = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *named, *arguments], cwd=at, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with recordings in data/raw, where the process stands, as within an experiment; without Git."""
    folder = tmp_path / "project"
    (folder / "data/raw/ney").mkdir(parents=True)
    (folder / "data/raw/ney/a.flac").touch()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_EXP_NAME", "trial")
    return folder


RAW = Path("data/raw")


def test_data_that_nobody_knows_are_refused_in_an_experiment_alone(project, monkeypatch):
    git("init")
    for data in (RAW, project / RAW):
        with pytest.raises(TarkibError, match=rf"{data}: not under DVC, .*; dvc add {data}$"):
            versioning.check_tracked(data)
    monkeypatch.delenv("DVC_EXP_NAME")
    versioning.check_tracked(RAW)


@pytest.mark.parametrize("pointer", ["data/raw.dvc", "data.dvc", "data/raw/ney.dvc"])
def test_data_under_dvc_are_known(project, pointer):
    Path(pointer).touch()
    git("init")
    git("add", pointer)
    versioning.check_tracked(RAW)


def test_data_that_are_made_or_in_git_or_elsewhere_are_known(project, tmp_path):
    git("init")
    versioning.check_tracked(Path("data/demo/raw"))
    (tmp_path / "archive").mkdir()
    versioning.check_tracked(tmp_path / "archive")
    Path("linked").symlink_to(tmp_path / "archive")
    versioning.check_tracked(Path("linked"))
    git("add", "data/raw")
    versioning.check_tracked(RAW)


def test_a_pointer_that_git_lacks_is_remarked_on(project, capsys):
    Path("data/raw.dvc").touch()
    versioning.check_tracked(RAW)
    assert capsys.readouterr().out == ""
    git("init")
    versioning.check_tracked(RAW)
    printed = capsys.readouterr().out
    assert printed.startswith("data/raw.dvc: Git does not track it")
    assert printed.endswith("; git add data/raw.dvc data/.gitignore\n")


def test_the_commit(project, monkeypatch):
    assert versioning.commit() == ""
    git("init", at=project.parent)
    git("commit", "--allow-empty", "-m", "of another project", at=project.parent)
    assert versioning.commit() == ""
    git("add", "params.yaml")
    git("commit", "-m", "start")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert versioning.commit() == head
    (project / "params.yaml").write_text("changed")
    assert versioning.commit() == f"{head}+"
    monkeypatch.setenv("PATH", "")
    assert versioning.commit() == ""
