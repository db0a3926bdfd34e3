import errno
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_mert import SMALL, published

from tarkib.errors import TarkibError
from tarkib.models import backbone as backbones
from tarkib.models.backbone import MERT_TINY, load_backbone
from tarkib.models.checkpoint import checksum, read_tensors
from tarkib.models.mert import MertConfig, MertModel


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


@pytest.mark.parametrize("name", ["mert-tiny-random", "mel-cnn"])
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


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(folder, kind):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({key: tensor.to(kind) for key, tensor in state.items()}, folder / "pytorch_model.bin")
    model = load_backbone(str(folder), seed=0)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    key = "encoder.layers.1.feed_forward.output_dense.weight"
    assert torch.equal(model.state_dict()[key], state[key].to(kind).float())


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
    refused(folder, r"pytorch_model\.bin: a pointer of Git LFS and not the weights; run `git lfs pull`")
    (folder / "pytorch_model.bin").write_text("<html>Not found</html>")
    refused(folder, "damaged, cut short or of another format .22 bytes.")


@pytest.mark.parametrize("content", [{3: torch.zeros(2)}, {"a": torch.zeros(2).to_sparse()}, torch.zeros(2)])
def test_a_pickle_of_other_tensors(folder, content):
    torch.save(content, folder / "pytorch_model.bin")
    refused(folder, "expected a mapping of names to tensors; use the weights file as published")


def test_a_pickle_of_something_else(folder):
    torch.save({"epoch": 3, "model": {}}, folder / "pytorch_model.bin")
    refused(folder, "expected a mapping of names to tensors")


def test_keys_and_shapes_must_match(folder):
    path = folder / "pytorch_model.bin"
    good = torch.load(path, weights_only=True)
    torch.save({key: tensor for key, tensor in good.items() if "layers.1." not in key}, path)
    refused(folder, r"tensors 17 missing \(encoder.layers.1.attention.k_proj.bias, .* and 14 more\)")
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
        ({"conv_stride": [5, 64]}, "conv_dim, conv_kernel and conv_stride differ in length"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 4]}, r"conv_stride is \[5, .*, 4\], whose product is not 320"),
        ({"conv_stride": [0] * 7}, r"conv_stride is \[0, .*; expected a whole number from 1 to 320"),
        ({"conv_kernel": [4096] * 7}, "wider than a clip of five seconds"),
        ({"conv_dim": [8] * 100_000}, r"conv_dim is \[8, .*; expected a whole number from 1 to 4,096"),
        ({"conv_dim": 8}, "conv_dim"),
        ({"hidden_act": "sine"}, "no model can be made of it: unknown value 'sine'"),
        ({"num_attention_heads": 5}, "no model can be made of it"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0; expected a whole number from 1 to 128"),
        ({"hidden_size": -5}, "hidden_size is -5; expected a whole number from 1 to 8,192"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; expected"),
        ({"hidden_size": True}, "hidden_size is True; expected"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000; expected"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_bins": 10**9}, "feature_extractor_cqt_bins is"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_fmin": 1e-9}, "feature_extractor_cqt_fmin is 1e-09; e"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_fmin": float("nan")}, "cqt_fmin is nan; expected"),
        ({"layer_norm_eps": 10**400}, r"layer_norm_eps is 10{30,}.*; expected"),
        ({"num_conv_pos_embedding_groups": 3}, "no model can be made of it"),
    ],
)
def test_another_model_s_configuration(folder, changes, message):
    change(folder, **changes)
    refused(folder, message)


def test_labels_that_no_one_asks_for_are_not_made(folder):
    """For each of so many transformers would make a name."""
    change(folder, num_labels=10**12)
    assert load_backbone(str(folder), seed=0).hidden_size == SMALL["hidden_size"]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\xff", "[" * 100_000, "9" * 5_000, '{"a": "' + "a" * 2_000_000])
def test_a_configuration_that_is_none(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, r"config\.json: (not JSON|model_type is None|has more than 1,000,000 bytes)")


@pytest.mark.parametrize("changes", [{"sampling_rate": 16000}, {"do_normalize": False}])
def test_input_prepared_in_another_way(folder, changes):
    change(folder, "preprocessor_config.json", **changes)
    refused(folder, r"preprocessor_config\.json: wants .* expected 24000 and true")


def test_unknown_names_and_idle_settings():
    with pytest.raises(
        TarkibError,
        match="'mert-huge' is neither a directory nor one of mert-tiny, mert-tiny-random, mel-cnn, m-a-p/MERT",
    ):
        load_backbone("mert-huge", seed=0)
    with pytest.raises(TarkibError, match=r"model\.revision: 'main' is for m-a-p/MERT.* or a directory; set"):
        load_backbone("mert-tiny", seed=0, revision="main")
    with pytest.raises(TarkibError, match=r"model\.spec_augment: mel-cnn has none"):
        load_backbone("mel-cnn", seed=0, spec_augment=True)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("m-a-p/MERT-v1-330m", "m-a-p/MERT-v1-330M"),
        ("MERT-v1-95M", "m-a-p/MERT-v1-95M"),
        ("m-a-p/MERT-v0-95M", "m-a-p/MERT-v1-95M"),
        ("mert_tiny", "mert-tiny"),
        ("mert-tiny-rand", "mert-tiny-random"),
        ("melcnn", "mel-cnn"),
    ],
)
def test_the_nearest_name_is_suggested(typed, meant):
    with pytest.raises(TarkibError, match=rf"{typed}.*; did you mean {meant}\?$"):
        load_backbone(typed, seed=0)


def test_no_name_is_suggested_where_none_is_near(tmp_path):
    with pytest.raises(TarkibError, match=r"is neither a directory nor one of mert-tiny, .*M$"):
        load_backbone(str(tmp_path / "nowhere"), seed=0)


def test_a_file_for_a_directory(folder):
    with pytest.raises(TarkibError, match=r"config\.json' is a file; give the directory"):
        load_backbone(str(folder / "config.json"), seed=0)


def test_a_name_that_is_too_long_for_any_directory():
    with pytest.raises(TarkibError, match=r"model\.backbone: 'a+\.\.\.a+': File name too long") as error:
        load_backbone("a" * 10_000, seed=0)
    assert len(str(error.value)) < 200


def test_a_directory_for_a_file(folder):
    (folder / "model.safetensors").mkdir()
    refused(folder, r"model\.safetensors: not a file")
    (folder / "model.safetensors").rmdir()
    for name in ("preprocessor_config.json", "config.json"):
        (folder / name).unlink()
        (folder / name).mkdir()
        refused(folder, rf"{name}: cannot be read .Is a directory.; see that it is a file that you may read")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "pytorch_model.bin", "model.safetensors"])
def test_files_that_one_may_not_read(folder, monkeypatch, name):
    if name == "model.safetensors":
        save_file(read_tensors(folder / "pytorch_model.bin"), folder / name)
    opened = Path.open

    # The tests may run as root, who may read everything.
    def closed(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", closed)
    refused(folder, rf"{name}: cannot be read .Permission denied.; see that it is a file that you may read")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_several_files(folder, name):
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00002.bin")
    (folder / f"{name}.index.json").write_text("{}")
    refused(folder, f"its weights are cut into several files, which is not read; save them as one {name}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 777, -1])
def test_numbers_that_are_none(folder, value, place):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    key = "encoder.layers.1.feed_forward.output_dense.weight"
    state[key].view(-1)[place] = value
    torch.save(state, folder / "pytorch_model.bin")
    refused(folder, rf"pytorch_model\.bin: NaN or infinite numbers in {key}; such weights")
    state["masked_spec_embed"][3] = value
    torch.save(state, folder / "pytorch_model.bin")
    refused(folder, r"NaN or infinite numbers in .* and 1 more; .* use an earlier checkpoint")


def test_the_mask_s_stand_in_is_loaded_and_left_out_where_nothing_is_masked(folder):
    written = torch.load(folder / "pytorch_model.bin", weights_only=True)["masked_spec_embed"]
    model = load_backbone(str(folder), seed=0)
    assert torch.equal(model.masked_spec_embed.detach(), written)
    change(folder, mask_time_prob=0.0, mask_feature_prob=0.0)
    without = load_backbone(str(folder), seed=0)
    assert "masked_spec_embed" not in without.state_dict()
    assert torch.equal(states(without), states(model))


@pytest.mark.parametrize("kind", ["int64", "complex64", "float8_e4m3fn"])
def test_other_numbers_for_weights(folder, kind):
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    state["masked_spec_embed"] = torch.zeros(32).to(getattr(torch, kind))
    torch.save(state, folder / "pytorch_model.bin")
    refused(folder, rf"1 of another kind \(masked_spec_embed {kind}\)")


def test_a_hubert_that_does_not_say_what_it_hears(folder):
    content = json.loads((folder / "config.json").read_text())
    del content["sample_rate"]
    (folder / "config.json").write_text(json.dumps(content))
    # A MERT hears 24 kHz; of HuBERT, the speech models hear 16.
    load_backbone(str(folder), seed=0)
    change(folder, model_type="hubert")
    refused(folder, "a hubert without sample_rate; if it hears 24000 Hz, add that to the file")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_loading_draws_nothing_and_leaves_no_tensor_empty_or_in_the_file(folder, name):
    if name == "model.safetensors":
        save_file(read_tensors(folder / "pytorch_model.bin"), folder / name)
    before = torch.get_rng_state()
    model = load_backbone(str(folder), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())
    expected = states(model)
    # The file that the weights came from may be written again while the model lives.
    path = folder / name
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert torch.equal(states(model), expected)


def test_the_constant_q_branch_loads_bit_for_bit(folder):
    with torch.random.fork_rng():
        model = MertModel(MertConfig(**MERT_TINY)).eval()
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    again = load_backbone(str(folder), seed=0)
    kernels = [name for name, _ in model.named_buffers() if "kernels_" in name]
    assert len(kernels) == 8
    assert all(torch.equal(again.get_buffer(name), model.get_buffer(name)) for name in kernels)
    assert torch.equal(states(again), states(model))


def test_a_directory_is_pinned_by_the_checksum_of_its_weights(folder):
    digest = hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()
    for revision in (None, digest[:8], digest[:20].upper(), digest):
        source = load_backbone(str(folder), seed=0, revision=revision).source
        assert source == {"name": str(folder), "revision": digest[:16], "weights_sha256": digest}


def test_other_weights_than_those_pinned_are_refused_with_both_checksums(folder):
    pinned = load_backbone(str(folder), seed=0).source["revision"]
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    state["masked_spec_embed"][0] += 1
    torch.save(state, folder / "pytorch_model.bin")
    found = load_backbone(str(folder), seed=0).source["revision"]
    with pytest.raises(
        TarkibError, match=rf"SHA-256 begins with {found} and model\.revision is {pinned}; put"
    ) as caught:
        load_backbone(str(folder), seed=0, revision=pinned)
    assert str(folder / "pytorch_model.bin") in str(caught.value)


@pytest.mark.parametrize("revision", ["main", "1234567", "", "0" * 65, "12345678\n"])
def test_a_revision_that_is_no_checksum(folder, revision):
    with pytest.raises(
        TarkibError, match=r"model\.revision: .* give the first 8 to 64 hexadecimal digits of the SHA-256"
    ):
        load_backbone(str(folder), seed=0, revision=revision)


def test_a_random_start_tells_its_name():
    assert load_backbone("mert-tiny-random", seed=0).source == {"name": "mert-tiny-random", "revision": None}


def test_the_one_in_the_package_has_heard_music_and_is_small():
    folder = Path(backbones.__file__).with_name("mert_tiny")
    first, other = load_backbone("mert-tiny", seed=0), load_backbone("mert-tiny", seed=1)
    assert torch.equal(states(first), states(other))
    assert first.source == {
        "name": "mert-tiny",
        "revision": None,
        "weights_sha256": checksum(folder / "model.safetensors"),
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8 * 2**20
    random = load_backbone("mert-tiny-random", seed=0)
    assert {key: value.shape for key, value in first.state_dict().items()} == {
        key: value.shape for key, value in random.state_dict().items()
    }
    assert {**first.config.to_dict(), "architectures": None} == {**random.config.to_dict(), "architectures": None}
    assert not torch.equal(states(first), states(random))
