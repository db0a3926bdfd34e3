import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from conftest import ray_cluster
from threadpoolctl import threadpool_info

from tarkib.errors import TarkibError
from tarkib.runtime import parallel, project

ON_CLUSTER = [pytest.mark.slow, pytest.mark.cluster]
EVERYWHERE = [("local", 1), ("local", 2), pytest.param("ray", 2, marks=ON_CLUSTER)]


def on_cluster(test: Callable) -> Callable:
    """Mark a test that starts a Ray cluster."""
    return pytest.mark.slow(pytest.mark.cluster(test))


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """A Ray cluster of one node with two CPUs that this process is connected to."""
    with ray_cluster(nodes=1, cpus=2) as started:
        import ray

        # Once, since each connection starts workers of its own.
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        yield started
        ray.shutdown()


@pytest.fixture
def mapped(request: pytest.FixtureRequest) -> Callable[..., list]:
    """Map with an engine and a number of workers: `mapped(engine, workers, function, jobs)`."""

    def do(engine: str, workers: int | None, function: Callable, jobs: Sequence) -> list:
        if engine == "ray":
            request.getfixturevalue("cluster")
        return list(parallel.map_jobs(function, jobs, what="jobs", workers=workers, engine=engine))

    return do


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


def fill_the_disk(_: int) -> None:
    raise OSError(28, "No space left on device", "shard-00000.tar")


def die(number: int) -> int:
    """Kill the process that does job 1."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize(("engine", "workers"), EVERYWHERE)
@pytest.mark.slow
def test_results_and_errors_come_through_as_they_are(mapped, engine, workers, capfd):
    assert mapped(engine, workers, square, range(20)) == [n * n for n in range(20)]
    lines = capfd.readouterr().err.splitlines()
    assert (len(lines), lines[-1]) == (4, "jobs: 100 %")
    assert mapped(engine, workers, square, []) == []
    assert set(mapped(engine, workers, threads, range(2))) == {1}
    with pytest.raises(TarkibError, match=r"^job 3 is wrong$") as caught:
        mapped(engine, workers, fail, range(6))
    assert caught.type is TarkibError
    with pytest.raises(OSError, match="No space left") as caught:
        mapped(engine, workers, fill_the_disk, range(3))
    assert (caught.type, caught.value.errno, caught.value.filename) == (OSError, 28, "shard-00000.tar")


@pytest.mark.parametrize(("engine", "times"), [("local", ""), pytest.param("ray", " 4 times", marks=ON_CLUSTER)])
def test_a_killed_worker_is_an_error_and_does_not_hang(mapped, engine, times):
    with pytest.raises(TarkibError, match=rf"a worker process died{times} while working on jobs.*run.workers"):
        mapped(engine, 2, die, range(4))


def meet(number: int, fifo: Path) -> int:
    """End only once the other job has begun: opening either end of a fifo waits for the other."""
    os.close(os.open(fifo, os.O_RDONLY if number else os.O_WRONLY))
    return number


def stop_late(number: int, folder: Path) -> None:
    """Job 0 fails once job 1 is at work, which takes a while to stop."""
    meet(number, folder / "fifo")
    if number == 0:
        raise TarkibError("job 0 is wrong")
    try:
        while True:
            os.listdir(folder)
    finally:
        for _ in range(20_000):
            os.listdir(folder)
        (folder / "stopped").touch()


@on_cluster
def test_when_a_job_fails_no_other_is_at_work_any_more(mapped, tmp_path):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("started in the background by a shell, which lets interrupts be ignored: the job would be killed")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TarkibError, match="job 0 is wrong"):
        mapped("ray", 2, partial(stop_late, folder=tmp_path), range(2))
    assert (tmp_path / "stopped").exists()


def surroundings(_: int) -> tuple[Path, Path, str]:
    import tarkib

    return Path.cwd(), project.root(), tarkib.__file__


@on_cluster
def test_a_cluster_runs_this_code_in_this_folder_for_this_project(cluster, mapped, tmp_path, monkeypatch):
    import tarkib

    # As MLflow leaves it that loaded a model, which brings its code along.
    (tmp_path / "code/tarkib").mkdir(parents=True)
    (tmp_path / "code/tarkib/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.chdir(tmp_path)
    assert mapped("ray", 1, surroundings, [0]) == [(tmp_path, tmp_path, tarkib.__file__)]
    monkeypatch.setenv("DVC_ROOT", str(tmp_path.parent))
    assert mapped("ray", 1, surroundings, [0]) == [(tmp_path, tmp_path.parent, tarkib.__file__)]


def remove(folder: Path) -> None:
    folder.rmdir()


@on_cluster
def test_a_node_without_the_projects_folder_is_an_error(cluster, mapped, tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(TarkibError, match=r"project: No such file or directory on .*the project's folder at the same"):
        mapped("ray", 1, remove, [Path.cwd(), Path.cwd()])


OWN_CLUSTER = """
import os, psutil, test_parallel
from tarkib.runtime import parallel
alive = 0
for _ in parallel.map_jobs(test_parallel.square, range(3), what="jobs", engine="ray"):
    alive = max(alive, len(psutil.Process().children()))
assert alive
assert not [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
"""


@on_cluster
def test_a_cluster_is_started_where_there_is_none_and_ended(tmp_path):
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as home:
        # HOME: Ray keeps a token there.
        tests = Path(__file__).parents[1]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"HOME": home, "RAY_TMPDIR": home, "PYTHONPATH": f"{tests}:{tests / 'runtime'}"}
        code = [sys.executable, "-c", OWN_CLUSTER]
        done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["jobs: 33 %", "jobs: 66 %", "jobs: 100 %"]


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TarkibError, match=r"^run.engine: ray needs Ray: pip install 'tarkib\[ray\]'$"):
        list(parallel.map_jobs(square, range(2), what="jobs", engine="ray"))


def test_an_address_without_a_cluster_is_an_error(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # whatever other tests are connected to
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    for address in (closed, "nonsense"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(TarkibError, match=rf"no Ray cluster \(RAY_ADDRESS: {address}\): .*docs/cluster.md"):
            list(parallel.map_jobs(square, range(2), what="jobs", engine="ray"))
