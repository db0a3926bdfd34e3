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
    """What is served (`files`), at which commit, which requests came, and how much of a large file is let through."""

    def __init__(self, files: dict[str, bytes]):
        self.files, self.commit = files, COMMIT
        self.asked: list[tuple[str, str, str | None]] = []
        self.stall_after: int | None = None
        self.stalled = threading.Event()
        self.url = ""

    def downloads(self) -> list[str]:
        """Names of the files that were sent, in turn."""
        return [path.rpartition("/")[2] for method, path, _ in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", self.server.hub.commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self) -> None:
        hub: FakeHub = self.server.hub
        if "/resolve/" not in self.path:
            return self.refuse("RepoNotFound")
        hub.asked.append((self.command, self.path, self.headers.get("Range")))
        repo, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if repo != NAME:
            return self.refuse("RepoNotFound")
        if revision not in ("main", hub.commit):
            return self.refuse("RevisionNotFound")
        if file not in hub.files:
            return self.refuse("EntryNotFound")
        content = hub.files[file]
        etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if file in LARGE:
            etag = hashlib.sha256(content).hexdigest()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", hub.commit)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            if file in LARGE and hub.stall_after is not None:
                self.wfile.write(content[start : hub.stall_after])
                self.wfile.flush()
                hub.stalled.wait(60)
                return None
            self.wfile.write(content[start:])
        return None


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
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
