"""A small project that the stages can run in: four instruments, two modes, a few seconds of work."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from tarkib.demo import orchestra

INSTRUMENTS = ("tar", "ney", "santur", "tonbak")
SETTINGS = {
    "data": {"raw": "data/raw", "test": "data/test"},
    "augment": {"train_mixtures": 24, "validation_mixtures": 12, "max_instruments": 3},
    "model": {"head_hidden": 16},
    "train": {"epochs": 3, "batch_size": 8},
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


def checksums(folder: Path, *names: str) -> dict[str, str]:
    """Sha256 of every file below some paths of a project."""
    files = [
        file
        for name in names
        for file in sorted((folder / name).rglob("*") if (folder / name).is_dir() else [folder / name])
        if file.is_file()
    ]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def run_python(folder: Path, code: str) -> subprocess.CompletedProcess:
    """Run Python in a project as DVC would run its stages there."""
    # One thread: tests run side by side, and their threads would wait for each other.
    environment = {
        **os.environ,
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'src'}",
        "DVC_ROOT": str(folder),
        "OMP_NUM_THREADS": "1",
        "TARKIB_DEBUG": "1",
    }
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


def run_stage(folder: Path, stage: str) -> subprocess.CompletedProcess:
    """Run a stage to its end."""
    done = run_python(folder, f"import runpy; runpy.run_module('stages.{stage}', run_name='__main__')")
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Solos in raw/ and excerpts in test/, of a small orchestra."""
    folder = tmp_path_factory.mktemp("orchestra")
    jobs = orchestra.plan(5, 2, 8, dastgahs=("shur", "mahur"), instruments=INSTRUMENTS, seconds=(10.0, 12.0))
    orchestra.write_tables([row for job in jobs for row in orchestra.make(job, folder)], folder)
    return folder


@pytest.fixture(scope="session")
def mixed(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages up to the mixtures have run; to be read, not to be changed."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("raw", "test"):
        shutil.copytree(recordings / name, folder / "data" / name)
    set_parameters(folder)
    for stage in ("slice", "annotate", "mix"):
        run_stage(folder, stage)
    return folder


@pytest.fixture(scope="session")
def finished(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages have all run; to be read, not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    shutil.copytree(mixed, folder)
    for stage in ("train", "evaluate"):
        run_stage(folder, stage)
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a copy of the finished project, without some of its outputs: `project("data/mixtures")`."""

    def copied(*without: str) -> Path:
        folder = tmp_path / "project"
        shutil.copytree(finished, folder)
        for name in without:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return folder

    return copied
