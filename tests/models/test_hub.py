import errno
import json
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
    expected = load_backbone(str(folder), seed=0).state_dict()
    found = model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_published_model_is_downloaded_once_and_no_python_of_it(served, folder, tmp_path):
    assert same(load_backbone(NAME, seed=0), folder)
    assert served.downloads() == FILES
    served.asked.clear()
    assert same(load_backbone(NAME, seed=0), folder)
    assert served.asked == []
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_the_commit_that_was_loaded_is_told_whatever_was_asked_for(served, folder, revision):
    for _ in range(2):
        source = load_backbone(NAME, seed=0, revision=revision).source
        assert source == {
            "name": NAME,
            "revision": COMMIT,
            "weights_sha256": checksum(folder / "pytorch_model.bin"),
            "weights_licence": "CC BY-NC 4.0, as far as is known",
        }


def test_a_pinned_commit_stays_when_the_branch_moves(served, folder):
    load_backbone(NAME, seed=0)
    served.commit = "f" * 40
    assert load_backbone(NAME, seed=0, revision=COMMIT).source["revision"] == COMMIT
    # Null is what is there; a new download is asked for by name.
    assert load_backbone(NAME, seed=0).source["revision"] == COMMIT
    assert hub.snapshot(NAME, again=True).name == "f" * 40
    assert load_backbone(NAME, seed=0).source["revision"] == "f" * 40


def test_all_files_are_of_one_commit_though_the_branch_moves_in_between(served, monkeypatch):
    asked = []
    import huggingface_hub

    download = huggingface_hub.hf_hub_download
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda name, file, revision, **how: (
            asked.append((file, revision)) or download(name, file, revision=revision, **how)
        ),
    )
    hub.snapshot(NAME, "main")
    online = [revision for file, revision in asked[1:] if file != "config.json"]
    assert set(online) == {COMMIT}


def test_safetensors_are_preferred(served, folder):
    save_file(read_tensors(folder / "pytorch_model.bin"), folder / "model.safetensors")
    served.files["model.safetensors"] = (folder / "model.safetensors").read_bytes()
    assert same(load_backbone(NAME, seed=0), folder)
    assert served.downloads() == [*FILES[:2], "model.safetensors"]


def test_an_interrupted_download_goes_on_where_it_stopped(served, folder, tmp_path):
    hub.snapshot(NAME)
    weights = tmp_path / f"cache/models--m-a-p--MERT-v1-95M/snapshots/{COMMIT}/pytorch_model.bin"
    blob, content = weights.resolve(), weights.read_bytes()
    weights.unlink()
    blob.unlink()
    blob.with_name(f"{blob.name}.tarkib.incomplete").write_bytes(content[:1000])
    served.asked.clear()
    assert same(load_backbone(NAME, seed=0), folder)
    assert [how for method, path, how in served.asked if method == "GET"] == ["bytes=1000-"]
    assert not list(blob.parent.glob("*.incomplete"))


def test_a_download_that_is_not_what_the_hub_promised_is_not_kept(served, tmp_path):
    hub.snapshot(NAME)
    weights = tmp_path / f"cache/models--m-a-p--MERT-v1-95M/snapshots/{COMMIT}/pytorch_model.bin"
    blob = weights.resolve()
    weights.unlink()
    blob.unlink()
    blob.with_name(f"{blob.name}.tarkib.incomplete").write_bytes(b"spoilt")
    refused("the download broke off")
    assert not blob.exists()
    load_backbone(NAME, seed=0)


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_in_the_cache_is_named_with_the_remedy_that_works(served, folder, tmp_path, file):
    path = hub.snapshot(NAME) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    told = refused(rf"{file}: damaged .*, its checksum is [0-9a-f]{{16}}… and the hub's [0-9a-f]{{16}}…")
    assert f"tarkib fetch-backbone {NAME} --revision {COMMIT} --again" in told
    hub.snapshot(NAME, COMMIT, again=True)
    assert same(load_backbone(NAME, seed=0), folder)


def test_an_unknown_revision_is_named(served):
    refused("the hub knows no revision 'nowhere' of it; choose a commit, branch or tag", revision="nowhere")


def test_a_revision_without_weights_is_named(served):
    del served.files["pytorch_model.bin"]
    refused(r"revision None has no config\.json with model\.safetensors or pytorch_model\.bin")


def test_no_network_is_told_at_once_with_the_remedy(tmp_path, monkeypatch):
    use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"tried again after {seconds} s"))
    told = refused("95M is not in the local cache and the Hugging Face hub cannot be reached")
    assert f"run `tarkib fetch-backbone {NAME}` once with a network, or give model.backbone a directory" in told


def test_a_hub_that_fails_under_way_is_told(served, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.file_download.http_get", lambda *_, **__: (_ for _ in ()).throw(ConnectionError)
    )
    refused("the download broke off .ConnectionError.")


def test_offline_mode_is_told_by_its_name(served, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("HF_HUB_OFFLINE forbids to download it")
    assert served.asked == []


def test_a_full_disk_is_told(served, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/the/cache")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    refused("/the/cache: No space left on device; make room there, or set HF_HOME")


def test_a_hub_s_file_of_another_model_is_refused(served, folder):
    served.files["config.json"] = json.dumps({"model_type": "bert"}).encode()
    refused(r"config\.json: model_type is 'bert'")
