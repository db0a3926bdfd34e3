"""Stages that are killed or interrupted while their workers are busy, alone and under DVC."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY

from .conftest import checksums, set_parameters

pytestmark = pytest.mark.slow

WITHIN_S = 120.0  # a limit; it takes a second

# Writing a clip blocks on a FIFO, while one exists.
HELD = """
def _held(samples, encode=encode):
    try:
        with open("hold") as hold:
            hold.read()
    except FileNotFoundError:
        pass
    return encode(samples)


encode = _held
"""


class Held:
    """A copy of this project whose slice stage can be held in the middle of a clip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "PYTHON"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    @contextmanager
    def held(self, *command: str) -> Iterator[tuple[subprocess.Popen, list[psutil.Process]]]:
        """Start a command whose stage is held; it, and it with all its descendants."""
        os.mkfifo(self.folder / "hold")
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Opening waits until the stage has opened the other end.
        hold = os.open(self.folder / "hold", os.O_WRONLY)
        (self.folder / "hold").unlink()
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
        try:
            yield process, family
        finally:
            os.close(hold)
            for orphan in psutil.wait_procs(family[1:], WITHIN_S)[1]:
                orphan.kill()
            process.communicate()


@pytest.fixture(scope="module")
def undisturbed(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """The project after its slice stage has run under DVC; to be read, not to be changed."""
    folder = tmp_path_factory.mktemp("kills") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith(("src/", "stages/", ".dvc", ".gitignore", "dvc.yaml", "versions.yaml", "data/.gitignore")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    with (folder / "src/tarkib/audio/clips.py").open("a") as file:
        # Two shards, so that two workers are at work.
        file.write(f"{HELD}\nCLIPS_PER_SHARD = 20\n")
    shutil.copytree(recordings / "raw", folder / "data/raw")
    set_parameters(folder, run={"workers": 2})
    project = Held(folder)
    assert project.run("git", "init", "-q").returncode == 0
    done = project.run("dvc", "repro", "-s", "slice")
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def project(undisturbed: Held, tmp_path: Path) -> Held:
    """A copy of it whose slice stage has not run."""
    folder = tmp_path / "project"
    shutil.copytree(undisturbed.folder, folder, ignore=shutil.ignore_patterns("slices", "dvc.lock", "cache", "tmp"))
    return Held(folder)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended in time."""
    return psutil.wait_procs(processes, WITHIN_S)[1]


def same(project: Held, undisturbed: Held) -> bool:
    left = [path for path in (project.folder / "data").iterdir() if ".tarkib." in path.name]
    return not left and checksums(project.folder, "data") == checksums(undisturbed.folder, "data")


def test_dvc_is_killed_and_run_again_at_once(project, undisturbed):
    """The stage that lost its DVC ends, and does not spoil the outputs of the next one."""
    with project.held("dvc", "repro", "-s", "slice") as (dvc, family):
        dvc.kill()
        dvc.wait(WITHIN_S)
        done = project.run("dvc", "repro", "-s", "slice")
        assert done.returncode == 0, done.stderr
        assert not alive(family[1:])
    assert same(project, undisturbed)
    assert "Stage 'slice' didn't change" in project.run("dvc", "repro", "-s", "slice").stdout


def test_a_stage_is_killed_and_its_workers_end(project, undisturbed):
    with project.held("dvc", "repro", "-s", "slice") as (dvc, family):
        (stage,) = (member for member in family if member.cmdline()[-2:] == ["-m", "stages.slice"])
        workers = [child for child in stage.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        stage.kill()
        assert not alive(workers)
        assert dvc.wait(WITHIN_S) != 0
    assert not (project.folder / "dvc.lock").exists()
    assert project.run("dvc", "repro", "-s", "slice").returncode == 0
    assert same(project, undisturbed)


@pytest.mark.parametrize(
    ("send", "number"),
    [
        (os.kill, signal.SIGINT),
        (os.kill, signal.SIGTERM),
        (os.kill, signal.SIGHUP),
        (os.killpg, signal.SIGINT),
    ],
)
def test_an_interrupted_stage_prints_a_line_and_leaves_nothing(project, send, number):
    with project.held(sys.executable, "-m", "stages.slice") as (stage, family):
        send(stage.pid, number)
        assert stage.wait(WITHIN_S) == 128 + number
        assert not alive(family)
        assert stage.stderr.read() == "interrupted; nothing is half-written, run again to go on\n"
    assert not (project.folder / "data/slices").exists()
    assert not [path for path in (project.folder / "data").iterdir() if ".tarkib." in path.name]


def test_a_stage_by_hand_outlives_what_started_it(project, undisturbed):
    """As with `nohup python -m stages.slice &` in a terminal that is closed."""
    script = "trap '' HUP; python -m stages.slice & wait"
    with project.held("sh", "-c", script) as (shell, family):
        os.killpg(shell.pid, signal.SIGHUP)
        shell.kill()
    assert not alive(family)
    assert same(project, undisturbed)


def test_a_folder_that_lacks_what_its_table_names_is_not_put_in_place(project):
    """As when another version of this project, which has no locks, clears the folder away."""
    with project.held(sys.executable, "-m", "stages.slice") as (stage, _):
        (partial,) = (project.folder / "data").glob(".*.tarkib.partial")
        (partial / "shard-00000.tar").unlink()
    assert stage.returncode == 1
    assert not (project.folder / "data/slices").exists()


def test_dvc_does_not_see_what_is_half_written_in_a_folder_that_it_tracks(undisturbed):
    names = ["data/raw/.0123456789abcdef.89abcdef.tarkib.partial", "data/raw/.0123456789abcdef.tarkib.lock"]
    assert undisturbed.run("dvc", "check-ignore", *names).stdout.split() == names
