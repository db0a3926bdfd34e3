from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_mert import NO_DROPOUT, SMALL, noise, published, tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier
from tarkib.models.backbone import load_backbone
from tarkib.models.mert import MertModel, mask_spans, normalise
from tarkib.models.mert_config import MertConfig
from tarkib.models.mert_layers import LayerNorm

FIXTURES = Path(__file__).resolve().parents[2] / "../shared/fixtures/mert"


def plain(model: MertModel) -> None:
    """As it is on a CPU."""


def products(model: MertModel) -> None:
    """As it is on a CUDA device."""
    model.feature_extractor.products = True


def recomputed(model: MertModel) -> None:
    """With gradient checkpointing, which is in training alone."""
    model.recompute_activations()
    model.train()


def recomputed_products(model: MertModel) -> None:
    """Both."""
    products(model)
    recomputed(model)


PATHS = [plain, products, recomputed, recomputed_products]


def small(seed: int = 0, **config: object) -> MertModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MertModel(MertConfig(**{**SMALL, **NO_DROPOUT, **config}))


def with_branch(**config: object) -> MertModel:
    branch = {"feature_extractor_cqt": True, "feature_extractor_cqt_bins": 84, "feature_extractor_cqt_fmin": 40.0}
    return small(**branch, **config)


def worst(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> float:
    assert len(found) == len(expected)
    return max(float((a - b).detach().abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("path", [plain, products])
@pytest.mark.parametrize("name", ["small_330m", "small_95m"])
def test_every_hidden_state_is_what_the_published_code_gives(name, path):
    folder = FIXTURES / name
    if not folder.is_dir():
        pytest.skip("the reference checkpoints are not here")
    reference = load_file(folder / "expected.safetensors")
    for kernels in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        model = load_backbone(str(folder), seed=0).eval()
        path(model)
        with torch.no_grad(), sdpa_kernel(kernels):
            found = model.all_hidden_states(reference["input_values"])
            assert torch.equal(found[-1], model(reference["input_values"]))
        assert len(found) == len(reference["hidden_states"])
        for mine, theirs in zip(found, reference["hidden_states"], strict=True):
            assert mine.shape == (2, 374, 64)
            if kernels == SDPBackend.MATH and path is plain:
                # Of the state's largest value (up to 7): sums over other numbers of threads round differently, and the
                # reference itself lies 9e-7 of it from a computation in float64.
                torch.testing.assert_close(mine, theirs, atol=1e-6 * max(1.0, float(theirs.abs().max())), rtol=0)
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_states_and_gradients_of_the_published_layout_are_hubert_s(tmp_path, pre_norm, norm, path):
    hubert = published(tmp_path / "checkpoint", pre_norm, feat_extract_norm=norm)
    samples = noise(2, 12_000)
    model = load_backbone(str(tmp_path / "checkpoint"), seed=0)
    # In training, too: nothing is masked and no layer is dropped, though the file asks for both.
    model.train()
    path(model)
    hubert.set_attn_implementation("eager")
    before_norm = hubert(samples, output_hidden_states=True).hidden_states
    # HuBERT gives the last state before the final norm; MERT's is after it, where the layers normalise first.
    expected = (*before_norm[:-1], hubert.encoder.layer_norm(before_norm[-1]) if pre_norm else before_norm[-1])
    found = model.all_hidden_states(samples)
    assert worst(found, expected) < 1e-5
    assert model.layer_count == len(found) == 3
    for states in (found, expected):
        sum(state.sin().mean() for state in states).backward()
    theirs = dict(hubert.named_parameters())
    assert theirs.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        if name != "masked_spec_embed":
            torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("path", [plain, products])
def test_pooled_states_are_the_means_and_keep_one_state_at_a_time(tmp_path, path):
    published(tmp_path / "checkpoint")
    model = load_backbone(str(tmp_path / "checkpoint"), seed=0).eval()
    path(model)
    classifier, clips = InstrumentClassifier(model, head_hidden=8, head_dropout=0.0), noise(2, 12_000)
    with torch.no_grad():
        expected = torch.stack([state.mean(dim=1) for state in model.all_hidden_states(normalise(clips))], dim=1)
        torch.testing.assert_close(classifier.pooled_states(clips), expected, atol=1e-6, rtol=0)
        # Of L states the second is made after the first was taken.
        states = model.hidden_states(normalise(clips))
        calls: list[int] = []
        model.encoder.layers[0].register_forward_hook(lambda *_: calls.append(0))
        next(states)
        assert calls == []
        next(states)
        assert calls == [0]


def test_under_autocast_norms_take_and_give_its_type():
    norm, usual, samples = LayerNorm(32), torch.nn.LayerNorm(32), noise(4, 9, 32).requires_grad_()
    torch.nn.init.normal_(norm.weight)
    usual.load_state_dict(norm.state_dict())
    assert torch.equal(norm(samples), usual(samples))
    with torch.autocast("cpu", torch.bfloat16):
        found = norm(samples)
        narrow = norm(samples.bfloat16())
    assert torch.equal(found, narrow)
    torch.testing.assert_close(found, usual(samples).bfloat16(), atol=0.05, rtol=0.02)
    weight = torch.autograd.grad(found.float().square().sum(), norm.weight)[0]
    expected = torch.autograd.grad(usual(samples).square().sum(), usual.weight)[0]
    torch.testing.assert_close(weight, expected, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_under_autocast_states_are_near_those_in_single_precision(pre_norm):
    model, samples = small(do_stable_layer_norm=pre_norm).eval(), noise(2, 12_000)
    products(model)
    with torch.no_grad():
        expected = model.all_hidden_states(samples)
        with torch.autocast("cpu", torch.bfloat16):
            found = model.all_hidden_states(samples)
    for narrow, wide in zip(found, expected, strict=True):
        assert narrow.dtype is torch.bfloat16
        assert (narrow - wide).square().mean().sqrt() < 0.02 * wide.square().mean().sqrt()


def test_training_draws_nothing_from_global_generators(tmp_path):
    published(tmp_path / "checkpoint")
    model = load_backbone(str(tmp_path / "checkpoint"), seed=0).train()
    before, torch_before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (it is what must stay)
    model.all_hidden_states(noise(1, 12_000))
    after = np.random.get_state()  # noqa: NPY002
    assert before[2] == after[2]
    assert np.array_equal(before[1], after[1])
    assert torch.equal(torch_before, torch.get_rng_state())


def test_published_sizes():
    large = {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    for config, count in (({**large, "do_stable_layer_norm": True}, 315_428_992), ({}, 94_371_712)):
        with torch.device("meta"):
            assert sum(parameter.numel() for parameter in MertModel(MertConfig(**config)).parameters()) == count


@pytest.mark.parametrize("config", [MertConfig(**SMALL), tiny()])
def test_a_clip_has_374_frames(config):
    model = MertModel(config).eval()
    with torch.no_grad():
        states = model.all_hidden_states(noise(1, 120_000))
    assert {state.shape for state in states} == {(1, 374, model.hidden_size)}


def test_clips_of_a_batch_do_not_touch_and_padding_is_no_way_to_make_one():
    clips = normalise(noise(2, 12_000))
    model = small().eval()
    with torch.no_grad():
        together = model.all_hidden_states(clips)
        alone = model.all_hidden_states(clips[:1])
        padded = model.all_hidden_states(torch.nn.functional.pad(clips[:1], (0, 6_000)))
    assert worst([state[:1] for state in together], alone) < 1e-5
    # The group norm runs over time: silence behind a clip changes all of it, which no attention mask could undo.
    assert worst([state[:, :30] for state in padded], [state[:, :30] for state in alone]) > 0.01


def test_normalise_is_what_the_published_preprocessor_does():
    clips = (0.01 * noise(3, 4_000) + 0.2).numpy()
    expected = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)(list(clips), sampling_rate=24_000)
    np.testing.assert_allclose(normalise(torch.from_numpy(clips)), np.stack(expected["input_values"]), atol=1e-4)


def test_normalise_works_in_float32_and_leaves_silence_silent():
    assert torch.equal(normalise(torch.zeros(1, 100)), torch.zeros(1, 100))
    assert normalise(noise(1, 1000).half()).dtype == torch.float32
    # Stored numbers give what the samples that they stand for give; in quiet ones the root's 1e-7 matters.
    for pcm in ((3000 * noise(2, 4_000)).to(torch.int16), torch.tensor([[1, -1, 1, -1]], dtype=torch.int16)):
        assert torch.equal(normalise(pcm), normalise(pcm.float() / 32_768))


def test_branch_feeds_the_projection_and_adds_no_keys():
    model, without, samples = with_branch(feature_extractor_cqt_gamma=50.0), small(), noise(1, 12_000)
    assert model.feature_projection.projection.in_features == 8 + 84
    assert set(model.state_dict()) == set(without.state_dict()) == set(HubertModel(HubertConfig(**SMALL)).state_dict())
    convolved = samples[:, None]
    for layer in model.feature_extractor.conv_layers:
        convolved = layer(convolved)
    bins = torch.log1p(50 * model.feature_extractor.constant_q(samples))[..., :37]
    features = model.feature_extractor(samples)
    assert features.shape == (1, 37, 92)
    torch.testing.assert_close(features, torch.cat([convolved, bins], dim=1).transpose(1, 2))
    products(model)
    torch.testing.assert_close(model.feature_extractor(samples), features)


def test_spec_augment_masks_in_training_alone_and_by_its_seed():
    samples = noise(4, 12_000)

    def states(seed: int, training: bool = True, draws: int = 0) -> torch.Tensor:
        model = small(mask_time_prob=0.3, mask_time_length=5)
        model.enable_spec_augment(seed)
        # A checkpoint holds the number of draws, so that a resumed training goes on with it.
        model.load_state_dict({**model.state_dict(), "spec_augment_draws": torch.tensor(draws)})
        model.train(training)
        with torch.no_grad():
            found = model.all_hidden_states(samples)[0]
        assert int(model.spec_augment_draws) == draws + training
        return found

    with torch.no_grad():
        unmasked = small(mask_time_prob=0.3).all_hidden_states(samples)[0]
    assert torch.equal(states(1, training=False), unmasked)
    assert torch.equal(states(1), states(1))
    assert not torch.equal(states(1), unmasked)
    assert not torch.equal(states(1), states(2))
    assert not torch.equal(states(1), states(1, draws=1))
    with pytest.raises(TarkibError, match="masks nothing"):
        small(mask_time_prob=0.0).enable_spec_augment(0)


def test_given_masks_put_one_embedding_in_the_place_of_frames_and_draw_nothing():
    model = small(mask_time_prob=0.5).train()
    model.enable_spec_augment(1)
    mask = torch.zeros(1, 37, dtype=torch.bool)
    mask[0, 5:12] = True
    found = model(noise(1, 12_000), mask)
    assert int(model.spec_augment_draws) == 0
    projected = model.feature_projection(model.feature_extractor(noise(1, 12_000)))
    masked = torch.where(mask[..., None], model.masked_spec_embed, projected)
    *_, last = model.encoder.states(masked)
    torch.testing.assert_close(found, last)


def test_spans_have_distinct_starts_and_the_given_length():
    mask = mask_spans(np.random.default_rng(0), 500, 374, 0.3, 10, 2)
    assert 0.2 < mask.mean() < 0.3
    assert len({row.tobytes() for row in mask}) == 500
    starts = mask_spans(np.random.default_rng(1), 200, 60, 0.5, 1, 0).sum(axis=1)
    assert set(starts) == {30}
    assert mask_spans(np.random.default_rng(2), 3, 4, 0.1, 10, 2).all()
