"""Serving the page, to this machine alone."""

import os
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # Gradio looks when it is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gradio
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tarkib.app import page, routes
from tarkib.app.guard import MOST_BYTES, Guard
from tarkib.app.hearing import Limits
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser
from tarkib.runtime.text import bounded

ADDRESS = "127.0.0.1"


def application(model: str, folder: Path, limits: Limits, scratch: Path, label: bool) -> FastAPI:
    """The page and all that it asks for.

    Parameters
    ----------
    model : a classifier's folder, or what MLflow calls it. Where it cannot be loaded the page says so.
    folder : with excerpts to label.
    limits : of recordings to hear.
    scratch : a folder for uploads and what is made of them.
    label : whether to show the tab for labels first.
    """
    try:
        recogniser, missing = Recogniser.load(model), ""
    except TarkibError as error:
        recogniser, missing = None, str(error)
    made = scratch / "made"
    made.mkdir()
    gradio.set_static_paths(made)  # else Gradio would copy what is to be downloaded, and keep it
    sounds = routes.Sounds(made)
    blocks = page.build(recogniser, missing, limits, sounds, label)
    blocks.has_launched = True  # else Gradio does not check the paths that a browser names
    # Twice what is analysed, so that a recording only just too large arrives and gets the error with the remedy.
    most_bytes = 2_000_000 * limits.megabytes
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.include_router(routes.router(sounds, routes.Desk(folder, made)))
    gradio.mount_gradio_app(
        app,
        blocks,
        path="/",
        server_name=ADDRESS,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        max_file_size=most_bytes,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=page.theme(),
        head=page.head(),
    )
    app.add_middleware(Guard, upload_bytes=most_bytes + MOST_BYTES)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"])
    return app


def _misunderstood(_: Request, error: RequestValidationError) -> JSONResponse:
    """The first thing that is wrong with a request to our own routes, without repeating what was sent."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return JSONResponse({"error": bounded(f"{where}: {first['msg']}")}, status_code=422)


@contextmanager
def server(port: int, **options: Any) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
    """A server that `run` starts, its socket and the page's address; options as `application` takes them.

    port : 0 for any that is free.

    Raises TarkibError for a port that is taken.
    """
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        raise TarkibError(
            f"--port {port}: {os.strerror(error.errno)}; give another one, or 0 for any that is free"
        ) from error
    with listening, tempfile.TemporaryDirectory(prefix="tarkib-app-") as scratch, _uploads(Path(scratch) / "uploads"):
        app = application(scratch=Path(scratch), **options)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        yield uvicorn.Server(settings), listening, f"http://{ADDRESS}:{listening.getsockname()[1]}/"


@contextmanager
def _uploads(folder: Path) -> Iterator[None]:
    """Let Gradio keep uploads in a folder; by default all its pages on a machine share one."""
    before = os.environ.get(page.UPLOADS)
    os.environ[page.UPLOADS] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(page.UPLOADS)
        if before is not None:
            os.environ[page.UPLOADS] = before


def run(port: int, browser: bool, **options: Any) -> None:
    """Serve the page until it is interrupted; options as `application` takes them."""
    with server(port, **options) as (serving, listening, address):
        print(f"{address}    (Ctrl+C ends)", flush=True)
        if browser:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            serving.run(sockets=[listening])
