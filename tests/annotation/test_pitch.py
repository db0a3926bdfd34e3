import numpy as np
import pytest
from solos import hiss, timeline, tone

from tarkib.annotation import pitch
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")


def cents_of(hz: float) -> float:
    return 1200 * np.log2(hz / pitch.REFERENCE_HZ)


def check_held(samples: np.ndarray, hz: float) -> None:
    """One held note at this frequency, from beginning to end."""
    detected = pitch.detect(samples)
    assert detected.held.mean() > 0.95
    np.testing.assert_allclose(detected.cents[detected.held], cents_of(hz), atol=6.0)


@pytest.mark.parametrize("hz", [70.0, 98.3, 233.0, 784.1, 1191.7, 2000.0])
@pytest.mark.parametrize("harmonics", [1, 8])
def test_a_tone_has_its_fundamental(hz, harmonics):
    check_held(tone(hz, 1.0, harmonics), hz)


def test_a_missing_fundamental_and_an_offset():
    phase = 2 * np.pi * 150.0 * timeline(1.0)
    check_held(sum(np.sin(k * phase) for k in (3, 4, 5)).astype(np.float32), 150.0)
    check_held(0.1 * tone(233.0, 1.0) + np.float32(0.5), 233.0)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(SAMPLE_RATE, np.float32), np.ones(SAMPLE_RATE, np.float32), hiss(3.0, 0.3), np.zeros(0, np.float32)],
    ids=["silence", "constant", "noise", "empty"],
)
def test_without_pitch_nothing_is_held(samples):
    detected = pitch.detect(samples)
    assert not detected.held.any()
    assert np.isfinite(detected.cents).mean() < 0.05
    assert detected.fundamentals().sum() == 0.0


def test_breath_hides_a_tone_only_if_it_is_louder():
    rms = float(np.sqrt(np.mean(tone(311.0, 2.0) ** 2)))
    assert pitch.detect(tone(311.0, 2.0) + hiss(2.0, 0.5 * rms)).held.mean() > 0.9
    assert np.isfinite(pitch.detect(tone(311.0, 2.0) + hiss(2.0, 1.6 * rms)).cents).mean() < 0.1


def test_vibrato_is_held_and_a_slide_is_not():
    vibrato = pitch.detect(tone(330.0, 2.0, vibrato_cents=25.0))
    assert vibrato.held.mean() > 0.95
    assert np.median(vibrato.cents) == pytest.approx(cents_of(330.0), abs=5)
    hz = 150.0 * 2 ** (timeline(1.0) * 2.5)
    slide = pitch.detect(np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE).astype(np.float32))
    assert np.isfinite(slide.cents).mean() > 0.8
    assert slide.held.mean() < 0.1


def test_far_quieter_frames_are_ignored():
    assert not pitch.detect(np.concatenate([tone(330.0, 2.0), 0.01 * tone(370.0, 2.0)])).held[110:].any()


def test_nsdf_equals_its_definition():
    block = np.random.default_rng(1).standard_normal((2, 300)).astype(np.float32)
    nsdf = pitch._nsdf(block, 40)
    for row, lag in np.ndindex(2, 41):
        first, second = block[row, : 300 - lag].astype(float), block[row, lag:].astype(float)
        expected = 2 * (first * second).sum() / (first**2 + second**2).sum()
        assert nsdf[row, lag] == pytest.approx(expected, abs=1e-5)


def test_classes_gather_octaves_and_share_between_bins():
    classes = pitch._classes(cents_of(311.0) + np.array([0.0, 1200.0, -2400.0]), np.array([1.0, 2.0, 3.0]))
    place = (cents_of(311.0) % 1200) / 10
    assert classes.sum() == pytest.approx(6.0)
    assert classes[int(place)] == pytest.approx(6.0 * (1 - place % 1))
    assert classes[(int(place) + 1) % pitch.BINS] == pytest.approx(6.0 * (place % 1))


def share_near(classes: np.ndarray, hz: float) -> float:
    place = round((cents_of(hz) % 1200) / 10)
    return classes[np.arange(place - 1, place + 2) % pitch.BINS].sum()


@pytest.mark.parametrize("low_hz", [109.4, 294.0])  # between bins of the FFT, 50 or 20 cents wide there
def test_spectral_peaks_show_both_of_two_notes(low_hz):
    spectral = pitch.detect(tone(low_hz, 2.0, harmonics=1) + tone(407.0, 2.0, harmonics=1)).spectral
    for hz in (low_hz, 407.0):
        assert share_near(pitch._shares(spectral.sum(axis=0)), hz) == pytest.approx(0.5, abs=0.05)


def test_fundamentals_are_shares_of_time():
    detected = pitch.detect(np.concatenate([tone(220.0, 3.0, harmonics=1), tone(330.0, 1.0, harmonics=1)]))
    assert detected.fundamentals().sum() == pytest.approx(1.0)
    assert share_near(detected.fundamentals(), 220.0) == pytest.approx(0.75, abs=0.03)
