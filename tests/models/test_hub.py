import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fake_hub import COMMIT, NAME, FakeHub, serve, use
from safetensors.torch import save_file
from small_mert import published

from tarkib.errors import TarkibError
from tarkib.models import hub, load_backbone
from tarkib.models.checkpoint import checksum, read_tensors

FILES = ["config.json", "preprocessor_config.json", "pytorch_model.bin"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published(tmp_path / "checkpoint")
    (tmp_path / "checkpoint/modeling_MERT.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    return tmp_path / "checkpoint"


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serve(folder) as fake:
        use(monkeypatch, fake.url, tmp_path / "cache")
        yield fake


def refused(message: str, revision: str | None = None) -> str:
    with pytest.raises(TarkibError, match=message) as caught:
        load_backbone(NAME, seed=0, revision=revision)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(model: torch.nn.Module, folder: Path) -> bool:
    expected, actual = load_backbone(str(folder), seed=0).state_dict(), model.state_dict()
    return actual.keys() == expected.keys() and all(torch.equal(actual[key], expected[key]) for key in expected)


def test_a_published_model_is_downloaded_once_without_its_python(served, folder, tmp_path):
    assert same(load_backbone(NAME, seed=0), folder)
    assert served.downloads() == FILES
    served.requests.clear()
    assert same(load_backbone(NAME, seed=0), folder)
    assert served.requests == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_the_source_names_the_commit_for_any_revision(served, folder, revision):
    assert load_backbone(NAME, seed=0, revision=revision).source == {
        "name": NAME,
        "revision": COMMIT,
        "weights_sha256": checksum(folder / "pytorch_model.bin"),
        "weights_licence": "CC BY-NC 4.0, as far as is known",
    }


def test_a_pinned_commit_stays_when_the_branch_moves(served):
    load_backbone(NAME, seed=0)
    served.commit = "f" * 40
    assert load_backbone(NAME, seed=0, revision=COMMIT).source["revision"] == COMMIT
    # Null takes the cached commit until a new download is requested.
    assert load_backbone(NAME, seed=0).source["revision"] == COMMIT
    assert hub.snapshot(NAME, again=True).name == "f" * 40
    assert load_backbone(NAME, seed=0).source["revision"] == "f" * 40


def test_all_files_are_requested_by_one_commit(served):
    hub.snapshot(NAME, "main")
    assert {path.split("/")[-2] for _, path in served.requests if not path.endswith("/config.json")} == {COMMIT}


def test_safetensors_are_preferred(served, folder):
    save_file(read_tensors(folder / "pytorch_model.bin"), folder / "model.safetensors")
    served.files["model.safetensors"] = (folder / "model.safetensors").read_bytes()
    assert same(load_backbone(NAME, seed=0), folder)
    assert served.downloads() == [*FILES[:2], "model.safetensors"]


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_in_the_cache_is_named_with_the_remedy_that_works(served, folder, file):
    path = hub.snapshot(NAME) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    message = refused(rf"{file}: damaged .*, its checksum is [0-9a-f]{{16}}… instead of [0-9a-f]{{16}}…")
    assert f"tarkib fetch-backbone {NAME} --revision {COMMIT} --again" in message
    hub.snapshot(NAME, COMMIT, again=True)
    assert same(load_backbone(NAME, seed=0), folder)


def test_a_revision_that_is_unknown_or_without_weights_is_named(served):
    refused("the hub has no revision 'nowhere' of it .*; choose another commit, branch or tag", revision="nowhere")
    del served.files["pytorch_model.bin"]
    refused(r"no revision None of it with config\.json and model\.safetensors or pytorch_model\.bin")


def test_a_missing_network_is_an_error_at_once_with_the_remedy(tmp_path, monkeypatch):
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"tried again after {seconds} s"))
    message = refused("95M is not in the local cache and the Hugging Face hub cannot be reached")
    assert f"run `tarkib fetch-backbone {NAME}` once with a network, or give model.backbone a directory" in message


def test_offline_mode_is_named(served, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE forbids to download it")
    assert served.requests == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError(), "the download broke off .ConnectionError."),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/the/cache"), "/the/cache: No space left on device; make"),
    ],
)
def test_a_download_that_fails_is_one_line_and_leaves_nothing_to_load(served, folder, monkeypatch, error, message):
    def fails(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.file_download.http_get", fails)
        refused(message)
    assert hub.cached(NAME) is None
    assert same(load_backbone(NAME, seed=0), folder)
