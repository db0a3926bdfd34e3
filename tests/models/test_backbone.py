import errno
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_mert import SMALL, TINY, published, tiny

from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone
from tarkib.models.checkpoint import checksum, read_tensors, save_mert
from tarkib.models.mert import MertModel

KEY = "encoder.layers.1.feed_forward.output_dense.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin"])
def weights(folder: Path, request: pytest.FixtureRequest) -> Path:
    """The weights of the checkpoint in `folder`, in each format."""
    if request.param == "model.safetensors":
        save_file(read_tensors(folder / "pytorch_model.bin"), folder / request.param)
        (folder / "pytorch_model.bin").unlink()
    return folder / request.param


def refused(folder: Path, message: str) -> None:
    with pytest.raises(TarkibError, match=message) as caught:
        load_backbone(str(folder), seed=0)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 2_000


def change(folder: Path, file: str = "config.json", **values: object) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **values}))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


def change_tensors(folder: Path, **values: torch.Tensor) -> None:
    torch.save({**tensors(folder), **values}, folder / "pytorch_model.bin")


def states(model: torch.nn.Module) -> torch.Tensor:
    samples = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 12_000)).astype(np.float32))
    with torch.no_grad():
        return torch.stack(model.eval().all_hidden_states(samples))


@pytest.mark.parametrize("name", ["mert-tiny-random", "mel-cnn"])
def test_a_random_start_depends_on_the_seed_alone(name):
    before = torch.get_rng_state()
    first, again, other = (load_backbone(name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(states(first), states(again))
    assert not torch.equal(states(first), states(other))
    assert first.source == {"name": name, "revision": None}


def test_safetensors_and_pickle_give_the_same_model(folder):
    from_pickle = load_backbone(str(folder), seed=0)
    assert from_pickle.config._attn_implementation == "sdpa"
    save_file(read_tensors(folder / "pytorch_model.bin"), folder / "model.safetensors")
    (folder / "pytorch_model.bin").unlink()
    assert torch.equal(states(load_backbone(str(folder), seed=0)), states(from_pickle))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(folder, kind):
    state = tensors(folder)
    change_tensors(folder, **{key: tensor.to(kind) for key, tensor in state.items()})
    model = load_backbone(str(folder), seed=0)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()[KEY], state[KEY].to(kind).float())


def test_a_hubert_loads_if_it_states_24_khz(folder):
    before = states(load_backbone(str(folder), seed=0))
    change(folder, model_type="hubert")
    assert torch.equal(states(load_backbone(str(folder), seed=0)), before)
    content = json.loads((folder / "config.json").read_text())
    del content["sample_rate"]
    (folder / "config.json").write_text(json.dumps(content))
    refused(folder, "a hubert without sample_rate; if it takes 24000 Hz, add that to the file")
    change(folder, model_type="mert_model")
    load_backbone(str(folder), seed=0)


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
    refused(folder, "would run code, which is refused")
    assert not (tmp_path / "ran").exists()


def test_missing_files(folder):
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00002.bin")
    refused(folder, r"no weights; put model.safetensors or pytorch_model.bin, as one file, beside config.json")
    (folder / "config.json").unlink()
    refused(folder, r"no config.json")


@pytest.mark.parametrize("keep", [0, 100, 0.5, -1])
def test_truncated_weights(weights, keep):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(weights.parent, rf"{weights.name}: damaged, truncated or of another format .[\d,]+ bytes.")


def test_a_git_lfs_pointer_instead_of_weights(folder):
    (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused(folder, r"pytorch_model\.bin: a Git LFS pointer instead of the weights; run `git lfs pull`")


@pytest.mark.parametrize(
    "content", [{3: torch.zeros(2)}, {"a": torch.zeros(2).to_sparse()}, torch.zeros(2), {"epoch": 3, "model": {}}]
)
def test_a_pickle_of_something_else(folder, content):
    torch.save(content, folder / "pytorch_model.bin")
    refused(folder, "expected a mapping of names to tensors; use the weights file as published")


def test_keys_shapes_and_dtypes_must_match(folder):
    state = tensors(folder)
    torch.save({key: state[key] for key in state if "layers.1." not in key}, folder / "pytorch_model.bin")
    refused(folder, r"encoder.layers.1.attention.k_proj.bias is missing and 14 more; copy or download both")
    torch.save({**state, "lm_head.weight": torch.zeros(2)}, folder / "pytorch_model.bin")
    refused(folder, r"lm_head.weight is unknown")
    torch.save({**state, "masked_spec_embed": torch.zeros(5)}, folder / "pytorch_model.bin")
    refused(folder, r"masked_spec_embed is \(5,\) instead of \(32,\)")
    for kind in ("int64", "complex64", "float8_e4m3fn"):
        wrong = torch.zeros(32).to(getattr(torch, kind))
        torch.save({**state, "masked_spec_embed": wrong}, folder / "pytorch_model.bin")
        refused(folder, rf"masked_spec_embed is torch.{kind} instead of torch.float32")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 777, -1])
def test_non_finite_weights(folder, value, place):
    state = tensors(folder)
    state[KEY].view(-1)[place] = value
    change_tensors(folder, **state)
    refused(folder, rf"pytorch_model\.bin: .*{KEY} has NaN or infinite numbers; .*or use an earlier checkpoint")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec2"}, "model_type is 'wav2vec2', expected mert_model or hubert"),
        ({"model_type": None}, "model_type is None"),
        ({"deepnorm": True}, "deepnorm is True"),
        ({"sample_rate": 16000}, "sample_rate is 16000"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"hidden_size": -5}, "hidden_size is -5 .*greater than or equal to 1"),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000 .*less than or equal to 8192"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000 .*less than or equal to 128"),
        ({"conv_stride": [5, 64]}, "conv_dim, conv_kernel and conv_stride differ in length"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 4]}, r"the product of conv_stride \[5, .*, 4\] is not 320"),
        ({"conv_stride": [0] * 7}, r"the product of conv_stride"),
        ({"conv_kernel": [4096] * 7}, "wider than a clip of five seconds"),
        ({"conv_dim": [8] * 100_000}, "differ in length"),
        ({"conv_dim": 8}, "conv_dim"),
        ({"hidden_act": "sine"}, "no model can be made of it .*'sine'"),
        ({"num_attention_heads": 5}, "no model can be made of it"),
        ({"num_attention_heads": 0}, "no model can be made of it"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_bins": 10**9}, "feature_extractor_cqt_bins is"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_fmin": 1e-9}, "feature_extractor_cqt_fmin is 1e-09"),
        ({"hidden_dropout": float("nan")}, "NaN is not a number"),
        ({"layer_norm_eps": 10**400}, "layer_norm_eps"),
        ({"num_conv_pos_embedding_groups": 3}, "no model can be made of it"),
    ],
)
def test_another_model_s_configuration(folder, changes, message):
    change(folder, **changes)
    refused(
        folder, rf"config\.json: .*{message}.*(; use a MERT-v1|, or use a MERT-v1 checkpoint|download the file again)$"
    )


def test_num_labels_is_ignored(folder):
    """Transformers would make a name for each label."""
    change(folder, num_labels=10**12)
    assert load_backbone(str(folder), seed=0).hidden_size == SMALL["hidden_size"]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\xff", "[" * 100_000, "9" * 5_000, '{"a": "' + "a" * 2_000_000])
def test_a_config_json_that_is_not_a_configuration(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, r"config\.json: (not JSON|model_type is None|larger than 1,000,000 bytes)")


@pytest.mark.parametrize("changes", [{"sampling_rate": 16000}, {"do_normalize": False}])
def test_another_preprocessor(folder, changes):
    change(folder, "preprocessor_config.json", **changes)
    refused(folder, r"preprocessor_config\.json: (sampling_rate is 16000|do_normalize is False)")


def test_settings_that_a_backbone_does_not_have():
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
        ("melcnn", "mel-cnn"),
    ],
)
def test_the_nearest_name_is_suggested(typed, meant):
    with pytest.raises(TarkibError, match=rf"{typed}.*; did you mean {meant}\?$"):
        load_backbone(typed, seed=0)


def test_names_that_are_no_directory(tmp_path, folder):
    with pytest.raises(TarkibError, match=r"is neither a directory nor one of mert-tiny, .*M$"):
        load_backbone(str(tmp_path / "nowhere"), seed=0)
    with pytest.raises(TarkibError, match=r"config\.json' is a file; give the directory"):
        load_backbone(str(folder / "config.json"), seed=0)
    with pytest.raises(TarkibError, match=r"model\.backbone: 'a+\.\.\.a+': File name too long") as caught:
        load_backbone("a" * 10_000, seed=0)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "pytorch_model.bin"])
def test_unreadable_files(folder, monkeypatch, name):
    opened = Path.open

    # The tests may run as root, who may read everything.
    def closed(path: Path, *args: object, **kwargs: object) -> object:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", closed)
        refused(folder, rf"{name}: cannot be read .Permission denied.; make it a file that you may read")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, rf"{name}: cannot be read .Is a directory.; make it a file that you may read")


def test_the_mask_embedding_is_loaded_and_left_out_without_masks(folder):
    model = load_backbone(str(folder), seed=0)
    assert torch.equal(model.masked_spec_embed.detach(), tensors(folder)["masked_spec_embed"])
    change(folder, mask_time_prob=0.0, mask_feature_prob=0.0)
    without = load_backbone(str(folder), seed=0)
    assert "masked_spec_embed" not in without.state_dict()
    assert torch.equal(states(without), states(model))


def test_loading_draws_nothing_and_keeps_no_tensor_in_the_file(weights):
    before = torch.get_rng_state()
    model = load_backbone(str(weights.parent), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())
    expected = states(model)
    # The file may be overwritten while the model is in use.
    with weights.open("r+b") as file:
        file.write(b"\xff" * weights.stat().st_size)
    assert torch.equal(states(model), expected)


def test_a_saved_mert_with_the_constant_q_branch_loads_bit_for_bit(tmp_path):
    with torch.random.fork_rng():
        model = MertModel(tiny()).eval()
    assert save_mert(tmp_path, model, "the card") == checksum(tmp_path / "model.safetensors")
    assert (tmp_path / "README.md").read_text() == "the card"
    again = load_backbone(str(tmp_path), seed=0)
    kernels = [name for name, _ in model.named_buffers() if "kernels_" in name]
    assert len(kernels) == 8
    assert all(torch.equal(again.get_buffer(name), model.get_buffer(name)) for name in kernels)
    assert torch.equal(states(again), states(model))


def test_a_directory_is_pinned_by_the_checksum_of_its_weights(folder):
    digest = hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()
    for revision in (None, digest[:8], digest[:20].upper(), digest):
        source = load_backbone(str(folder), seed=0, revision=revision).source
        assert source == {"name": str(folder), "revision": digest[:16], "weights_sha256": digest}
    change_tensors(folder, masked_spec_embed=torch.ones(32))
    actual = load_backbone(str(folder), seed=0).source["revision"]
    with pytest.raises(
        TarkibError, match=rf"SHA-256 begins with {actual} and model\.revision is {digest[:16]}; restore"
    ) as caught:
        load_backbone(str(folder), seed=0, revision=digest[:16])
    assert str(folder / "pytorch_model.bin") in str(caught.value)


@pytest.mark.parametrize("revision", ["main", "1234567", "", "0" * 65, "12345678\n"])
def test_a_revision_of_a_directory_that_is_no_checksum(folder, revision):
    with pytest.raises(TarkibError, match=r"model\.revision: .* the first 8 to 64 hexadecimal digits of the SHA-256"):
        load_backbone(str(folder), seed=0, revision=revision)


def test_the_packaged_backbone_is_pre_trained_and_small():
    first, other = load_backbone("mert-tiny", seed=0), load_backbone("mert-tiny", seed=1)
    assert torch.equal(states(first), states(other))
    assert first.source == {
        "name": "mert-tiny",
        "revision": None,
        "weights_sha256": checksum(TINY / "model.safetensors"),
    }
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 8 * 2**20
    assert not torch.equal(states(first), states(load_backbone("mert-tiny-random", seed=0)))
