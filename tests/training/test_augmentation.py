"""Augmentation: reproducible from seed, epoch and clip alone, only of training clips, and what it does to a sound."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_training import Clips, Watch, classifier, fit, same, weights
from test_pooled import frozen

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.models.mert import normalise
from tarkib.runtime.cache import Cache
from tarkib.training import augmentation, fitting
from tarkib.training.augmentation import STRENGTHS, AugmentedSet, augment
from tarkib.training.prediction import predict

NOTHING = replace(
    STRENGTHS["light"],
    drive_db=(-60.0, -60.0),
    tilt_db=0.0,
    band_db=0.0,
    low_pass_hz=(1e6, 1e6),
    high_pass_hz=(1e-3, 1e-3),
    room_share=0.0,
    noise_db=(-120.0, -120.0),
)
"""A strength that leaves a clip as it is."""


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def white(seed: int = 0) -> np.ndarray:
    return rng(seed).standard_normal(CLIP_SAMPLES).astype(np.float32)


def slope_db(before: np.ndarray, after: np.ndarray, low: float, high: float) -> float:
    """By how much more the octave around `high` Hz was raised than that around `low` Hz."""

    def gain(hertz: float) -> float:
        bins = np.abs(np.log2(np.maximum(np.fft.rfftfreq(before.size, 1 / SAMPLE_RATE), 1) / hertz)) < 0.5
        return np.diff([10 * np.log10((np.abs(np.fft.rfft(some)) ** 2)[bins].mean()) for some in (before, after)])[0]

    return gain(high) - gain(low)


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_augmented_clips_have_the_shape_and_level_of_normalised_ones(name, dtype):
    data = Clips(6, 1)
    plain = normalise(torch.from_numpy(data.samples))
    data.samples = (data.samples / 10 * (32_767 if dtype == np.int16 else 1)).astype(dtype)
    clips = AugmentedSet(data, STRENGTHS[name], 1)
    assert len(clips) == 6
    assert list(clips.ids) == list(data.ids)
    for index in range(6):
        item = clips[index]
        assert item["samples"].dtype == torch.float32
        assert item["samples"].shape == data[index]["samples"].shape
        assert item["samples"].square().mean().item() == pytest.approx(1, abs=1e-3)
        assert item["samples"].mean().item() == pytest.approx(0, abs=1e-3)
        assert (item["samples"] - plain[index]).square().mean() > 1e-4
        assert torch.equal(item["labels"], data[index]["labels"])
        assert item["index"] == index


def test_silence_stays_finite():
    data = Clips(2, 1)
    data.samples[:] = 0
    assert AugmentedSet(data, STRENGTHS["strong"], 1)[0]["samples"].isfinite().all()


def test_a_clip_depends_on_seed_epoch_and_its_number_alone():
    def drawn(seed: int, epoch: int, index: int) -> torch.Tensor:
        clips = AugmentedSet(Clips(6, 1), STRENGTHS["strong"], seed)
        clips.epoch = epoch
        return clips[index]["samples"]

    clips = AugmentedSet(Clips(6, 1), STRENGTHS["strong"], 1)
    clips.epoch = 2
    torch.manual_seed(5)
    backwards = {index: clips[index]["samples"] for index in reversed(range(6))}
    np.random.seed(7)  # noqa: NPY002
    for index in range(6):
        assert torch.equal(drawn(1, 2, index), backwards[index])
    assert not torch.equal(drawn(2, 2, 3), drawn(1, 2, 3))
    assert not torch.equal(drawn(1, 1, 3), drawn(1, 2, 3))
    # Two clips of the same sound get different things.
    twice = Clips(2, 1)
    twice.samples[1] = twice.samples[0]
    twins = AugmentedSet(twice, STRENGTHS["strong"], 1)
    assert not torch.equal(twins[0]["samples"], twins[1]["samples"])


def test_none_leaves_the_set_itself():
    data = Clips(6, 1)
    assert augmentation.augmented_set(data, "none", 1) is data


def test_each_epoch_hears_other_versions_and_validation_hears_none(tmp_path, monkeypatch):
    heard: list[torch.Tensor] = []
    forward = fitting._ClassifierTrainer.compute_loss
    validated = fitting._ClassifierTrainer.prediction_step
    checked: list[torch.Tensor] = []

    def listen(self, model, inputs, *rest, **more):
        order = torch.argsort(inputs["index"])
        heard.append(inputs["samples"][order])
        return forward(self, model, inputs, *rest, **more)

    def look(self, model, inputs, *rest, **more):
        checked.append(inputs["samples"])
        return validated(self, model, inputs, *rest, **more)

    monkeypatch.setattr(fitting._ClassifierTrainer, "compute_loss", listen)
    monkeypatch.setattr(fitting._ClassifierTrainer, "prediction_step", look)
    data, validation = Clips(8, 1), Clips(8, 2)
    fit(classifier(), tmp_path, data=data, validation=validation, epochs=3, augmentation="strong", seed=1)
    clips = AugmentedSet(data, STRENGTHS["strong"], 1)
    assert len(heard) == 3
    for epoch, batch in enumerate(heard):
        clips.epoch = epoch
        assert torch.equal(batch, torch.stack([clips[index]["samples"] for index in range(8)]))
    assert all(torch.equal(batch, torch.from_numpy(validation.samples)) for batch in checked)


@pytest.mark.parametrize("loaders", [0, 2])
def test_a_resumed_training_equals_an_undisturbed_one(tmp_path, loaders):
    """Stopped within the second epoch, and after it; the loaders' processes know the epoch, too."""
    whole = fit(classifier(), tmp_path / "whole", augmentation="strong")
    for stop in (8, 11):
        folder = tmp_path / str(stop)
        options = {"augmentation": "strong", "checkpoint_steps": 2, "loaders": loaders}
        with pytest.raises(KeyboardInterrupt):
            fit(classifier(), folder, callbacks=[Watch(stop=stop)], **options)
        watch = Watch()
        resumed = fit(classifier(), folder, callbacks=[watch], **options)
        assert watch.steps[0] in (stop - 1, stop)
        assert same(weights(resumed.model), weights(whole.model))
        assert resumed.history == whole.history
        assert same(resumed.model.familiarity.state_dict(), whole.model.familiarity.state_dict())
    # A training that is complete already learns its familiarity from the same clips again.
    again = fit(classifier(), tmp_path / "whole", augmentation="strong")
    assert same(again.model.familiarity.state_dict(), whole.model.familiarity.state_dict())
    plain = fit(classifier(), tmp_path / "plain")
    assert not same(weights(plain.model), weights(whole.model))


def test_a_frozen_backbone_hears_each_clip_augmented_once(tmp_path):
    """Cached under strength and seed; the states of validation clips are those without augmentation."""
    entries = []
    for options in ({}, {"augmentation": "light"}, {"augmentation": "strong"}, {"augmentation": "strong", "seed": 2}):
        result = fit(frozen(classifier), tmp_path, epochs=2, identity={"data": "these"}, **options)
        entries.append(len(list((tmp_path / "cache").rglob("*.npz"))))
        logits = predict(result.model, Clips(32, 2), 8, "cpu")
        np.testing.assert_allclose(result.validation_logits, logits, atol=1e-2)
    assert entries == [2, 3, 4, 5]
    fit(frozen(classifier), tmp_path, epochs=3, identity={"data": "these"}, augmentation="light")
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 5
    cache = Cache(tmp_path / "cache")
    clips = AugmentedSet(Clips(40, 1), STRENGTHS["strong"], 2)
    with torch.inference_mode():
        expected = frozen(classifier).eval().pooled_states(torch.stack([clips[i]["samples"] for i in range(40)])).half()
    kept = [cache.get(path.stem)["states"] for path in (tmp_path / "cache").rglob("*.npz")]
    assert any(one.shape == expected.shape and np.allclose(one, expected, atol=2e-2) for one in kept)


def test_a_strength_without_effect_leaves_the_sound():
    for seed in range(4):
        np.testing.assert_allclose(augment(white(), NOTHING, rng(seed)), white(), atol=2e-3)


def test_the_tilt_is_so_many_decibels_an_octave():
    slopes = [
        slope_db(white(), augment(white(), replace(NOTHING, tilt_db=4.0), rng(seed)), 500, 4_000) / 3
        for seed in range(12)
    ]
    assert max(slopes) > 2
    assert min(slopes) < -2
    assert np.abs(slopes).max() < 4.1


@pytest.mark.parametrize(
    ("changed", "low", "high", "expected"),
    [({"low_pass_hz": (2e3, 2e3)}, 500, 8_000, -48), ({"high_pass_hz": (2e3, 2e3)}, 500, 8_000, 23)],
)
def test_half_the_clips_get_a_filter(changed, low, high, expected):
    slopes = np.array(
        [slope_db(white(), augment(white(), replace(NOTHING, **changed), rng(seed)), low, high) for seed in range(20)]
    )
    filtered = np.abs(slopes) > 1
    assert 5 <= filtered.sum() <= 15
    np.testing.assert_allclose(slopes[filtered], expected, atol=4)


def test_the_noise_has_its_level_and_colour():
    heard = replace(NOTHING, noise_db=(-20.0, -20.0))
    noises = [augment(white(), heard, rng(seed)) - augment(white(), NOTHING, rng(seed)) for seed in range(12)]
    levels = [10 * np.log10(np.square(noise).mean()) for noise in noises]
    np.testing.assert_allclose(levels, -20, atol=0.3)
    # An octave holds twice as many of white noise's frequencies; the slope is of the power at a frequency.
    slopes = [slope_db(white(9), noise, 500, 4_000) / 3 for noise in noises]
    assert -6.5 < min(slopes) < -3.5
    assert -2.5 < max(slopes) < 0.5


def test_a_room_decays_as_long_as_drawn():
    sound = np.zeros(CLIP_SAMPLES, np.float32)
    sound[1_000] = 1.0
    echo = replace(NOTHING, room_share=1.0, decay_s=(0.5, 0.5), wet_db=(0.0, 0.0), noise_db=(-200.0, -200.0))
    response = augment(sound, echo, rng(1))[1_000:]
    gap = round(0.005 * SAMPLE_RATE)
    assert np.abs(response[1:gap]).max() < 1e-3
    assert np.square(response[gap:]).sum() == pytest.approx(1, abs=0.02)
    early, late = (
        np.square(response[gap + start : gap + start + 1_200]).mean() for start in (0, round(0.25 * SAMPLE_RATE))
    )
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=3)
    assert np.abs(response[gap + round(0.5 * SAMPLE_RATE) + 10 :]).max() < 1e-3


def test_soft_clipping_takes_the_peaks_of_half_the_clips():
    clipped = replace(NOTHING, drive_db=(0.0, 0.0))
    peaks = np.array([np.abs(augment(white(), clipped, rng(seed))).max() for seed in range(20)])
    assert 5 <= (peaks < 1.05).sum() <= 15
    assert (peaks[peaks > 1.05] > 4).all()
