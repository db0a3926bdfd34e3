"""The experiments of a comparison, one for each mode and seed: which are done, and running those that are missing.

They run in DVC's queue, so with the code and parameters that they were queued with, and go on when this process ends.
"""

import base64
import contextlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import psutil  # comes with DVC

from tarkib.comparison.provenance import MODE, SEEDS, TARGET, Project, dvc, git
from tarkib.errors import TarkibError
from tarkib.runtime import project as files
from tarkib.runtime.locks import file_lock
from tarkib.runtime.parallel import available_cores
from tarkib.runtime.text import counted

DONE, FAILED, MISSING, RUNNING, QUEUED = "done", "failed", "missing", "running", "queued"

_COMMITS = "10"  # as many of the last ones as queued experiments may have started from
_TRIES = 20
_WRITTEN_S = 5.0  # a file of the queue that was written so long ago is no longer being written

ANSWER_S = 60.0
"""While DVC removes an experiment it may fail to show the queue, or hang: it is asked again after so long."""

PAUSES_S = (1.0, 15.0)
"""Shortest and longest pause between two looks at the queue; it grows while nothing happens."""

LOST_S = 120.0
"""A running task without a process for so long has lost its worker. (Before and after its stages it has no process.)"""


@dataclass(frozen=True)
class Experiment:
    """The experiment of a mode and a seed.

    `revision` is its commit, None until it is done; `reason` says why it failed.
    """

    mode: str
    seed: int
    state: str
    name: str
    revision: str | None = None
    reason: str | None = None

    @property
    def title(self) -> str:
        """Mode and seed in words."""
        return f"{self.mode}, seed {self.seed}"


class Task(NamedTuple):
    """An experiment in DVC's queue: its state, the process that runs it, the file of what it printed."""

    state: str
    pid: int | None
    log: str | None


def queue() -> dict[str, Task]:
    """The tasks in DVC's queue by the experiment's name."""
    for left in reversed(range(_TRIES)):
        try:
            shown = dvc("exp", "show", "--json", "--num", _COMMITS, "--hide-workspace", timeout_s=ANSWER_S)
            break
        except TarkibError:
            if not left:
                raise
            _drop_damaged()
            time.sleep(1.0)
    tasks: dict[str, Task] = {}
    for experiment in (one for commit in json.loads(shown) for one in commit["experiments"] or ()):
        if executor := experiment["executor"]:
            local = executor["local"] or {}
            # DVC lists running experiments first, failed ones last.
            tasks.setdefault(experiment["name"], Task(executor["state"], local.get("pid"), local.get("log")))
    return tasks


def _drop_damaged() -> None:
    """Delete files of DVC's queue that a kill left half-written: DVC would fail to read them for ever.

    The experiment of such a file is lost, and `run` queues it again.
    """
    folder = files.root() / ".dvc/tmp/exps"
    for file in (*folder.glob("celery/**/*"), *folder.glob("run/*/*")):
        try:
            is_json = file.name.startswith("celery-task-meta-") or file.suffix in (".msg", ".exchange", ".json", ".run")
            if is_json and time.time() - file.stat().st_mtime > _WRITTEN_S:
                json.loads(file.read_bytes())
        except ValueError:
            file.unlink(missing_ok=True)
            # DVC looks for the file of a task, by its revision, as long as the task's message is there.
            for message in folder.glob("celery/broker/processed/*.msg") if file.suffix == ".run" else ():
                with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                    if file.stem.encode() in base64.b64decode(json.loads(message.read_bytes())["body"]):
                        message.unlink()
            print(f"{file}: half-written, so that DVC could not read its queue; deleted", file=sys.stderr)
        except OSError:  # DVC has deleted it meanwhile
            continue


def collect(project: Project, modes: Sequence[str], seeds: Sequence[int]) -> list[Experiment]:
    """Every mode and seed with its experiment's state, seed by seed. Nothing is run."""
    # The queue first: an experiment that ends in between is then among the finished ones.
    tasks = queue()
    # DVC keeps a finished experiment as a Git reference refs/exps/<commit that it started from, in two parts>/<name>.
    references = git("for-each-ref", "--format=%(refname:lstrip=4) %(objectname)", "refs/exps").splitlines()
    finished = dict(line.split(" ") for line in references)
    experiments = []
    for seed, mode in itertools.product(seeds, modes):
        name = project.name(mode, seed)
        task = tasks.get(name)
        state = DONE if name in finished else task.state if task else MISSING
        if state not in (DONE, RUNNING, QUEUED, FAILED):
            state = MISSING
        reason = _failure(task) if task and state == FAILED else None
        experiments.append(Experiment(mode, seed, state, name, finished.get(name), reason))
    return experiments


def run(
    project: Project,
    modes: Sequence[str],
    seeds: Sequence[int],
    overrides: Mapping[str, str],
    *,
    jobs: int | None,
    devices: str,
    report: Callable[[str], None],
) -> list[Experiment]:
    """Run what is missing or failed, wait for it and for what is queued, and return as `collect` does.

    What DVC's queue has lost is queued once more. `jobs` is the number of experiments at a time (None: see
    `concurrency`); `report` receives lines of progress.
    """
    # Locked, so that a second comparison finds in the queue what this one puts there and does not queue it again.
    with comparison_lock():
        experiments = collect(project, modes, seeds)
        waiting = {one.name: one for one in experiments if one.state != DONE}
        lacking = [one for one in waiting.values() if one.state in (FAILED, MISSING)]
        at_once, threads = concurrency(devices, len(waiting), jobs)
        report(
            f"{counted(len(experiments), 'experiment')}: {len(experiments) - len(waiting)} done, "
            f"{len(waiting) - len(lacking)} in the queue, {len(lacking)} to run; {at_once} at a time"
        )
        _enqueue(lacking, overrides)
    awaited = frozenset(waiting)
    try:
        _watch(waiting, overrides, at_once, threads, report)
        with comparison_lock():
            lost = [one for one in collect(project, modes, seeds) if one.state == MISSING and one.name in awaited]
            _enqueue(lost, overrides)
        for one in lost:
            report(f"{one.title}: lost by DVC's queue; queued again")
        _watch({one.name: one for one in lost}, overrides, at_once, threads, report)
    except KeyboardInterrupt:
        report("the experiments go on in the background; `dvc queue stop --kill` ends them")
        raise
    return collect(project, modes, seeds)


def _enqueue(experiments: Sequence[Experiment], overrides: Mapping[str, str]) -> None:
    """Put experiments into DVC's queue in place of earlier tasks of the same names."""
    tasks = queue() if experiments else {}
    for one in experiments:
        if one.name in tasks:
            dvc("queue", "remove", one.name)
        values = {**overrides, MODE: one.mode, **dict.fromkeys(SEEDS, one.seed)}
        settings = [part for key, value in values.items() for part in ("-S", f"{key}={value}")]
        dvc("--wait-for-lock", "exp", "run", "--queue", "--name", one.name, *settings, TARGET)


def _watch(
    waiting: dict[str, Experiment],
    overrides: Mapping[str, str],
    at_once: int,
    threads: int | None,
    report: Callable[[str], None],
) -> None:
    """Keep workers busy until none of `waiting` is in the queue, and report what ends."""
    began = changed = time.monotonic()
    alive = dict.fromkeys(waiting, began)
    while waiting:
        # Not while another comparison queues a lost task again, which would look as if it had ended.
        with comparison_lock():
            tasks = queue()
            now = time.monotonic()
            states = {name: tasks[name].state if name in tasks else None for name in waiting}
            for name, state in states.items():
                if state != RUNNING or psutil.pid_exists(tasks[name].pid or -1):
                    alive[name] = now
                elif now - alive[name] > LOST_S:
                    try:
                        dvc("queue", "kill", name)  # DVC finds no process, and marks the task as failed
                    except TarkibError:
                        task = queue().get(name)
                        if task is not None and task.state == RUNNING:
                            raise
                        continue  # it has ended meanwhile
                    report(f"{waiting[name].title}: its process is gone; queued again")
                    _enqueue([waiting[name]], overrides)
            if QUEUED in states.values():
                dvc("queue", "start", "--jobs", str(at_once), threads=threads)  # as many workers as are not there yet
        for name, state in states.items():
            if state not in (RUNNING, QUEUED):
                experiment, changed = waiting.pop(name), now
                ended = f"failed: {_failure(tasks[name])}" if state == FAILED else state or "no longer in the queue"
                elapsed = timedelta(seconds=round(now - began))
                report(f"{experiment.title}: {ended}; {len(waiting)} left after {elapsed}")
        if waiting:
            time.sleep(min(PAUSES_S[1], max(PAUSES_S[0], 0.25 * (now - changed))))


def comparison_lock() -> AbstractContextManager[object]:
    """A lock against other comparisons of this project."""
    return file_lock(files.cache("comparison.lock"))


def concurrency(devices: str, count: int, jobs: int | None) -> tuple[int, int | None]:
    """How many of `count` experiments to run at a time, and with how many threads each (None: do not set it).

    A GPU takes one experiment at a time. Each core takes one: two small trainings side by side end sooner than one
    after the other with all cores. `jobs` and a set OMP_NUM_THREADS prevail.
    """
    gpu = False
    if not devices.startswith("cpu"):
        from tarkib.training.devices import choose

        gpu = choose(devices).kind == "cuda"
    cores = available_cores()
    at_once = jobs or (1 if gpu else max(1, min(cores, count)))
    return at_once, None if gpu or "OMP_NUM_THREADS" in os.environ else max(1, cores // at_once)


def _failure(task: Task) -> str:
    """Why a task failed, by its log: the stage's own error, else an exception, else DVC's error, else the last line."""
    try:
        log = Path(task.log or "").read_text("utf-8", errors="replace")
    except OSError:
        return "it failed before its first stage; `dvc exp run` with its parameters shows the error"
    # An error of several values names the first of them in the next line.
    own, exception = r"^error: (.+(?:(?<=:)\n.+)?)", r"^([\w.]*(?:Error|Exception|Interrupt)\b.*)"
    for pattern in (own, exception, r"^ERROR: (.+)", r"^(.*\S.*)"):
        if found := re.findall(pattern, log, re.MULTILINE):
            return " ".join(found[-1].split())
    return "nothing was printed"
