"""Classifiers on the Hugging Face hub, against a hub on the loopback interface that keeps what it is sent."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from small_classifier import write_classifier

from tarkib import Recogniser
from tarkib.cli import main
from tarkib.errors import TarkibError
from tarkib.models import load

NAME = "someone/setar"
ADDRESS = f"hf://{NAME}"


class Hub(BaseHTTPRequestHandler):
    """The parts of the hub's interface that one commit and its download need. `server.commits`: files by commit."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def fail(self, status: int, code: str) -> None:
        self.answer(b"{}", status, X_Error_Code=code)

    def do_POST(self) -> None:
        hub, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer hf_secret":
            self.fail(401, "RepoNotFound")
        elif self.path == "/api/validate-yaml":
            self.answer(b'{"errors": [], "warnings": []}')
        elif self.path == "/api/repos/create":
            hub.created.append(json.loads(body))
            self.answer(json.dumps({"url": f"{hub.url}/{NAME}"}).encode())
        elif self.path.startswith(f"/api/models/{NAME}/preupload/"):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer(json.dumps({"files": files}).encode())
        elif self.path.startswith(f"/api/models/{NAME}/commit/"):
            rows = [json.loads(line) for line in body.splitlines()]
            files = [row["value"] for row in rows if row["key"] == "file"]
            commit = f"{len(hub.commits) + 1:040d}"
            hub.commits[commit] = {file["path"]: base64.b64decode(file["content"]) for file in files}
            answer = {"success": True, "commitOid": commit, "commitUrl": f"{hub.url}/{NAME}/commit/{commit}"}
            self.answer(json.dumps(answer).encode())
        else:
            self.fail(404, "EntryNotFound")

    def do_GET(self) -> None:
        hub, (*path, last) = self.server, self.path.partition("?")[0].split("/")
        asked = path[-1] if "resolve" in path else last
        commit = max(hub.commits, default="") if asked == "main" else asked
        files = hub.commits.get(commit) if NAME in self.path else None
        if not files:
            self.fail(404, "RevisionNotFound" if NAME in self.path else "RepoNotFound")
        elif "tree" in path:
            tree = [{"type": "file", "path": name, "size": len(files[name]), "oid": name} for name in files]
            self.answer(json.dumps(tree).encode())
        elif "revision" in path:
            siblings = [{"rfilename": name} for name in files]
            self.answer(json.dumps({"id": NAME, "sha": commit, "siblings": siblings}).encode())
        else:
            self.answer(files[last], X_Repo_Commit=commit, ETag=f'"{hashlib.sha256(files[last]).hexdigest()}"')

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads, server.commits, server.created = True, {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    constants = {"ENDPOINT": server.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_CACHE": str(tmp_path / "hub")}
    for name, value in {**constants, "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    classifier = write_classifier(tmp_path / "classifier")
    (classifier / "notes.py").write_text("stays here")
    return classifier


def test_a_classifier_is_published_and_used_from_there(hub, folder, capsys):
    assert main(["push", str(folder), ADDRESS, "--private"]) == 0
    (commit,) = hub.commits
    assert capsys.readouterr().out == f"{hub.url}/{NAME}/commit/{commit}\n"
    assert hub.created[0]["visibility"] == "private"
    assert hub.commits[commit] == {
        name: (folder / name).read_bytes() for name in ("README.md", "config.json", "model.safetensors")
    }
    expected = load(folder).state_dict()
    actual = Recogniser.load(ADDRESS).classifier.state_dict()
    assert all(torch.equal(actual[key], value) for key, value in expected.items())


def test_a_revision_is_another_version(hub, folder, tmp_path):
    main(["push", str(folder), ADDRESS])
    main(["push", str(write_classifier(tmp_path / "other", seed=1)), ADDRESS])
    first, latest = (Recogniser.load(f"{ADDRESS}{end}").classifier.head[0].weight for end in (f"@{1:040d}", ""))
    assert torch.equal(first, load(folder).head[0].weight)
    assert not torch.equal(first, latest)


def test_without_a_network_the_copy_in_the_cache_is_used(hub, folder, monkeypatch):
    main(["push", str(folder), ADDRESS])
    Recogniser.load(ADDRESS)
    hub.shutdown()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    Recogniser.load(ADDRESS)
    with pytest.raises(TarkibError, match="hf://someone/tar: cannot be downloaded"):
        Recogniser.load("hf://someone/tar")


def test_a_revision_to_push_to_is_refused(hub, folder, capsys):
    assert main(["push", str(folder), f"{ADDRESS}@v1"]) == 1
    assert "leave @v1 out" in capsys.readouterr().err
    assert hub.created == []


@pytest.mark.parametrize("address", ["hf://setar", "someone/setar", "hf://a/b/c", "hf://someone/setar@"])
def test_a_malformed_address_is_refused(folder, capsys, address):
    assert main(["push", str(folder), address]) == 1
    assert f"'{address}': not an address on the hub" in capsys.readouterr().err


def test_a_token_that_may_not_write_is_one_line(hub, folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert main(["push", str(folder), ADDRESS]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "hf auth login" in line
    assert hub.commits == {}


def test_what_is_no_classifier_is_not_published(hub, tmp_path, capsys):
    assert main(["push", str(tmp_path), ADDRESS]) == 1
    assert "config.json: missing" in capsys.readouterr().err
    assert hub.created == []
