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

from .conftest import Checkout, checksums, set_parameters

pytestmark = pytest.mark.slow

WITHIN_S = 120.0  # a limit; it takes a second
SLICE = ("dvc", "repro", "-s", "slice")

# Writing a clip blocks on a FIFO, while one exists; two shards, so that two workers are at work.
HELD = """
def _held(samples, encode=encode):
    try:
        with open("hold") as hold:
            hold.read()
    except FileNotFoundError:
        pass
    return encode(samples)


encode = _held
CLIPS_PER_SHARD = 20
"""


@contextmanager
def held(project: Checkout, *command: str) -> Iterator[tuple[subprocess.Popen, list[psutil.Process]]]:
    """Start a command whose stage is held in the middle of a clip; it, and it with all its descendants."""
    os.mkfifo(project.folder / "hold")
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Opening waits until the stage has opened the other end.
    hold = os.open(project.folder / "hold", os.O_WRONLY)
    (project.folder / "hold").unlink()
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    try:
        yield process, family
    finally:
        os.close(hold)
        for orphan in alive(family[1:]):
            orphan.kill()
        process.communicate()


@pytest.fixture(scope="module")
def undisturbed(fresh: Checkout) -> Checkout:
    """The project after its slice stage has run under DVC; to be read, not to be changed."""
    with (fresh.folder / "src/tarkib/audio/clips.py").open("a") as file:
        file.write(HELD)
    set_parameters(fresh.folder, run={"workers": 2})
    (fresh.folder / "data/demo").mkdir()  # which the stage declares, and reads with data.fill alone
    fresh.run(*SLICE)
    return fresh


@pytest.fixture
def project(undisturbed: Checkout, tmp_path: Path) -> Checkout:
    """A copy of it whose slice stage has not run."""
    ignored = shutil.ignore_patterns("slices", "dvc.lock", "cache", "tmp")
    return Checkout(shutil.copytree(undisturbed.folder, tmp_path / "project", ignore=ignored))


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended in time."""
    return psutil.wait_procs(processes, WITHIN_S)[1]


def same(project: Checkout, undisturbed: Checkout) -> bool:
    """Whether all data are equal, and nothing else lies beside them."""
    return checksums(project.folder, "data") == checksums(undisturbed.folder, "data")


def test_dvc_is_killed_and_run_again_at_once(project, undisturbed):
    """The stage that lost its DVC ends, and does not spoil the outputs of the next one."""
    with held(project, *SLICE) as (dvc, family):
        dvc.kill()
        dvc.wait(WITHIN_S)
        project.run(*SLICE)
        assert not alive(family[1:])
    assert same(project, undisturbed)
    assert "Stage 'slice' didn't change" in project.run(*SLICE)


def test_a_stage_is_killed_and_its_workers_end(project, undisturbed):
    with held(project, *SLICE) as (dvc, family):
        (stage,) = (member for member in family if member.cmdline()[-2:] == ["-m", "stages.slice"])
        workers = [child for child in stage.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 2
        stage.kill()
        assert not alive(workers)
        assert dvc.wait(WITHIN_S) != 0
    assert not (project.folder / "dvc.lock").exists()
    project.run(*SLICE)
    assert same(project, undisturbed)


@pytest.mark.parametrize(("send", "number"), [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGINT)])
def test_an_interrupted_stage_prints_a_line_and_leaves_nothing(project, send, number):
    with held(project, sys.executable, "-m", "stages.slice") as (stage, family):
        send(stage.pid, number)
        assert stage.wait(WITHIN_S) == 128 + number
        assert not alive(family)
        assert stage.stderr.read() == "interrupted; nothing is half-written, run again to go on\n"
    assert not (project.folder / "data/slices").exists()
    assert not [path for path in (project.folder / "data").iterdir() if ".tarkib." in path.name]


def test_a_stage_by_hand_outlives_what_started_it(project, undisturbed):
    """As with `nohup python -m stages.slice &` in a terminal that is closed."""
    with held(project, "sh", "-c", "trap '' HUP; python -m stages.slice & wait") as (shell, family):
        os.killpg(shell.pid, signal.SIGHUP)
        shell.kill()
    assert not alive(family)
    assert same(project, undisturbed)


def test_a_folder_that_lacks_what_its_table_names_is_not_put_in_place(project):
    """As when another version of this project, which has no locks, clears the folder away."""
    with held(project, sys.executable, "-m", "stages.slice") as (stage, _):
        (partial,) = (project.folder / "data").glob(".*.tarkib.partial")
        (partial / "shard-00000.tar").unlink()
    assert stage.returncode == 1
    assert not (project.folder / "data/slices").exists()


def test_dvc_does_not_see_what_is_half_written_in_a_folder_that_it_tracks(undisturbed):
    names = ["data/raw/.0123456789abcdef.89abcdef.tarkib.partial", "data/raw/.0123456789abcdef.tarkib.lock"]
    assert undisturbed.run("dvc", "check-ignore", *names).split() == names
