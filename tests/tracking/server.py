"""A tracking server of MLflow in a thread of this process, which can be made to fail."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection a request, so that none outlives the server

    def log(self, *_: object) -> None:
        pass


class Server:
    """Serves MLflow's REST interface below ``/mlflow``, with its database in a folder; at most one a process.

    `fails` gets the path of each request; an answer of its own (status, body) is sent in place of MLflow's.
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
        return f"http://127.0.0.1:{self.port}/mlflow"

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.requests.append((path, environ.get("HTTP_AUTHORIZATION")))
        if answer := self.fails(path):
            # A connection that is closed over an unread body takes the answer along.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(answer[0], [("Content-Type", "text/html")])
            return [answer[1]]
        return self.app({**environ, "PATH_INFO": path.removeprefix("/mlflow")}, start_response)

    def start(self) -> None:
        self.server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=_Silent)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
