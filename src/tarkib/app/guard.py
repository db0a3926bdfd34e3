"""What is refused before a request reaches the page: another site's, a body that is too large, JSON that is none.

So neither Gradio's routes nor our own ever meet what has no text (half of a surrogate pair) or no number (NaN), which
they could not even repeat in an answer.
"""

import json

from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1_000_000
"""Of the body of a request that uploads no recording: some hundred times what the page ever sends."""

# Gradio needs its own inline scripts, styles and functions made from text; nothing may come from or go to elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob: data:; font-src 'self' data:; connect-src 'self' blob: data:; "
    "worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


class Guard:
    """Refuses what another site's page asks of this server, and forbids this page to ask anything of others.

    A body is at most as large as it may be (else status 413), and JSON unless it is an upload (else 400).

    Parameters
    ----------
    upload_bytes : the largest body that brings a recording.
    """

    def __init__(self, app: ASGIApp, upload_bytes: int) -> None:
        self._app, self._upload_bytes = app, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                added["Content-Security-Policy"] = _POLICY
                added["X-Content-Type-Options"] = "nosniff"
                added["Referrer-Policy"] = "no-referrer"
            await send(message)

        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers.get('host')}":
            await PlainTextResponse("asked by another site", status_code=403)(scope, receive, guarded)
        elif scope["path"].rstrip("/").endswith("/upload"):
            await self._app(scope, _counted(receive, self._upload_bytes), guarded)
        elif scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, guarded)
        else:
            await self._checked(scope, receive, guarded)

    async def _checked(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is small and JSON, or has none."""
        body, size, more = bytearray(), 0, True
        while more:
            # To its end, also where it is thrown away: else the answer would not be read.
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size <= MOST_BYTES:
                body += part
        if size > MOST_BYTES:
            wrong = JSONResponse({"error": f"{size:,} bytes, and at most {MOST_BYTES:,} are taken"}, status_code=413)
            await wrong(scope, receive, send)
        elif body and not _is_json(bytes(body)):
            await JSONResponse(
                {"error": "the body is not JSON in UTF-8, or holds NaN or text that is none"}, status_code=400
            )(scope, receive, send)
        else:
            await self._app(scope, _again(bytes(body), receive), send)


def _counted(receive: Receive, most: int) -> Receive:
    """The same messages; HTTPException once their bodies are larger than `most` bytes."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise HTTPException(413, f"more than {most:,} bytes")
        return message

    return counted


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was received, once more, and then what else comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _is_json(body: bytes) -> bool:
    """Whether it is JSON that can be written again: all text is text, all numbers are finite, no depth is too great."""
    try:
        json.dumps(json.loads(body.decode()), ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return False
    return True
