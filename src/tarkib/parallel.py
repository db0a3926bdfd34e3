"""One helper that maps pure functions over jobs, here or in other processes; results never depend on how many.

A job is small and picklable, a function is importable by name; each job writes its own files and returns its rows.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from tarkib.errors import TarkibError

Job = TypeVar("Job")
Result = TypeVar("Result")

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, what: str, workers: int | None = None
) -> Iterator[Result]:
    """Yield function(job) for each job, in their order, telling the progress.

    Parameters
    ----------
    function : importable by name; must not depend on anything but its job.
    what : what is being worked on, for the progress line ("recordings").
    workers : processes; None for one a core. One worker, or one job, runs right here.

    Raises TarkibError where a worker process dies; what the function raises comes through as it is.
    """
    workers = min(workers or available_cores(), len(jobs))
    # One thread each: processes are what fills the cores, and a sum over another number of threads rounds differently.
    if workers <= 1:
        with threadpool_limits(1):
            yield from told(map(function, jobs), len(jobs), what)
        return
    with _single_threaded_children():
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            futures = [pool.submit(function, job) for job in jobs]
            yield from told((future.result() for future in futures), len(jobs), what)
        except BrokenProcessPool as error:
            raise TarkibError(
                f"a worker process died while working on {what}, most likely for want of memory; "
                "lower run.workers in params.yaml and run dvc repro again"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _single_threaded_children:
    """Processes started inside do their linear algebra on one thread: libraries read the setting once, at import."""

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in _THREAD_SETTINGS}
        os.environ.update(dict.fromkeys(_THREAD_SETTINGS, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def told(items: Iterator[Result], total: int, what: str) -> Iterator[Result]:
    """Pass items on with a progress bar on a terminal, or a plain line at each tenth in a log."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit="job")
        return
    for done, item in enumerate(items, start=1):
        yield item
        if done * 10 // total > (done - 1) * 10 // total:
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)
