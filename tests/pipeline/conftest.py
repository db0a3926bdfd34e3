"""A small project that the stages can run in: four instruments, two modes, a few seconds of work."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forks
import pytest
import yaml
from conftest import REPOSITORY

from tarkib.demo import orchestra

INSTRUMENTS = ("tar", "ney", "santur", "tonbak")
SETTINGS = {
    "data": {"raw": "data/raw", "fill": False, "test": "data/test"},
    "demo": {"performers": 2, "excerpts": 4},
    "augment": {"train_mixtures": 16, "validation_mixtures": 8, "max_instruments": 3},
    "model": {"backbone": "mert-tiny", "finetune": "full", "head_hidden": 16},
    "train": {"epochs": 2, "batch_size": 8},
    "evaluate": {"bootstrap_rounds": 20},
    "run": {"workers": 1, "devices": "cpu", "checkpoint_steps": 1},
}


def set_parameters(folder: Path, **sections: dict) -> None:
    """Write params.yaml: the shipped one, small, with some more changes."""
    content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    for changes in (SETTINGS, sections):
        for section, values in changes.items():
            content[section].update(values)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))


def bring_recordings(recordings: Path, folder: Path) -> Path:
    """Copy the small orchestra's recordings and test set into a project; returns the project."""
    for name in ("raw", "test"):
        shutil.copytree(recordings / name, folder / "data" / name)
    return folder


def checksums(folder: Path, *names: str) -> dict[str, str]:
    """Sha256 of every file below some paths of a project."""
    files = [file for name in names for file in (folder / name, *(folder / name).rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def run_python(folder: Path, code: str, forked: bool = True) -> subprocess.CompletedProcess:
    """Run Python in a project as DVC would run its stages there, in a fork (see `forks`) or in a process from anew."""
    # One thread: tests run side by side, and their threads would wait for each other.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}",
        "DVC_ROOT": str(folder),
        "TARKIB_DEBUG": "1",
    }
    if forked:
        return forks.run(code, folder, environment)
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def run_stage(folder: Path, stage: str, before: str = "", forked: bool = True) -> subprocess.CompletedProcess:
    """Run a stage to its end, after some other code."""
    code = f"{before}\nimport runpy; runpy.run_module('stages.{stage}', run_name='__main__')"
    done = run_python(folder, code, forked)
    assert done.returncode == 0, done.stderr
    return done


def refused(folder: Path, code: str) -> str:
    """Errors that a stage, or the code that runs it, prints when it fails; its data are as before."""
    before = checksums(folder, "data")
    if code.isidentifier():
        code = f"import runpy; runpy.run_module('stages.{code}', run_name='__main__')"
    done = run_python(folder, code)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    assert checksums(folder, "data") == before
    assert not list(folder.rglob("*.partial"))
    return done.stderr


class Checkout:
    """A folder with this project, in which commands run with this environment's programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        others = ("DVC_", "GIT_", "MLFLOW_", "PYTHON")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(others)},
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def run(self, *command: str, fails: bool = False) -> str:
        """Run a command there; returns what it printed, errors too."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def identify(self) -> None:
        """Name the author of commits."""
        self.run("git", "config", "user.name", "t")
        self.run("git", "config", "user.email", "t@example.org")

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Solos in raw/ and excerpts in test/, of a small orchestra."""
    folder = tmp_path_factory.mktemp("orchestra")
    jobs = orchestra.plan(5, 2, 8, dastgahs=("shur", "mahur"), instruments=INSTRUMENTS, seconds=(10.0, 12.0))
    orchestra.write_tables([row for job in jobs for row in orchestra.make(job, folder)], folder)
    return folder


@pytest.fixture(scope="module")
def fresh(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A Git repository with this project as Git has it, not committed, and the small orchestra's recordings."""
    project = Checkout(tmp_path_factory.mktemp("checkout") / "tarkib")
    listed = ["git", "ls-files", "-zco", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if name != "dvc.lock" and not name.startswith("metrics/") and (REPOSITORY / name).is_file():
            (project.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, project.folder / name)
    set_parameters(bring_recordings(recordings, project.folder))
    project.run("git", "init", "-q")
    project.identify()
    return project


@pytest.fixture(scope="session")
def mixed(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages up to the mixtures have run; to be read, not to be changed."""
    folder = bring_recordings(recordings, tmp_path_factory.mktemp("mixed"))
    set_parameters(folder)
    for stage in ("slice", "annotate", "mix"):
        run_stage(folder, stage)
    return folder


@pytest.fixture
def copied(mixed: Path, tmp_path: Path) -> Path:
    """A copy of the project with mixtures, to be changed."""
    return shutil.copytree(mixed, tmp_path / "project")


@pytest.fixture(scope="session")
def finished(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages have all run; to be read, not to be changed."""
    folder = shutil.copytree(mixed, tmp_path_factory.mktemp("finished") / "project")
    for stage in ("train", "evaluate"):
        run_stage(folder, stage)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a copy of the finished project, without some of its outputs: `project("data/mixtures")`."""

    def copied(*without: str) -> Path:
        folder = shutil.copytree(finished, tmp_path / "project")
        for path in map(folder.joinpath, without):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return folder

    return copied
