import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_mert import TINY, change, noise, published, tiny

from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone
from tarkib.models.files import checksum, read_tensors, save_mert
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


def refused(name: Path | str, message: str, **options: object) -> None:
    with pytest.raises(TarkibError, match=message) as caught:
        load_backbone(str(name), seed=0, **options)
    assert "\n" not in str(caught.value)
    assert str(name)[:30] in str(caught.value)
    assert len(str(caught.value)) < 2_000


def states(model: torch.nn.Module | Path) -> torch.Tensor:
    model = load_backbone(str(model), seed=0) if isinstance(model, Path) else model
    with torch.no_grad():
        return torch.stack(model.eval().all_hidden_states(noise(1, 12_000)))


@pytest.mark.parametrize("name", ["mert-tiny-random", "mel-cnn"])
def test_a_random_start_depends_on_the_seed_alone(name):
    before = torch.get_rng_state()
    first, again, other = (load_backbone(name, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(states(first), states(again))
    assert not torch.equal(states(first), states(other))
    assert first.source == {"name": name, "revision": None}


def test_the_packaged_backbone_is_pre_trained_and_small():
    first, other = load_backbone("mert-tiny", seed=0), load_backbone("mert-tiny", seed=1)
    assert torch.equal(states(first), states(other))
    digest = checksum(TINY / "model.safetensors")
    assert first.source == {"name": "mert-tiny", "revision": None, "weights_sha256": digest}
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 8 * 2**20
    assert not torch.equal(states(first), states(load_backbone("mert-tiny-random", seed=0)))


def test_safetensors_and_pickle_give_the_same_model_without_the_checkpoint_s_python(folder, tmp_path):
    for name in ("modeling_MERT.py", "configuration_MERT.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    from_pickle = states(folder)
    save_file(read_tensors(folder / "pytorch_model.bin"), folder / "model.safetensors")
    (folder / "pytorch_model.bin").unlink()
    assert torch.equal(states(folder), from_pickle)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_become_float32(folder, kind):
    state = read_tensors(folder / "pytorch_model.bin")
    torch.save({key: tensor.to(kind) for key, tensor in state.items()}, folder / "pytorch_model.bin")
    model = load_backbone(str(folder), seed=0)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()[KEY], state[KEY].to(kind).float())


@pytest.mark.parametrize("changes", [{"model_type": "hubert"}, {"num_labels": 10**12}, {"sample_rate": None}])
def test_fields_that_change_nothing(folder, changes):
    """A hubert of 24 kHz; labels, for each of which transformers would make a name; a default."""
    before = states(folder)
    change(folder / "config.json", **changes)
    assert torch.equal(states(folder), before)


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
    refused(folder, r"pytorch_model\.bin: holds no tensors that can be read .UnpicklingError")
    assert not (tmp_path / "ran").exists()


def test_missing_files(folder):
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00002.bin")
    refused(folder, r"no weights; put model.safetensors or pytorch_model.bin, as one file, beside config.json")
    (folder / "config.json").unlink()
    refused(folder, r"config.json: not readable as JSON .*No such file")


@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_truncated_weights(weights, keep):
    content = weights.read_bytes()
    weights.write_bytes(content[: int(keep * len(content)) if keep > 0 else keep])
    refused(weights.parent, rf"{weights.name}: holds no tensors .* [\d,]+ bytes.: damaged, truncated")


@pytest.mark.parametrize(
    "content", [{3: torch.zeros(2)}, {"a": torch.zeros(2).to_sparse()}, torch.zeros(2), {"epoch": 3, "model": {}}]
)
def test_a_pickle_of_something_else(folder, content):
    torch.save(content, folder / "pytorch_model.bin")
    refused(folder, r"pytorch_model\.bin: holds no tensors that can be read")


def with_value(place: int, value: float) -> torch.Tensor:
    tensor = torch.zeros(32)
    tensor[place] = value
    return tensor


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lm_head.weight": torch.zeros(2)}, "lm_head.weight is unknown"),
        ({"masked_spec_embed": torch.zeros(5)}, r"masked_spec_embed is \(5,\) instead of \(32,\)"),
        ({"masked_spec_embed": torch.zeros(32).long()}, "masked_spec_embed is torch.int64 instead of torch.float32"),
        ({"masked_spec_embed": torch.zeros(32) + 0j}, "masked_spec_embed is torch.complex64 instead of"),
        ({"masked_spec_embed": with_value(0, float("nan"))}, "masked_spec_embed has NaN or infinite numbers"),
        ({"masked_spec_embed": with_value(17, float("inf"))}, "masked_spec_embed has NaN or infinite numbers"),
        ({"masked_spec_embed": with_value(-1, float("-inf"))}, "masked_spec_embed has NaN or infinite numbers"),
    ],
)
def test_keys_shapes_and_numbers_must_match(folder, changes, message):
    torch.save({**read_tensors(folder / "pytorch_model.bin"), **changes}, folder / "pytorch_model.bin")
    refused(folder, rf"pytorch_model\.bin: the weights do not fit .*: {message}.*; copy or download both")


def test_missing_weights_are_counted(folder):
    state = read_tensors(folder / "pytorch_model.bin")
    torch.save({key: state[key] for key in state if "layers.1." not in key}, folder / "pytorch_model.bin")
    refused(folder, r"encoder.layers.1.attention.k_proj.bias is missing.* and \d+ more; copy or download both")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec2"}, "model_type is 'wav2vec2', expected mert_model, or hubert"),
        ({"model_type": None}, "model_type is None"),
        ({"deepnorm": True}, "deepnorm is True"),
        ({"sample_rate": 16000}, "sample_rate is 16000"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_size": -5}, "hidden_size is -5 .*greater than or equal to 1"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000 .*less than or equal to 128"),
        ({"conv_stride": [5, 64]}, r"conv_stride is \[5, 64\] .*not of one length"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 4]}, "conv_stride do not give a clip .* frames of 320 samples"),
        ({"conv_kernel": [4096] * 7}, "conv_kernel and conv_stride do not give a clip"),
        ({"conv_dim": [8] * 100_000}, r"conv_dim is \[8, 8.*at most 64 items"),
        ({"hidden_act": "sine"}, "hidden_act is 'sine' .*'gelu'"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True"),
        ({"adapter_attn_dim": 8}, "adapter_attn_dim is 8"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch'"),
        ({"hidden_dropout": 1.5}, "hidden_dropout is 1.5"),
        ({"num_conv_pos_embedding_groups": 5}, "num_conv_pos_embedding_groups is 5 .*hidden_size is no multiple of it"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 3}, "num_attention_heads is 3 .*hidden_size is no multiple of it"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_bins": 10**9}, "feature_extractor_cqt_bins is"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_fmin": 1e-9}, "feature_extractor_cqt_fmin is 1e-09"),
        ({"layer_norm_eps": 10**400}, "layer_norm_eps"),
    ],
)
def test_another_model_s_configuration(folder, changes, message):
    change(folder / "config.json", **changes)
    refused(folder, rf"config\.json: .*{message}.*; copy or download the file again, or use a MERT-v1 checkpoint$")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\xff", "[" * 100_000, "9" * 5_000, '{"hidden_dropout": NaN}'])
def test_a_config_json_that_is_not_a_configuration(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(folder, r"config\.json: (not readable as JSON|model_type is None)")


@pytest.mark.parametrize("changes", [{"sampling_rate": 16000}, {"do_normalize": False}])
def test_another_preprocessor(folder, changes):
    change(folder / "preprocessor_config.json", **changes)
    refused(folder, r"preprocessor_config\.json: (sampling_rate is 16000|do_normalize is False)")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mel-cnn", {"revision": "mel-cnn"}, r"model\.revision: 'mel-cnn' is for m-a-p/MERT.* or a directory; set"),
        ("mel-cnn", {"spec_augment": True}, r"model\.spec_augment: mel-cnn does not support it; set it to false"),
        ("m-a-p/MERT-v1-330m", {}, r"did you mean m-a-p/MERT-v1-330M\?$"),
        ("MERT-v1-95M", {}, r"did you mean m-a-p/MERT-v1-95M\?$"),
        ("melcnn", {}, r"did you mean mel-cnn\?$"),
        (str(TINY / "config.json"), {}, "is neither a directory nor one of mert-tiny, .*M, OpenMuQ/.*iter$"),
        ("a" * 10_000, {}, "is neither a directory nor one of mert-tiny, .*M, OpenMuQ/.*iter$"),
    ],
)
def test_names_and_settings_that_no_backbone_has(name, options, message):
    refused(name, message, **options)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "pytorch_model.bin"])
def test_files_that_cannot_be_read(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, rf"{name}: .*(Is a directory|IsADirectoryError)")


def test_the_mask_embedding_is_loaded_and_left_out_without_masks(folder):
    model = load_backbone(str(folder), seed=0)
    expected = read_tensors(folder / "pytorch_model.bin")["masked_spec_embed"]
    assert torch.equal(model.masked_spec_embed.detach(), expected)
    change(folder / "config.json", mask_time_prob=0.0, mask_feature_prob=0.0)
    without = load_backbone(str(folder), seed=0)
    assert "masked_spec_embed" not in without.state_dict()
    assert torch.equal(states(without), states(model))


def test_loading_draws_nothing_and_keeps_no_tensor_in_the_file(weights):
    before = torch.get_rng_state()
    model = load_backbone(str(weights.parent), seed=0)
    assert torch.equal(before, torch.get_rng_state())
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
    assert torch.equal(states(tmp_path), states(model))


def test_a_directory_is_pinned_by_the_checksum_of_its_weights(folder):
    digest = checksum(folder / "pytorch_model.bin")
    for revision in (None, digest[:8], digest[:20].upper(), digest):
        source = load_backbone(str(folder), seed=0, revision=revision).source
        assert source == {"name": str(folder), "revision": digest[:16], "weights_sha256": digest}
    for revision in ("main", digest[:7], "", "0" * 16, f"{digest}0", f"{digest[:8]}\n"):
        refused(folder, rf"pytorch_model.bin: its SHA-256 begins with {digest[:16]} and model", revision=revision)
