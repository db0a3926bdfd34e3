import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError
from safetensors.torch import save_file
from small_mert import one_thread, published  # noqa: F401 (one a fixture)

from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone, read_tensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def refused(folder: Path, message: str) -> None:
    with pytest.raises(TarkibError, match=message) as caught:
        load_backbone(str(folder), seed=0)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def change(folder: Path, file: str = "config.json", **values: object) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **values}))


def states(model: torch.nn.Module) -> torch.Tensor:
    samples = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 12_000)).astype(np.float32))
    with torch.no_grad():
        return torch.stack(model.eval().all_hidden_states(samples))


@pytest.mark.parametrize("name", ["mert-tiny", "mel-cnn"])
def test_random_start_is_the_seed_s_and_no_other_generator_s(name):
    before = torch.get_rng_state()
    first, again, other = (load_backbone(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_attention_is_as_asked(folder):
    assert load_backbone(str(folder), seed=0).config._attn_implementation == "sdpa"
    assert load_backbone(str(folder), seed=0, attention="eager").config._attn_implementation == "eager"


def test_safetensors_and_pickle_give_the_same_model(folder):
    from_pickle = states(load_backbone(str(folder), seed=0))
    save_file(read_tensors(folder / "pytorch_model.bin"), folder / "model.safetensors")
    (folder / "pytorch_model.bin").unlink()
    assert torch.equal(states(load_backbone(str(folder), seed=0)), from_pickle)


def test_half_precision_weights_become_float32(folder):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({key: tensor.half() for key, tensor in state.items()}, folder / "pytorch_model.bin")
    assert {p.dtype for p in load_backbone(str(folder), seed=0).parameters()} == {torch.float32}


def test_plain_hubert_of_24_khz_loads(folder):
    before = states(load_backbone(str(folder), seed=0))
    change(folder, model_type="hubert")
    assert torch.equal(states(load_backbone(str(folder), seed=0)), before)


def test_the_checkpoint_s_own_python_is_not_run(folder, tmp_path):
    for name in ("modeling_MERT.py", "configuration_MERT.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    load_backbone(str(folder), seed=0)
    assert not (tmp_path / "ran").exists()


class Trap:
    """Runs code when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(folder, tmp_path, zipped):
    content = {"masked_spec_embed": Trap(tmp_path / "ran")}
    if zipped:
        torch.save(content, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(content, protocol=2))
    refused(folder, "asks to run code, which is refused")
    assert not (tmp_path / "ran").exists()


def test_missing_files(folder):
    (folder / "pytorch_model.bin").unlink()
    refused(folder, r"no weights; expected model.safetensors or pytorch_model.bin")
    (folder / "config.json").unlink()
    refused(folder, r"no config.json")


@pytest.mark.parametrize("keep", [0, 100, 0.5, -1])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_truncated_weights(folder, name, keep):
    if name == "model.safetensors":
        save_file(read_tensors(folder / "pytorch_model.bin"), folder / name)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(folder, rf"{name}: damaged, cut short")


def test_a_text_file_for_weights(folder):
    (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(folder, "damaged, cut short")


def test_a_pickle_of_something_else(folder):
    torch.save({"epoch": 3, "model": {}}, folder / "pytorch_model.bin")
    refused(folder, "expected a mapping of names to tensors")


def test_keys_and_shapes_must_match(folder):
    path = folder / "pytorch_model.bin"
    good = torch.load(path, weights_only=True)
    torch.save({key: tensor for key, tensor in good.items() if "layers.1." not in key}, path)
    refused(folder, r"tensors 17 missing \(encoder.layers.1.attention.k_proj.bias, .*…\)")
    torch.save({**good, "lm_head.weight": torch.zeros(2)}, path)
    refused(folder, r"tensors 1 unknown \(lm_head.weight\)")
    torch.save({**good, "masked_spec_embed": torch.zeros(5)}, path)
    refused(folder, r"1 of another shape \(masked_spec_embed \(5,\) instead of \(32,\)\)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec2"}, "model_type is 'wav2vec2', expected mert_model or hubert"),
        ({"model_type": None}, "model_type is None"),
        ({"deepnorm": True}, "deepnorm is true"),
        ({"sample_rate": 16000}, "sample_rate is 16000"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"conv_stride": [5, 2]}, "no model can be made of it"),
        ({"num_attention_heads": 5}, "no model can be made of it"),
    ],
)
def test_another_model_s_configuration(folder, changes, message):
    change(folder, **changes)
    refused(folder, message)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\xff"])
def test_a_configuration_that_is_none(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, r"config\.json: (cannot be read|model_type is None)")


@pytest.mark.parametrize("changes", [{"sampling_rate": 16000}, {"do_normalize": False}])
def test_input_prepared_in_another_way(folder, changes):
    change(folder, "preprocessor_config.json", **changes)
    refused(folder, r"preprocessor_config\.json: wants .* expected 24000 and true")


def test_unknown_names_and_idle_settings():
    with pytest.raises(
        TarkibError, match="'mert-huge' is neither a directory nor one of mert-tiny, mel-cnn, m-a-p/MERT"
    ):
        load_backbone("mert-huge", seed=0)
    with pytest.raises(TarkibError, match=r"model\.revision: 'main' is of use with"):
        load_backbone("mert-tiny", seed=0, revision="main")
    with pytest.raises(TarkibError, match=r"model\.spec_augment: mel-cnn has none"):
        load_backbone("mel-cnn", seed=0, spec_augment=True)


class Hub:
    """Stands for huggingface_hub: a local cache, a remote folder or none, and a record of what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cached: Path | None = None, remote: Path | None = None):
        self.cached, self.remote, self.asked = cached, remote, []
        monkeypatch.setattr("huggingface_hub.hf_hub_download", self.download)
        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", self.metadata)

    def download(self, repo: str, file: str, *, revision: str | None, local_files_only: bool) -> str:
        self.asked.append((file, local_files_only, revision))
        folder = self.cached if local_files_only else self.remote
        if folder is None or not (folder / file).is_file():
            raise (LocalEntryNotFoundError if local_files_only else EntryNotFoundError)("not there")
        return str(folder / file)

    def metadata(self, url: str, *, timeout: float) -> None:
        self.asked.append((url, timeout))
        if self.remote is None:
            raise ConnectionError("no route")


def test_a_published_model_comes_from_the_cache_without_a_network(folder, monkeypatch):
    hub = Hub(monkeypatch, cached=folder)
    found = states(load_backbone("m-a-p/MERT-v1-95M", seed=0, revision="abc"))
    assert torch.equal(found, states(load_backbone(str(folder), seed=0)))
    assert {request[1:] for request in hub.asked} == {(True, "abc")}


def test_a_published_model_is_downloaded_once(folder, monkeypatch):
    hub = Hub(monkeypatch, remote=folder)
    found = states(load_backbone("m-a-p/MERT-v1-330M", seed=0))
    assert torch.equal(found, states(load_backbone(str(folder), seed=0)))
    assert ("pytorch_model.bin", False, None) in hub.asked


def test_no_network_is_told_at_once_with_the_remedy(monkeypatch):
    hub = Hub(monkeypatch)
    with pytest.raises(TarkibError, match=r"330M is not in the local cache .* run once with a network, or give"):
        load_backbone("m-a-p/MERT-v1-330M", seed=0)
    # One look at the cache and one short knock at the door; the download, which tries again for minutes, never begins.
    assert [request[1] for request in hub.asked] == [True, 5.0]


def test_an_unknown_revision_is_named(monkeypatch):
    hub = Hub(monkeypatch)

    def metadata(url: str, *, timeout: float) -> None:
        raise RevisionNotFoundError.__new__(RevisionNotFoundError)

    hub.metadata = metadata
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", metadata)
    with pytest.raises(TarkibError, match="the hub knows no revision 'nowhere' of it"):
        load_backbone("m-a-p/MERT-v1-95M", seed=0, revision="nowhere")
