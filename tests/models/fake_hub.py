"""A hub on the loopback interface: serves a folder as the Hugging Face hub serves a repository."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

NAME = "m-a-p/MERT-v1-95M"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = ("pytorch_model.bin", "model.safetensors")


class FakeHub:
    """The files served, at which commit, the requests so far, and how much of a large file is sent before it stalls."""

    def __init__(self, files: dict[str, bytes]):
        self.files, self.commit = files, COMMIT
        self.requests: list[tuple[str, str]] = []
        self.stall_after: int | None = None
        self.stalled = threading.Event()
        self.url = ""

    def downloads(self) -> list[str]:
        """Names of the files sent, in turn."""
        return [path.rpartition("/")[2] for method, path in self.requests if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", self.server.hub.commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self) -> None:
        hub: FakeHub = self.server.hub
        if not self.path.startswith(f"/{NAME}/resolve/"):
            return self.refuse("RepoNotFound")
        hub.requests.append((self.command, self.path))
        revision, _, file = self.path.partition("/resolve/")[2].partition("/")
        if revision not in ("main", hub.commit):
            return self.refuse("RevisionNotFound")
        if file not in hub.files:
            return self.refuse("EntryNotFound")
        content = hub.files[file]
        etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if file in LARGE:
            etag = hashlib.sha256(content).hexdigest()
        self.send_response(200)
        self.send_header("X-Repo-Commit", hub.commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            stalls = file in LARGE and hub.stall_after is not None
            self.wfile.write(content[: hub.stall_after] if stalls else content)
            self.wfile.flush()
            if stalls:
                hub.stalled.wait(60)
        return None

    do_HEAD = do_GET = answer


@contextmanager
def serve(folder: Path) -> Iterator[FakeHub]:
    """Serve the files of a folder until the block ends."""
    hub = FakeHub({path.name: path.read_bytes() for path in folder.iterdir()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, server.daemon_threads = hub, True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.stalled.set()
        server.shutdown()
        server.server_close()


def use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Point huggingface_hub, already imported, to this hub and this cache."""
    constants = "huggingface_hub.constants."
    monkeypatch.setattr(f"{constants}ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(f"{constants}HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(f"{constants}HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(f"{constants}HF_HUB_OFFLINE", False)
