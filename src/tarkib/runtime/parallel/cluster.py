"""Jobs on a Ray cluster (docs/cluster.md), whose nodes share the project's folder."""

import importlib
import itertools
import logging
import os
import platform
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import tarkib
from tarkib.errors import TarkibError
from tarkib.runtime import project
from tarkib.runtime.parallel.processes import THREAD_SETTINGS, died

Job = TypeVar("Job")
Result = TypeVar("Result")

_RETRIES = 3  # of a job whose process or node died
_CANCELLED_WITHIN_S = 30  # a job has so long to clear up before its process is killed


def map_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], what: str, workers: int | None
) -> Iterator[Result]:
    """As `tarkib.runtime.parallel.map_jobs`, but for the telling; no more jobs are handed out than may run at once."""
    ray = _ray()
    with _cluster(ray):
        workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(
            num_cpus=1,
            max_retries=_RETRIES,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _worker_environment()},
        )(_run_in)
        here, waiting = os.getcwd(), iter(jobs)
        submitted: deque[Any] = deque()
        running: list[Any] = []

        def submit(count: int) -> None:
            new = [task.remote(here, function, job) for job in itertools.islice(waiting, count)]
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
            # None may still write when its stage clears away what is half-written.
            for one in running:
                ray.cancel(one)
            # An interrupt is lost on a worker that ignores it, as what a shell starts in the background does.
            left = ray.wait(running, num_returns=len(running), timeout=_CANCELLED_WITHIN_S)[1] if running else []
            for one in left:
                ray.cancel(one, force=True)
            if left:
                ray.wait(left, num_returns=len(left))


def _ray() -> ModuleType:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise TarkibError("run.engine: ray needs Ray: pip install 'tarkib[ray]'") from error


@contextmanager
def _cluster(ray: ModuleType) -> Iterator[None]:
    """Be connected to a cluster; what was connected or started here ends here, and nothing else."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        _knock(address)
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, OverflowError, ray.exceptions.RayError) as error:
        raise TarkibError(
            f"run.engine: no Ray cluster (RAY_ADDRESS: {address or 'not set'}): {_line(error)}; "
            "see docs/cluster.md, or set run.engine to local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nothing answers at host:port, since Ray would go on trying for many minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _worker_environment() -> dict[str, str]:
    """What a worker on a cluster must share with this process for the same code to give the same bytes."""
    # First where this code lies: a model that MLflow loaded before puts the code it brought before all other.
    path = [str(Path(tarkib.__file__).parents[1]), *sys.path]
    return {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(os.path.abspath(entry) for entry in path)),
        "DVC_ROOT": str(project.root()),
        **dict.fromkeys(THREAD_SETTINGS, "1"),
    }


def _run_in(folder: str, function: Callable[[Job], Result], job: Job) -> Result:
    """Run a job in a folder, since its paths may be relative and workers on a cluster begin elsewhere."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise TarkibError(
            f"{folder}: {error.strerror} on {platform.node()}; every node of a cluster needs the project's folder at "
            "the same path, on a shared file system (docs/cluster.md)"
        ) from error
    return function(job)


def _result(ray: ModuleType, reference: Any, what: str) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
    ) as error:
        raise died(what, f" {_RETRIES + 1} times") from error
    except ray.exceptions.RayError as error:
        raise TarkibError(f"run.engine: Ray failed while working on {what}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
