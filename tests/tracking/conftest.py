"""A project to track in, and a server."""

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


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server, named in MLFLOW_TRACKING_URI with a password."""
    one = Server(root, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.address.replace("//", "//me:s%40cret@"))
    yield one
    one.stop()
