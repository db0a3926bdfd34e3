import numpy as np
import pytest
import torch

from tarkib.models.constant_q import ConstantQ

RATE, HOP = 24_000, 320
FMIN, BINS, PER_OCTAVE = 40.0, 168, 24


@pytest.fixture(scope="module")
def transform() -> ConstantQ:
    return ConstantQ(RATE, HOP, FMIN, BINS, PER_OCTAVE)


def frequency(k: int) -> float:
    return FMIN * 2 ** (k / PER_OCTAVE)


def directly(samples: np.ndarray, k: int, centre: float) -> float:
    """Brown's definition at the full sampling rate: the windowed signal times the conjugate sinusoid, averaged."""
    length = RATE * frequency(k) ** -1 / (2 ** (1 / PER_OCTAVE) - 1)
    n = np.arange(len(samples)) - centre
    window = np.where(np.abs(n) < length / 2, np.cos(np.pi * n / length) ** 2, 0.0)
    # The window's sum is half its length, also where it reaches beyond the clip.
    return 2 * abs(np.sum(samples * window * np.exp(-2j * np.pi * frequency(k) * n / RATE))) / (length / 2)


@pytest.mark.parametrize("k", [0, 13, 24, 71, 100, 143, 167])
def test_full_scale_sine_has_amplitude_one_in_its_bin(transform, k):
    time = np.arange(2 * RATE) / RATE
    sine = torch.from_numpy(np.sin(2 * np.pi * frequency(k) * time + 0.3).astype(np.float32))
    frame = transform(sine[None])[0, :, 75]
    assert frame.argmax() == k
    assert frame[k] == pytest.approx(1.0, abs=2e-3)


def test_agrees_with_the_definition_at_the_full_rate(transform):
    rng = np.random.default_rng(1)
    samples = rng.standard_normal(RATE)
    found = transform(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()
    # From 640 Hz up a frame holds several windows; below that it is one, at the frame's centre.
    bins, frames = range(0, 96, 7), range(10, 70, 7)
    expected = np.array([[directly(samples, k, (t + 0.5) * HOP) for t in frames] for k in bins])
    np.testing.assert_allclose(found[np.ix_(bins, frames)], expected, atol=0.03 * expected.max())


def test_every_moment_of_a_frame_contributes():
    transform = ConstantQ(RATE, HOP, FMIN, 192, PER_OCTAVE)
    clicks = torch.zeros(HOP // 8, RATE)
    for i in range(len(clicks)):
        clicks[i, 20 * HOP + 8 * i + 4] = 1.0
    response = transform(clicks)[:, -PER_OCTAVE // 2 :].square().mean(dim=1)
    around = response[:, 19:22].sum(dim=1)
    assert around.min() > 0.5 * around.max()
    assert torch.all(response[:, :18] == 0)


def test_frames_cover_the_clip_and_do_not_depend_on_neighbours(transform):
    clips = torch.from_numpy(np.random.default_rng(2).standard_normal((3, 120_000)).astype(np.float32))
    together = transform(clips)
    assert together.shape == (3, BINS, 375)
    torch.testing.assert_close(together[1:2], transform(clips[1:2]), atol=1e-6, rtol=1e-5)
    assert transform(clips[:, :321]).shape[-1] == 2


def test_level_is_linear_whatever_the_precision_around(transform):
    clip = torch.from_numpy(np.random.default_rng(3).standard_normal((1, 24_000)).astype(np.float32))
    assert torch.all(transform(torch.zeros(1, 24_000)) == 0)
    torch.testing.assert_close(transform(0.01 * clip), 0.01 * transform(clip), atol=1e-7, rtol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = transform(clip)
    assert low.dtype == torch.float32
    assert torch.equal(low, transform(clip))


def test_bins_beyond_the_sampling_rate_are_refused():
    with pytest.raises(ValueError, match=r"216 constant-Q bins from 40 Hz reach .* beyond"):
        ConstantQ(RATE, HOP, FMIN, 216, PER_OCTAVE)
