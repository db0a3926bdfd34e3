import numpy as np
import pytest
from solos import hiss, timeline, tone

from tarkib.annotation import pitch
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")


def cents_of(hz: float) -> float:
    return 1200 * np.log2(hz / pitch.REFERENCE_HZ)


@pytest.mark.parametrize("hz", [70.0, 98.3, 196.2, 233.0, 440.0, 784.1, 1191.7, 2000.0])
@pytest.mark.parametrize("harmonics", [1, 8])
def test_a_tone_has_its_fundamental(hz, harmonics):
    heard = pitch.listen(tone(hz, 1.0, harmonics))
    assert heard.held.mean() > 0.95
    np.testing.assert_allclose(heard.cents[heard.held], cents_of(hz), atol=6.0)


def test_a_missing_fundamental_is_heard():
    phase = 2 * np.pi * 150.0 * timeline(1.0)
    heard = pitch.listen(sum(np.sin(k * phase) for k in (3, 4, 5)).astype(np.float32))
    np.testing.assert_allclose(heard.cents, cents_of(150.0), atol=6.0)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(SAMPLE_RATE, np.float32), np.ones(SAMPLE_RATE, np.float32), hiss(3.0, 0.3), np.zeros(0, np.float32)],
    ids=["silence", "constant", "noise", "nothing at all"],
)
def test_what_has_no_pitch_holds_none(samples):
    heard = pitch.listen(samples)
    assert not heard.held.any()
    assert np.isfinite(heard.cents).mean() < 0.05
    assert pitch.fundamental_classes(heard).sum() == 0.0


def test_a_constant_offset_changes_nothing():
    heard = pitch.listen(0.1 * tone(233.0, 1.0) + np.float32(0.5))
    assert heard.held.mean() > 0.95
    np.testing.assert_allclose(heard.cents[heard.held], cents_of(233.0), atol=6.0)


def test_breath_hides_a_tone_only_when_it_is_louder():
    rms = float(np.sqrt(np.mean(tone(311.0, 2.0) ** 2)))
    breathy = pitch.listen(tone(311.0, 2.0) + hiss(2.0, 0.5 * rms))
    buried = pitch.listen(tone(311.0, 2.0) + hiss(2.0, 1.6 * rms))
    assert breathy.held.mean() > 0.9
    assert np.isfinite(buried.cents).mean() < 0.1


def test_a_slide_is_voiced_but_not_held():
    hz = 150.0 * 2 ** (timeline(1.0) * 2.5)
    heard = pitch.listen(np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE).astype(np.float32))
    assert np.isfinite(heard.cents).mean() > 0.8
    assert heard.held.mean() < 0.1


def test_vibrato_is_held():
    heard = pitch.listen(tone(330.0, 2.0, vibrato_cents=25.0))
    assert heard.held.mean() > 0.95
    assert np.median(heard.cents) == pytest.approx(cents_of(330.0), abs=5)


def test_what_is_far_quieter_is_not_listened_to():
    heard = pitch.listen(np.concatenate([tone(330.0, 2.0), 0.01 * tone(370.0, 2.0)]))
    assert not heard.held[110:].any()


def test_nsdf_equals_its_definition():
    block = np.random.default_rng(1).standard_normal((2, 300)).astype(np.float32)
    found = pitch._nsdf(block, 40)
    for row, lag in np.ndindex(2, 41):
        first, second = block[row, : 300 - lag].astype(float), block[row, lag:].astype(float)
        expected = 2 * (first * second).sum() / (first**2 + second**2).sum()
        assert found[row, lag] == pytest.approx(expected, abs=1e-5)


def test_classes_gather_octaves_and_share_between_bins():
    cents = cents_of(311.0) + np.array([0.0, 1200.0, -2400.0])
    counts = pitch._counts(cents, np.array([1.0, 2.0, 3.0]))
    place = (cents_of(311.0) % 1200) / 10
    assert counts.sum() == pytest.approx(6.0)
    assert counts[int(place)] == pytest.approx(6.0 * (1 - place % 1))
    assert counts[(int(place) + 1) % pitch.BINS] == pytest.approx(6.0 * (place % 1))


@pytest.mark.parametrize("low_hz", [109.4, 127.4, 294.0])  # between bins of the FFT, 20 to 50 cents wide there
def test_spectral_peaks_hear_both_of_two_notes(low_hz):
    both = tone(low_hz, 2.0, harmonics=1) + tone(407.0, 2.0, harmonics=1)
    classes = pitch._shares(pitch.listen(both).spectral.sum(axis=0))
    assert classes.sum() == pytest.approx(1.0)
    for hz in (low_hz, 407.0):
        place = round((cents_of(hz) % 1200) / 10)
        assert classes[np.arange(place - 1, place + 2) % pitch.BINS].sum() == pytest.approx(0.5, abs=0.05)


def test_a_profile_is_a_share_of_time():
    heard = np.concatenate([tone(220.0, 3.0, harmonics=1), tone(330.0, 1.0, harmonics=1)])
    classes = pitch.fundamental_classes(pitch.listen(heard))
    place = round((cents_of(220.0) % 1200) / 10)
    assert classes.sum() == pytest.approx(1.0)
    assert classes[np.arange(place - 1, place + 2) % pitch.BINS].sum() == pytest.approx(0.75, abs=0.03)
