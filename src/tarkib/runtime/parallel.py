"""`map_jobs` maps a pure function over jobs, in processes here or on a Ray cluster, with equal results.

A job is small and picklable, the function importable by name; each job writes its own files and returns its rows.
"""

import importlib
import itertools
import logging
import multiprocessing
import os
import platform
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from unittest.mock import patch

from threadpoolctl import threadpool_limits

import tarkib
from tarkib.errors import TarkibError
from tarkib.runtime import parent_watch, project
from tarkib.runtime.progress import progress
from tarkib.runtime.text import bounded

Job = TypeVar("Job")
Result = TypeVar("Result")

# Environment of workers; libraries read it once, at their import.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
_RETRIES = 3  # of a job on a cluster whose process or node died
_CANCEL_S = 30  # for a cancelled job on a cluster to delete what is half-written


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    what: str,
    workers: int | None = None,
    engine: str = "local",
) -> Iterator[Result]:
    """Yield function(job) for each job, in their order, with a progress bar or lines that name `what` is done.

    `workers` is the number of jobs at once, None for one a core; "local" runs a single one in this process. The engine
    "ray" takes the cluster that RAY_ADDRESS names, else one that runs on this machine, else one that is started and
    stopped here, and repeats jobs whose process died. Raises TarkibError if a worker process died, and what the
    function raises.
    """
    if jobs:
        run = _map_on_cluster if engine == "ray" else _map_here
        yield from progress(run(function, jobs, what, workers), len(jobs), what)


def _map_here(function: Callable, jobs: Sequence, what: str, workers: int | None) -> Iterator:
    workers = min(workers or available_cores(), len(jobs))
    # One thread each: the processes fill the cores, and sums over another number of threads round differently.
    if workers == 1:
        with threadpool_limits(1):
            yield from map(function, jobs)
        return
    others = multiprocessing.active_children()
    spawn = multiprocessing.get_context("spawn")
    with patch.dict(os.environ, _ONE_THREAD):
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=parent_watch.end_with_parent)
        try:
            # Submitting starts processes, which inherit the blocked signals: Ctrl-C is for this process only.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                futures = [pool.submit(function, job) for job in jobs]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield from (future.result() for future in futures)
        except BaseException as error:
            # Running jobs are in vain, and may take minutes more.
            for worker in set(multiprocessing.active_children()).difference(others):
                worker.kill()
            if isinstance(error, BrokenProcessPool):
                raise _died(what) from error
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _died(what: str, times: str = "") -> TarkibError:
    return TarkibError(
        f"a worker process died{times} while working on {what}, most likely because memory ran out; "
        "lower run.workers in params.yaml and run dvc repro again"
    )


def _map_on_cluster(function: Callable, jobs: Sequence, what: str, workers: int | None) -> Iterator:
    """As `_map_here`, but submits no more jobs than may run at once."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise TarkibError("run.engine: ray needs Ray: pip install 'tarkib[ray]'") from error
    # First this checkout's code: MLflow puts the code of a loaded model before all other.
    path = [str(Path(tarkib.__file__).parents[1]), *sys.path]
    environment = {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(os.path.abspath, path))),
        "DVC_ROOT": str(project.root()),
        **_ONE_THREAD,
    }
    with _cluster(ray):
        workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(
            num_cpus=1,
            max_retries=_RETRIES,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": environment},
        )(_run_in)
        folder, waiting = os.getcwd(), iter(jobs)
        submitted: deque[Any] = deque()
        running: list[Any] = []

        def submit(count: int) -> None:
            new = [task.remote(folder, function, job) for job in itertools.islice(waiting, count)]
            submitted.extend(new)
            running.extend(new)

        try:
            submit(workers)
            while submitted:
                while submitted[0] in running:
                    ended, running[:] = ray.wait(running, num_returns=1)
                    submit(len(ended))
                yield _result(ray, submitted.popleft(), what)
        finally:
            # No job may still write when the caller deletes what is half-written. Workers that a shell started in the
            # background ignore the interrupt of the first try.
            for force, timeout in ((False, _CANCEL_S), (True, None)):
                for job in running:
                    ray.cancel(job, force=force)
                if running:
                    running[:] = ray.wait(running, num_returns=len(running), timeout=timeout)[1]


@contextmanager
def _cluster(ray: ModuleType) -> Iterator[None]:
    """Connect to a cluster; disconnects, and stops it if it was started here."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        host, _, port = address.rpartition(":")
        if port.isdigit() and "://" not in address:
            # Raises where nothing listens; Ray would try for minutes.
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, OverflowError, ray.exceptions.RayError) as error:
        raise TarkibError(
            f"run.engine: no Ray cluster (RAY_ADDRESS: {address or 'not set'}): {bounded(error, 500)}; "
            "see docs/cluster.md, or set run.engine to local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _run_in(folder: str, function: Callable, job: Any) -> Any:
    """Run a job in the project's folder: its paths may be relative, and workers start elsewhere."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise TarkibError(
            f"{folder}: {error.strerror} on {platform.node()}; every node of a cluster needs the project's folder at "
            "the same path, on a shared file system (docs/cluster.md)"
        ) from error
    return function(job)


def _result(ray: ModuleType, reference: Any, what: str) -> Any:
    errors = ray.exceptions
    try:
        return ray.get(reference)
    except errors.RayTaskError as error:
        raise error.cause from error
    except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as error:
        raise _died(what, f" {_RETRIES + 1} times") from error
    except errors.RayError as error:
        raise TarkibError(f"run.engine: Ray failed while working on {what}: {bounded(error, 500)}") from error
