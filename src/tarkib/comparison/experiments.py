"""The experiments of a comparison: one for each mode and seed, found among what was run, and run where missing."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from tarkib.comparison import queue
from tarkib.comparison.commands import dvc, git
from tarkib.comparison.notation import counted
from tarkib.comparison.provenance import MODE, SEEDS, TARGET, Expectation
from tarkib.errors import TarkibError
from tarkib.runtime import project, yaml12
from tarkib.runtime.locks import file_lock

DONE, FAILED, MISSING, RUNNING, QUEUED = "done", "failed", "missing", "running", "queued"

_STATES = {queue.RUNNING: RUNNING, queue.QUEUED: QUEUED, queue.FAILED: FAILED}
_EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(.+)")
"""Where DVC keeps an experiment: below the commit that it started from."""

_LOST_AFTER = 5
"""So many times in a row a running task must be without worker and process before it counts as lost."""


@dataclass(frozen=True)
class Experiment:
    """What stands for a mode and a seed.

    `name` is DVC's, `revision` a commit and `created` when that was made, in UTC, both None until it is done;
    `reason` says why one is not done.
    """

    mode: str
    seed: int
    state: str
    name: str
    revision: str | None = None
    created: datetime | None = None
    reason: str | None = None

    @property
    def title(self) -> str:
        """Mode and seed in words."""
        return f"{self.mode}, seed {self.seed}"


def collect(expectation: Expectation, modes: Sequence[str], seeds: Sequence[int]) -> list[Experiment]:
    """Every mode and seed with what stands for it now, seed by seed.

    Of several that were made of the same the first is taken. Nothing is run or changed.
    """
    # The queue first: what ends in between is then found among the finished.
    tasks = queue.status().tasks
    done: dict[tuple[str, int], Experiment] = {}
    strays: dict[str, str] = {}
    for name, revision, lock in _finished(expectation.head):
        varied = expectation.met_by(lock)
        if varied is not None:
            one = Experiment(*varied, DONE, name, revision, _created(revision))
            if varied not in done or _age(one) < _age(done[varied]):
                done[varied] = one
        else:
            strays[name] = f"was made of something else: {expectation.differences(lock)[0]}"
    found = []
    for seed in seeds:
        for mode in modes:
            name = expectation.name(mode, seed)
            if (mode, seed) in done:
                found.append(done[mode, seed])
            elif tasks.get(name) in _STATES:
                state = _STATES[tasks[name]]
                reason = queue.failure(name) if state == FAILED else None
                found.append(Experiment(mode, seed, state, name, reason=reason))
            else:
                stray = strays.get(name)
                found.append(Experiment(mode, seed, FAILED if stray else MISSING, name, reason=stray))
    return found


def _finished(head: str) -> Iterator[tuple[str, str | None, Any]]:
    """Name, commit and dvc.lock of all that is finished: the experiments of every commit, and this commit itself.

    The workspace stands for nothing: its files may be others than those that its dvc.lock names.
    """
    # Not `dvc exp show`, which fails while another experiment is cleared away.
    for line in git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines():
        revision, _, reference = line.partition(" ")
        if found := _EXPERIMENT.fullmatch(reference):
            yield found[1], revision, _lock_of(revision)
    yield head[:7], head, _lock_of(head)


@cache
def _lock_of(revision: str) -> Any:
    """Content of a commit's dvc.lock, which never changes; None where there is none that YAML can read."""
    try:
        return yaml12.read(git("show", f"{revision}:./dvc.lock"))
    except (TarkibError, ValueError):
        return None  # a commit before the first dvc repro, or the mark of a merge; it stands for nothing


def _created(revision: str) -> datetime:
    return datetime.fromtimestamp(int(git("show", "--no-patch", "--format=%ct", revision)), UTC)


def _age(one: Experiment) -> tuple[datetime, str]:
    return one.created, one.name


def run(
    expectation: Expectation,
    modes: Sequence[str],
    seeds: Sequence[int],
    overrides: Mapping[str, str],
    *,
    jobs: int | None,
    devices: str,
    tell: Callable[[str], None],
    pause_s: tuple[float, float] = (1.0, 15.0),
) -> list[Experiment]:
    """Run what is missing, wait for what is queued, and return as `collect` does.

    What failed is tried anew. Killed at any moment, the experiments go on; called again, this waits for them.

    jobs : experiments at once; None for what `queue.shares` makes of the machine.
    devices : as `run.devices` is written.
    tell : given a line for whatever is worth knowing.
    pause_s : least and greatest pause between two looks at the queue; it grows while nothing happens.
    """
    # Another comparison that is started meanwhile shall find in the queue what is put there, not put it there again.
    with exclusively():
        found = collect(expectation, modes, seeds)
        waiting = {one.name: one for one in found if one.state in (RUNNING, QUEUED)}
        lacking = [one for one in found if one.state in (FAILED, MISSING)]
        if not waiting and not lacking:
            tell(f"all {len(found)} experiments are there")
            return found
        at_once, threads = queue.shares(devices, len(waiting) + len(lacking), jobs)
        there = sum(one.state == DONE for one in found)
        tell(
            f"{len(found)} experiments: {there} there, {len(waiting)} on their way, {len(lacking)} to run; "
            f"{at_once} at a time" + (f", {counted(threads, 'thread')} each" if threads else "")
        )
        _queue(lacking, overrides)
    waiting.update({one.name: one for one in lacking})
    tasks = queue.status().tasks
    others = sum(tasks[name] == queue.QUEUED for name in tasks.keys() - waiting.keys())
    if others:
        tell(f"{others} other experiment{'s' * (others > 1)} in the queue will be run too")
    with exclusively():
        queue.start(at_once, threads)
    try:
        _watch(waiting, overrides, at_once, threads, tell, pause_s)
    except KeyboardInterrupt:
        tell(
            "the experiments go on without being waited for; `dvc queue stop` lets those that run finish and starts no "
            "other, `dvc queue stop --kill` ends them now"
        )
        raise
    return collect(expectation, modes, seeds)


def exclusively() -> AbstractContextManager[None]:
    """Keep other comparisons of this project out, which would change the queue or write the same report."""
    return file_lock(project.cache("comparison.lock"))


def _queue(lacking: Sequence[Experiment], overrides: Mapping[str, str]) -> None:
    """Put experiments into the queue, after what is left there of earlier tries of the same names."""
    # Asked once for all: each call of DVC takes a second or two.
    tasks, made = queue.status().tasks, dvc("exp", "list", "--name-only").split()
    for one in lacking:
        if one.name in tasks:
            queue.remove(one.name)
        if one.name in made:
            dvc("exp", "remove", one.name)
        queue.put(one.name, TARGET, {**overrides, MODE: one.mode, **dict.fromkeys(SEEDS, one.seed)})


def _watch(
    waiting: dict[str, Experiment],
    overrides: Mapping[str, str],
    jobs: int,
    threads: int | None,
    tell: Callable[[str], None],
    pause_s: tuple[float, float],
) -> None:
    """Look at the queue until nothing of `waiting` is in it, telling what ends."""
    began = changed = time.monotonic()
    started: dict[str, float] = {}
    alone: Counter[str] = Counter()
    idle = 0
    while True:
        # Not while another comparison takes a lost task out and puts it in anew: it would look as if it had ended.
        with exclusively():
            now = queue.status()
        states = {name: now.tasks.get(name) for name in waiting}
        for name, state in states.items():
            if state == queue.RUNNING:
                started.setdefault(name, time.monotonic())
            elif state != queue.QUEUED:
                one = waiting.pop(name)
                changed = time.monotonic()
                tell(_ended(one, state, changed - started.get(name, began), len(waiting), changed - began))
        if not waiting:
            return
        # A worker that has just started, or is busy, may not answer once.
        idle = idle + 1 if queue.QUEUED in states.values() and now.active + now.idle == 0 else 0
        if idle > 1:
            with exclusively():
                queue.start(jobs, threads)
            idle = 0
        running = [name for name, state in states.items() if state == queue.RUNNING and name in waiting]
        # More tasks than workers: one has died, or is too busy to answer. Whose process is there is told by the system.
        pids = queue.processes() if now.count(queue.RUNNING) > now.active else None
        for name in running:
            alone[name] = alone[name] + 1 if pids is not None and not queue.alive(pids.get(name)) else 0
            if alone[name] >= _LOST_AFTER:
                del alone[name]
                started.pop(name, None)
                with exclusively():
                    # Another comparison that waits for it may have done so before.
                    if queue.status().tasks.get(name) == queue.RUNNING and not queue.alive(queue.processes().get(name)):
                        tell(f"{waiting[name].title}: its worker is gone; it is run anew")
                        queue.abandon(name)
                        _queue([waiting[name]], overrides)
        time.sleep(min(pause_s[1], max(pause_s[0], 0.25 * (time.monotonic() - changed))))


def _ended(one: Experiment, state: str | None, took_s: float, left: int, since_s: float) -> str:
    """A line about an experiment that has left the queue."""
    rest = f"{left} left, {_duration(since_s)} so far"
    if state == queue.SUCCESS:
        return f"{one.title}: done in {_duration(took_s)}; {rest}"
    why = f"failed: {queue.failure(one.name)}" if state == queue.FAILED else "was taken out of the queue"
    return f"{one.title}: {why}; {rest}"


def _duration(seconds: float) -> str:
    """A duration in words.

    >>> _duration(45.2), _duration(192), _duration(4000)
    ('45 s', '3 min 12 s', '1 h 6 min')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def without(one: Experiment, reason: str) -> Experiment:
    """The same experiment as one that cannot be used, and why."""
    return replace(one, state=FAILED, reason=reason)
