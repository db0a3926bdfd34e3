"""The page, served to this machine alone: a Starlette application, and the server that runs it.

What the user can put right is answered with status 409 and JSON: ``{"error": message}``.
"""

import shutil
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tarkib import audio
from tarkib.app.labelling import Change, Labels
from tarkib.app.recognition import Limits, error_message, events, media_type, playable
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser
from tarkib.runtime import pages
from tarkib.runtime.text import bounded, clock
from tarkib.vocabulary import INSTRUMENTS

ADDRESS = "127.0.0.1"
_MOST_JSON_BYTES = 100_000
# No other site may put the page into a frame of its own.
_HEADERS = {"Content-Security-Policy": "frame-ancestors 'none'", "Referrer-Policy": "no-referrer"}


class App:
    """The routes and what they share; where the model cannot be loaded the page says so.

    folder : with excerpts to label.
    scratch : a folder for uploads, which are deleted once they are answered, and for converted excerpts.
    """

    def __init__(self, model: str, folder: Path, limits: Limits, scratch: Path) -> None:
        self._recogniser: Recogniser | None = None
        self._missing = ""
        try:
            self._recogniser = Recogniser.load(model)
        except TarkibError as error:
            self._missing = str(error)
        self._folder, self._limits, self._scratch = folder, limits, scratch
        self._labels: Labels | None = None
        self._worker = ThreadPoolExecutor(1)
        self._templates = pages.environment(__package__)
        self._templates.filters["clock"] = clock

    def starlette(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/", self._recognition_page),
                Route("/recognition", self._recognition, methods=["POST"]),
                Route("/sound", self._convert, methods=["POST"]),
                Route("/label", lambda _: self._page("label", instruments=INSTRUMENTS)),
                Route("/labels", self._excerpt),
                Route("/labels/{key}", self._excerpt),
                Route("/labels/{key}", self._change, methods=["POST"]),
                Route("/labels/{key}/sound", self._excerpt_sound),
            ],
            exception_handlers={TarkibError: _refused, OSError: _refused},
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"]),
                Middleware(_own_pages_only),
            ],
        )

    def _recognition_page(self, _: Request) -> Response:
        endings = ", ".join(sorted(suffix[1:] for suffix in audio.SUFFIXES))
        model = self._recogniser and self._recogniser.origin
        return self._page("recognise", missing=self._missing, model=model, limits=self._limits, endings=endings)

    def _page(self, name: str, **context: Any) -> Response:
        css, script = pages.asset(__package__, "page.css"), pages.asset(__package__, f"{name}.js")
        html = self._templates.get_template(f"{name}.html").render(css=css, script=script, **context)
        return HTMLResponse(html, headers=_HEADERS)

    async def _recognition(self, request: Request) -> Response:
        """Recognise the body; the answer is JSON lines: progress, then the result or an error."""
        if self._recogniser is None:
            raise TarkibError(self._missing)
        name, path = await self._upload(request)
        template = self._templates.get_template("recognition.html")
        lines = events(self._recogniser, name, path, self._limits, self._worker, template)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _convert(self, request: Request) -> Response:
        """The sound of the body in a format that browsers play."""
        _, path = await self._upload(request)
        delete = BackgroundTask(shutil.rmtree, path.parent, ignore_errors=True)
        file = await run_in_threadpool(playable, path, path.parent)
        return FileResponse(file, media_type=media_type(file), background=delete)

    async def _upload(self, request: Request) -> tuple[str, Path]:
        """The name of an uploaded recording, and its file in a folder of its own."""
        name = request.query_params.get("name", "recording")
        ending = Path(name).suffix.lower()
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        path, size = folder / f"recording{ending if ending in audio.SUFFIXES else ''}", 0
        try:
            with path.open("wb") as file:
                # A browser reads the answer only once all is taken, so what is too much is read and thrown away.
                async for chunk in request.stream():
                    if size <= 1_000_000 * self._limits.megabytes:
                        file.write(chunk)
                    size += len(chunk)
        except BaseException:
            shutil.rmtree(folder)
            raise
        return name, path

    def _excerpt(self, request: Request) -> Response:
        key = request.path_params.get("key")
        if key is None:
            self._labels = None  # a page that is opened shows what is in the folder now
        return JSONResponse(self._open_labels().state(key))

    async def _change(self, request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_JSON_BYTES:
                raise HTTPException(413)
        try:
            change = Change.model_validate_json(body)
        except ValidationError as error:
            raise TarkibError(f"the request is not understood: {bounded(error.errors()[0]['msg'])}") from error
        state = await run_in_threadpool(lambda: self._open_labels().change(request.path_params["key"], change))
        return JSONResponse(state)

    def _excerpt_sound(self, request: Request) -> Response:
        file = playable(self._open_labels().file(request.path_params["key"]), self._scratch)
        return FileResponse(file, media_type=media_type(file))

    def _open_labels(self) -> Labels:
        labels = self._labels = self._labels or Labels(self._folder)
        return labels


def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": error_message(error)}, status_code=409)


def _own_pages_only(app: ASGIApp) -> ASGIApp:
    """Refuse what another site's page asks of this server."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        own = headers.get(b"origin") in (None, b"http://" + headers.get(b"host", b""))
        answer = app if own else PlainTextResponse("asked by another site", status_code=403)
        await answer(scope, receive, send)

    return guard


@contextmanager
def server(port: int, **options: Any) -> Iterator[tuple[uvicorn.Server, socket.socket, str]]:
    """A server that is not started yet, its socket, and the page's address; options as of `App`.

    Raises TarkibError for a port that is taken; port 0 is any that is free.
    """
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        raise TarkibError(f"--port {port}: {error.strerror}; give another one, or 0 for any that is free") from error
    with listening, tempfile.TemporaryDirectory(prefix="tarkib-app-", ignore_cleanup_errors=True) as scratch:
        app = App(scratch=Path(scratch), **options).starlette()
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        yield uvicorn.Server(settings), listening, f"http://{ADDRESS}:{listening.getsockname()[1]}/"


def run(port: int, browser: bool, label: bool, **options: Any) -> None:
    """Serve the page until it is interrupted, and open it (the one for labels) in a browser; options as of `App`."""
    with server(port, **options) as (serving, listening, address):
        address += "label" if label else ""
        print(f"{address}    (Ctrl+C ends)", flush=True)
        if browser:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            serving.run(sockets=[listening])
