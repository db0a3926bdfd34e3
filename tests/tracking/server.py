"""A tracking server of MLflow in a thread of this process, which can be made to fail."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection a request, so that none outlives the server

    def log(self, *_: object) -> None:
        """Say nothing."""


class Server:
    """Serves MLflow's REST interface below ``/mlflow``; its database and artifacts lie in a folder.

    `fails` is asked before each request: it is given the path, and its answer (status, body) is sent in place of
    MLflow's. One process has one server, since MLflow keeps the server's store in a global variable.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        from mlflow.server import app, handlers

        patch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/server.db")
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", (folder / "artifacts").as_uri())
        patch.setattr(handlers, "_tracking_store", None)
        patch.setattr(handlers, "_model_registry_store", None)
        # The server tells the client, which is of the same process here, to use the database directly.
        patch.setattr(handlers.utils, "set_tracking_uri", lambda uri: None)
        patch.setattr(handlers.registry_utils, "set_registry_uri", lambda uri: None)
        self.app = app
        self.fails: Callable[[str], tuple[str, bytes] | None] = lambda path: None
        self.requests: list[tuple[str, str | None]] = []
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        """For MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self.port}/mlflow"

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.requests.append((path, environ.get("HTTP_AUTHORIZATION")))
        if not path.startswith("/mlflow/"):
            answer = ("404 Not Found", b"<html>no such page</html>")
        else:
            answer = self.fails(path)
        if answer:
            # A connection that is closed over an unread body takes the answer along.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(answer[0], [("Content-Type", "text/html")])
            return [answer[1]]
        return self.app({**environ, "PATH_INFO": path.removeprefix("/mlflow")}, start_response)

    def start(self) -> None:
        """Answer, at the same address as before."""
        self.server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=_Silent)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Answer no more: connections are refused."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
