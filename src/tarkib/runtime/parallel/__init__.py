"""One helper that maps pure functions over jobs, here, in other processes or on a cluster; the results are the same.

A job is small and picklable, a function is importable by name; each job writes its own files and returns its rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tarkib.runtime.parallel import cluster, processes
from tarkib.runtime.parallel.processes import available_cores
from tarkib.runtime.progress import progress

__all__ = ["available_cores", "map_jobs"]

Job = TypeVar("Job")
Result = TypeVar("Result")

_ENGINES = {"local": processes.map_jobs, "ray": cluster.map_jobs}


def map_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    what: str,
    workers: int | None = None,
    engine: str = "local",
) -> Iterator[Result]:
    """Yield function(job) for each job, in their order, with its progress on the standard error.

    Parameters
    ----------
    function : importable by name; must not depend on anything but its job.
    what : what is being worked on, for the progress line ("recordings").
    workers : jobs at once; None for one a core. Where one is enough, "local" runs it right here.
    engine : "local", processes of this machine; "ray", a Ray cluster: the one that RAY_ADDRESS names, else one that
        runs on this machine, else one that is started for the purpose. There a job whose process dies is tried again.

    Raises TarkibError where a worker process dies; what the function raises comes through as it is.
    """
    if jobs:
        yield from progress(_ENGINES[engine](function, jobs, what, workers), len(jobs), what)
