"""The network MuQ against its authors' code, and its checkpoints; `muq_reference.py` makes both."""

from pathlib import Path

import muq_reference as reference
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_mert import change, model_params, noise
from test_backbone import refused

from tarkib import models
from tarkib.errors import TarkibError
from tarkib.models.mert import normalise
from tarkib.models.muq import Muq, MuqConfig
from tarkib.models.musicnn import LEVEL

CLIPS = noise(3, 12_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return reference.checkpoint(tmp_path / "checkpoint")


def load(folder: Path) -> Muq:
    return models.load_backbone(str(folder), seed=0).eval()


@torch.no_grad()
def test_it_gives_what_its_authors_code_gives(folder):
    network, samples = load(folder), torch.from_numpy(reference.clip())[None]
    with np.load(reference.FILE) as expected:
        np.testing.assert_allclose(network.spectrogram(samples)[0, :, ::8], expected["mel"], atol=1e-3)
        states = torch.stack(network.all_hidden_states(samples / LEVEL))[:, 0]
        assert states.shape == (network.layer_count, 50, network.hidden_size) == (3, 50, 16)
        np.testing.assert_allclose(states, expected["states"], atol=1e-4)


@torch.no_grad()
def test_it_hears_loud_and_quiet_clips_at_one_level(folder):
    network, samples = load(folder), torch.from_numpy(reference.clip())[None]
    expected = network.all_hidden_states((samples - samples.mean()) / LEVEL)
    for level in (1, 0.1):
        found = network.all_hidden_states(normalise(level * samples))
        torch.testing.assert_close(found[-1], expected[-1], atol=1e-2, rtol=0)
    (_, _, silence) = network.all_hidden_states(torch.zeros(1, 12_000))
    assert silence.isfinite().all()


def test_the_published_size():
    conformer = {**reference.CONFIG["w2v2_config"], "num_attention_heads": 16, "intermediate_size": 4096}
    with torch.device("meta"):
        network = Muq(MuqConfig(stat=reference.CONFIG["stat"], w2v2_config=conformer))
    assert (network.layer_count, network.hidden_size) == (13, 1024)
    assert sum(parameter.numel() for parameter in network.parameters()) == 316_343_296


def test_loading_draws_nothing_and_leaves_out_the_parts_for_pre_training(folder):
    before = torch.get_rng_state()
    state = load(folder).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    published = load_file(folder / "model.safetensors")
    unused = {key for key in published if key.removeprefix("model.") not in state}
    beginnings = ("cls_token", "rvq.", "linear.", "conformer.pos_conv_embed.", "conformer.embed_positions.")
    assert all(key.startswith(tuple(f"model.{beginning}" for beginning in beginnings)) for key in unused)
    assert all(torch.equal(tensor, published[f"model.{key}"]) for key, tensor in state.items())


@pytest.mark.parametrize("finetune", ["full", "lora", "frozen"])
def test_a_classifier_learns_with_it_and_is_the_same_when_loaded(folder, tmp_path, finetune):
    classifier = models.build(model_params(backbone=str(folder), finetune=finetune), seed=0).train()
    classifier(CLIPS).square().sum().backward()
    inside = {
        name.removeprefix("backbone.")
        for name, parameter in classifier.named_parameters()
        if name.startswith("backbone.") and parameter.grad is not None
    }
    if finetune == "full":
        assert inside == {name for name, _ in classifier.backbone.named_parameters()}
    else:
        assert len(inside) == (2 * 2 * 2 if finetune == "lora" else 0)
        assert all(".lora_" in name and (".linear_q." in name or ".linear_v." in name) for name in inside)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        expected = classifier.eval()(CLIPS)
        assert expected.std() > 1e-3
        classifier.save(tmp_path / "classifier")
        again = models.load(tmp_path / "classifier")
        torch.testing.assert_close(again(CLIPS), expected, atol=1e-5 if finetune == "lora" else 0, rtol=0)
    assert again.source == classifier.source
    change(tmp_path / "classifier/config.json", backbone={"kind": "muq", "source": {}, "config": {"n_mels": 80}})
    with pytest.raises(TarkibError, match=r"backbone: n_mels is 80"):
        models.load(tmp_path / "classifier")


@pytest.mark.parametrize(
    ("changed", "parameter"),
    [
        ({"freeze_convolutions": True}, r"model\.freeze_convolutions"),
        ({"spec_augment": True}, r"model\.spec_augment"),
        ({}, r"run\.gradient_checkpointing"),
    ],
)
def test_settings_that_it_does_not_support(folder, changed, parameter):
    with pytest.raises(TarkibError, match=rf"{parameter}: .* does not support it; set it to false$"):
        models.build(model_params(backbone=str(folder), **changed), seed=0).gradient_checkpointing_enable()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_rate": 50}, "label_rate is 50"),
        ({"encoder_depth": 10**9}, "encoder_depth is 1000000000"),
        ({"conv_dim": "wide"}, "conv_dim is 'wide'"),
        ({"stat": {}}, "stat.melspec_2048_mean is missing"),
        ({"stat": {"melspec_2048_mean": 0, "melspec_2048_std": 0}}, "stat.melspec_2048_std is 0"),
        ({"w2v2_config": {}}, "w2v2_config.num_attention_heads is missing"),
        ({"encoder_dim": 20}, "w2v2_config is .*encoder_dim must be an even multiple of num_attention_heads"),
        ({"encoder_dim": 24, "encoder_depth": 1}, "do not fit the configuration beside them: "),
    ],
)
def test_a_configuration_of_something_else(folder, changes, message):
    change(folder / "config.json", **changes)
    refused(folder, message)


def test_another_position_embedding(folder):
    conformer = {**reference.CONFIG["w2v2_config"], "position_embeddings_type": "relative"}
    change(folder / "config.json", w2v2_config=conformer)
    refused(folder, r"position_embeddings_type is 'relative' .*; copy or download .* use MuQ-large-msd-iter$")


@pytest.mark.parametrize(
    ("key", "message"),
    [("model.conformer.layers.0.extra", "is unknown"), ("model.conv.linear.bias", "conv.linear.bias is missing")],
)
def test_weights_of_something_else(folder, key, message):
    state = load_file(folder / "model.safetensors")
    if state.pop(key, None) is None:
        state[key] = torch.zeros(1)
    save_file(state, folder / "model.safetensors")
    refused(folder, rf"model\.safetensors: the weights do not fit .*{message}")
