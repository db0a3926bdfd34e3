"""A project to track in, and a server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from .server import Server


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, in which the process stands, with no store named."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that MLflow has set up, which takes it a second, and in which nothing is."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def server(root: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, named in MLFLOW_TRACKING_URI with a password."""
    shutil.copy(database, root / "server.db")
    one = Server(root, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.address.replace("//", "//me:s%40cret@"))
    yield one
    one.stop()
