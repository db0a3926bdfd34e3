"""Published backbones and `tarkib fetch-backbone`, against a hub on the loopback interface."""

import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml
from muq_reference import checkpoint
from safetensors.torch import save_file
from small_mert import model_params, published

from tarkib.cli import main
from tarkib.errors import TarkibError
from tarkib.models import build, load_backbone
from tarkib.models.backbone import cached, snapshot
from tarkib.models.files import checksum, read_tensors
from tarkib.tracking import card

NAME = "m-a-p/MERT-v1-95M"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ["config.json", "preprocessor_config.json", "pytorch_model.bin"]


class FakeHub(BaseHTTPRequestHandler):
    """Serves `server.files`, at `server.commit`; a large file stalls after `server.stall_after` bytes."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def answer(self) -> None:
        hub = self.server
        if self.path.startswith(f"/{NAME}/"):
            hub.requests.append((self.command, self.path))
        revision, _, file = self.path.partition("/resolve/")[2].partition("/")
        error = "EntryNotFound" if file not in hub.files else None
        error = "RevisionNotFound" if revision not in ("main", hub.commit) else error
        content = b"" if error else hub.files[file]
        large = not file.endswith(".json")
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.send_response(404 if error else 200)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("X-Repo-Commit", hub.commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest() if large else git}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            stalls = large and hub.stall_after is not None
            self.wfile.write(content[: hub.stall_after] if stalls else content)
            self.wfile.flush()
            if stalls:
                hub.stalled.wait(60)

    do_HEAD = do_GET = answer


@contextmanager
def serve(folder: Path) -> Iterator[ThreadingHTTPServer]:
    """Serve the files of a folder until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    server.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.commit, server.requests, server.stall_after = COMMIT, [], None
    server.stalled, server.daemon_threads = threading.Event(), True
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.stalled.set()
        server.shutdown()
        server.server_close()


def downloads(hub: ThreadingHTTPServer) -> list[str]:
    """Names of the files sent, in turn."""
    return [path.rpartition("/")[2] for method, path in hub.requests if method == "GET"]


def use(monkeypatch: pytest.MonkeyPatch, url: str, cache: Path) -> None:
    """Point huggingface_hub, already imported, to this hub and this cache."""
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    values = {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_CACHE": str(cache)}
    for name, value in {**values, "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published(tmp_path / "checkpoint")
    (tmp_path / "checkpoint/modeling_MERT.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    return tmp_path / "checkpoint"


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    with serve(folder) as hub:
        use(monkeypatch, hub.url, tmp_path / "cache")
        yield hub


def refused(message: str, revision: str | None = None) -> str:
    with pytest.raises(TarkibError, match=message) as caught:
        load_backbone(NAME, seed=0, revision=revision)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(model: torch.nn.Module, folder: Path) -> bool:
    expected, actual = load_backbone(str(folder), seed=0).state_dict(), model.state_dict()
    return actual.keys() == expected.keys() and all(torch.equal(actual[key], expected[key]) for key in expected)


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_published_model_is_downloaded_once_without_its_python(served, folder, tmp_path, revision):
    backbone = load_backbone(NAME, seed=0, revision=revision)
    assert same(backbone, folder)
    assert backbone.source == {
        "name": NAME,
        "revision": COMMIT,
        "weights_sha256": checksum(folder / "pytorch_model.bin"),
        "weights_licence": "CC BY-NC 4.0, as far as is known",
    }
    assert downloads(served) == FILES
    # By the commit: a branch may move between two files.
    assert {path.split("/")[-2] for _, path in served.requests if not path.endswith("/config.json")} == {COMMIT}
    served.requests.clear()
    assert same(load_backbone(NAME, seed=0, revision=revision), folder)
    assert served.requests == []
    assert not (tmp_path / "ran").exists()


def test_a_pinned_commit_stays_when_the_branch_moves(served):
    load_backbone(NAME, seed=0)
    served.commit = "f" * 40
    # Null takes the cached commit until a new download is requested.
    for revision in (COMMIT, None):
        assert load_backbone(NAME, seed=0, revision=revision).source["revision"] == COMMIT
    assert snapshot(NAME, again=True).name == "f" * 40
    assert load_backbone(NAME, seed=0).source["revision"] == "f" * 40


def test_safetensors_are_preferred(served, folder):
    save_file(read_tensors(folder / "pytorch_model.bin"), folder / "model.safetensors")
    served.files["model.safetensors"] = (folder / "model.safetensors").read_bytes()
    assert same(load_backbone(NAME, seed=0), folder)
    assert downloads(served) == [*FILES[:2], "model.safetensors"]


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_in_the_cache_is_named_with_the_command_that_repairs_it(served, folder, capsys, file):
    path = snapshot(NAME) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["fetch-backbone", NAME]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: damaged" in line
    assert main(line[line.index("`tarkib ") + len("`tarkib ") :].rstrip("`").split()) == 0
    assert "downloaded" in capsys.readouterr().out
    assert same(load_backbone(NAME, seed=0), folder)


def test_what_the_hub_lacks_is_named(served, monkeypatch):
    refused("revision nowhere. cannot be downloaded .*RevisionNotFoundError", revision="nowhere")
    del served.files["pytorch_model.bin"]
    refused("revision main. cannot be downloaded .*it has neither model.safetensors nor pytorch_model.bin")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("OfflineModeIsEnabled")


def test_a_missing_network_is_an_error_at_once_with_the_remedy(tmp_path, monkeypatch):
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"tried again after {seconds} s"))
    refused(rf"{NAME} .* cannot be downloaded .*; run `tarkib fetch-backbone {NAME}` with a network, .* a directory")


def test_a_full_disk_is_one_line_and_leaves_nothing_to_load(served, folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/the/cache")

    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.file_download.http_get", full)
        refused("OSError: .*No space left on device: '/the/cache'.*room in HF_HOME")
    assert cached(NAME) is None
    assert same(load_backbone(NAME, seed=0), folder)


def test_the_command_prints_the_facts_and_how_to_pin_them(served, folder, tmp_path, capsys):
    assert main(["fetch-backbone", NAME]) == 0
    output = capsys.readouterr().out
    weights = folder / "pytorch_model.bin"
    parameters = sum(tensor.numel() for tensor in torch.load(weights, weights_only=True).values())
    assert f"{NAME}: downloaded" in output
    assert f"commit   {COMMIT}" in output
    assert str(tmp_path / f"cache/models--m-a-p--MERT-v1-95M/snapshots/{COMMIT}") in output
    assert f"pytorch_model.bin, {weights.stat().st_size / 1e6:.1f} MB, SHA-256 {checksum(weights)}" in output
    assert f"{parameters:,} parameters, 3 hidden states of 32" in output
    assert "CC BY-NC 4.0, as far as is known: no commercial use" in output
    pinned = yaml.safe_load(output[output.index("  model:") :])
    assert pinned == {"model": {"backbone": NAME, "revision": COMMIT}}


def test_the_command_checks_and_pins_a_directory(folder, capsys):
    assert main(["fetch-backbone", str(folder)]) == 0
    output = capsys.readouterr().out
    pinned = yaml.safe_load(output[output.index("  model:") :])["model"]
    backbone = load_backbone(pinned["backbone"], seed=0, revision=pinned["revision"])
    assert backbone.source["revision"] == pinned["revision"]


def test_a_published_muq_is_fetched_and_loaded_in_the_same_way(tmp_path, monkeypatch, capsys):
    name, folder = "OpenMuQ/MuQ-large-msd-iter", checkpoint(tmp_path / "checkpoint")
    with serve(folder) as hub:
        use(monkeypatch, hub.url, tmp_path / "cache")
        assert main(["fetch-backbone", name]) == 0
    output = capsys.readouterr().out
    weights = checksum(folder / "model.safetensors")
    assert f"SHA-256 {weights}" in output
    assert "3 hidden states of 16" in output
    assert "licence  CC BY-NC 4.0: no commercial use" in output
    pinned = yaml.safe_load(output[output.index("  model:") :])["model"]
    assert pinned == {"backbone": name, "revision": COMMIT}
    # Now without a hub.
    classifier = build(model_params(**pinned, finetune="frozen"), seed=0)
    assert same(classifier.backbone, folder)
    assert classifier.source == {
        "name": name,
        "revision": COMMIT,
        "weights_sha256": weights,
        "weights_licence": "CC BY-NC 4.0",
        "finetune": "frozen",
    }
    made = card.Card(classifier.source, "bpm", 42, "ab" * 32, 10, 5, 2, [], {})
    assert f"The weights of {name} were published under CC BY-NC 4.0: no commercial use" in made.body()


@pytest.mark.parametrize(("name", "message"), [("mert-v1-95m", "did you mean m-a-p/"), ("mert-tiny", NAME)])
def test_the_command_refuses_other_names_with_the_published_ones(capsys, name, message):
    assert main(["fetch-backbone", name]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.slow
def test_a_killed_download_leaves_nothing_half_written_and_then_no_network_is_needed(folder, tmp_path):
    """Three processes and a server that listens."""
    code = "import sys; from tarkib.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "fetch-backbone", NAME]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "*"}
    with serve(folder) as hub:
        environment["HF_ENDPOINT"] = hub.url
        hub.stall_after = 50_000
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while downloads(hub)[-1:] != ["pytorch_model.bin"]:
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.05)
        killed.kill()
        killed.communicate()
        hub.stall_after = None
        second = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert second.returncode == 0, second.stderr
        assert f"{NAME}: downloaded" in second.stdout
    environment["HF_HUB_OFFLINE"] = "1"
    third = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert third.returncode == 0, third.stderr
    assert "no network was needed" in third.stdout
    # No progress bars without a terminal, and no warnings.
    assert second.stderr == third.stderr == ""
