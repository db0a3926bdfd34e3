"""DVC's queue of experiments: what stands in it, putting in, starting, taking out, and why something failed."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tarkib.comparison.commands import dvc
from tarkib.errors import TarkibError
from tarkib.runtime.parallel import available_cores

RUNNING, QUEUED, FAILED, SUCCESS = "Running", "Queued", "Failed", "Success"

_TASK = re.compile(rf"[0-9a-f]{{7}}\s+(\S+)\s+.*\s({RUNNING}|{QUEUED}|{FAILED}|{SUCCESS})\s*")
_WORKERS = re.compile(r"Worker status: (\d+) active, (\d+) idle")


@dataclass(frozen=True)
class Status:
    """The queue at a moment: the state of each named task, and how many workers are at work and waiting."""

    tasks: dict[str, str]
    active: int
    idle: int

    def count(self, state: str) -> int:
        """Tasks in a state, anybody's."""
        return sum(one == state for one in self.tasks.values())


def status() -> Status:
    """Ask DVC."""
    tasks: dict[str, str] = {}
    workers = (0, 0)
    for line in dvc("queue", "status").splitlines():
        if found := _TASK.fullmatch(line):
            # Of two tasks with one name the first in DVC's order: running, queued, failed, done.
            tasks.setdefault(found[1], found[2])
        elif found := _WORKERS.match(line):
            workers = (int(found[1]), int(found[2]))
    return Status(tasks, *workers)


def put(name: str, target: str, values: Mapping[str, object]) -> None:
    """Queue an experiment with some parameters set."""
    settings = [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
    dvc("--wait-for-lock", "exp", "run", "--queue", "--name", name, *settings, target)


def start(jobs: int, threads: int | None) -> None:
    """Start workers, so many as are not there yet, whose stages compute with so many threads (None: as they like)."""
    dvc("queue", "start", "--jobs", str(jobs), environment={} if threads is None else {"OMP_NUM_THREADS": str(threads)})


def remove(name: str) -> None:
    """Take a task that is done or failed out of the queue; its experiment stays."""
    dvc("queue", "remove", name)


def abandon(name: str) -> None:
    """Take out a task whose worker is gone and which DVC therefore still shows as running."""
    # DVC marks it as failed when it cannot find the process to interrupt.
    dvc("queue", "kill", name)
    remove(name)


def processes() -> dict[str | None, int | None]:
    """Process of each running task by its name, None where it has none (yet)."""
    from dvc.repo import Repo

    with Repo(".") as repo:
        tasks = repo.experiments.celery_queue
        infos = {one.name: tasks.proc.get(one.stash_rev) for one in tasks.iter_active()}
    return {name: None if info is None else info.pid for name, info in infos.items()}


def alive(pid: int | None) -> bool:
    """Whether a process is there."""
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def failure(name: str) -> str:
    """Why a task failed, in one line: the stage's own error, else the last that was said."""
    try:
        return reason(dvc("queue", "logs", name).splitlines())
    except TarkibError as error:
        # Without a log it failed before its first stage.
        return str(error).partition(": ")[2]


def reason(log: Sequence[str]) -> str:
    """The line of a log that says why it ends.

    >>> reason(["training", "error: data/raw: no recordings", "ERROR: failed to reproduce 'slice'"])
    'data/raw: no recordings'
    """
    lines = [line.strip() for line in log if line.strip()]
    for k, line in reversed(list(enumerate(lines))):
        if line.startswith("error: "):
            # An error of several values names the first of them in the line below.
            more = f" {lines[k + 1]}" if line.endswith(":") and k + 1 < len(lines) else ""
            return line.removeprefix("error: ") + more
    for line in reversed(lines):
        if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line):
            return line
    for line in reversed(lines):
        if line.startswith("ERROR: "):
            return line.removeprefix("ERROR: ")
    return lines[-1] if lines else "it said nothing"


def shares(devices: str, count: int, jobs: int | None) -> tuple[int, int | None]:
    """How many experiments at once, and with how many threads each (None: not to be set).

    A GPU is given to one experiment after another. Cores are given one to an experiment: two small trainings side by
    side take less time than one after the other with all cores each. What the user has set for threads stays.
    """
    gpu = False
    if not devices.startswith("cpu"):
        from tarkib.training.devices import choose

        gpu = choose(devices).kind == "cuda"
    cores = available_cores()
    at_once = jobs or (1 if gpu else max(1, min(cores, count)))
    settled = gpu or "OMP_NUM_THREADS" in os.environ
    return at_once, None if settled else max(1, cores // at_once)
