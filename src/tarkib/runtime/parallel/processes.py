"""Jobs in processes of this machine."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from threadpoolctl import threadpool_limits

from tarkib.errors import TarkibError
from tarkib.runtime import parent_watch

Job = TypeVar("Job")
Result = TypeVar("Result")

THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Environment variables that tell libraries how many threads to use; read once, at their import."""


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], what: str, workers: int | None
) -> Iterator[Result]:
    """As `tarkib.runtime.parallel.map_jobs`, but for the telling; all jobs are handed out at once."""
    workers = min(workers or available_cores(), len(jobs))
    # One thread each: processes are what fills the cores, and a sum over another number of threads rounds differently.
    if workers <= 1:
        with threadpool_limits(1):
            yield from map(function, jobs)
        return
    others = multiprocessing.active_children()
    with _single_threaded_children():
        pool = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=parent_watch.follow
        )
        try:
            # Handed out, a job starts a process, which inherits what is blocked: Ctrl-C is for this one alone.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = [pool.submit(function, job) for job in jobs]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield from (future.result() for future in futures)
        except BaseException as error:
            # What is begun is in vain; it may take minutes more.
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()
            if isinstance(error, BrokenProcessPool):
                raise died(what) from error
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def died(what: str, times: str = "") -> TarkibError:
    """Error for a worker process that died; `times`, with a space before it, where it was tried more than once."""
    return TarkibError(
        f"a worker process died{times} while working on {what}, most likely for want of memory; "
        "lower run.workers in params.yaml and run dvc repro again"
    )


class _single_threaded_children:
    """Processes started inside do their linear algebra on one thread: libraries read the setting once, at import."""

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in THREAD_SETTINGS}
        os.environ.update(dict.fromkeys(THREAD_SETTINGS, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
