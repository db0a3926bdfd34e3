import os
import signal

import pytest
from threadpoolctl import threadpool_info

from tarkib import parallel
from tarkib.errors import TarkibError


def square(number: int) -> int:
    return number * number


def threads(_: int) -> int:
    import numpy as np

    np.ones((4, 4)) @ np.ones((4, 4))
    return max((pool["num_threads"] for pool in threadpool_info()), default=1)


def fail(number: int) -> int:
    if number == 3:
        raise TarkibError("job 3 is wrong")
    return number


def die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_jobs(workers, capfd):
    assert list(parallel.map_jobs(square, range(20), what="numbers", workers=workers)) == [n * n for n in range(20)]
    told = capfd.readouterr().err
    assert "numbers: 20 of 20" in told
    assert len(told.splitlines()) == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_has_one_thread(workers):
    assert set(parallel.map_jobs(threads, range(2), what="threads", workers=workers)) == {1}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(workers):
    with pytest.raises(TarkibError, match="job 3 is wrong"):
        list(parallel.map_jobs(fail, range(6), what="jobs", workers=workers))


def test_a_killed_worker_is_told_and_does_not_hang():
    with pytest.raises(TarkibError, match=r"a worker process died while working on jobs.*run.workers"):
        list(parallel.map_jobs(die, range(4), what="jobs", workers=2))


def test_no_jobs():
    assert list(parallel.map_jobs(square, [], what="nothing")) == []
