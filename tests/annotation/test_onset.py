import numpy as np
import pytest
import scipy.ndimage
from solos import hiss, solo, timeline, tone

from tarkib.annotation import onset as module
from tarkib.annotation.onset import onset_strength
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")


def test_a_sound_that_is_cut_does_not_begin():
    onset = onset_strength(tone(331.0, 2.0))
    assert max(onset[:8].max(), onset[-8:].max()) < 0.02


def test_onset_strength_peaks_where_notes_begin():
    samples = hiss(4.0, 1e-4)
    for start in (1.0, 2.5):
        note = tone(300.0, 1.0) * np.exp(-timeline(1.0) / 0.3).astype(np.float32)
        samples[int(start * SAMPLE_RATE) : int((start + 1.0) * SAMPLE_RATE)] += note
    onset = onset_strength(samples).sum(axis=1)
    for start in (1.0, 2.5):
        around = slice(int(100 * start) - 20, int(100 * start) + 20)
        assert abs(int(onset[around].argmax()) - 20) <= 3
    assert onset[150:240].max() < 0.2 * onset.max()


def test_flux_equals_its_definition():
    """Beside a plain reference that has all of the recording at once."""
    samples = solo("nava", 200.0, 110.0, seconds=23.0)
    padded = np.pad(samples, (512, 1024))
    frames = 1 + len(samples) // 240
    window = np.hanning(1025)[:-1]
    bank = module._filterbank().toarray()
    mel = np.array([bank @ np.abs(np.fft.rfft(padded[240 * i : 240 * i + 1024] * window)) for i in range(frames)])
    segments = [mel[i : i + 500].max() for i in range(0, frames, 500)]
    loudest = scipy.ndimage.maximum_filter1d(segments, 9, mode="nearest")
    loudness = np.interp(np.arange(frames) + 0.5, (np.arange(len(loudest)) + 0.5) * 500, loudest)
    level = np.log1p(1000.0 * mel / loudness[:, None])
    before = np.maximum.reduce([np.pad(level, ((0, 0), (1, 1)), mode="edge")[:, k : k + 40] for k in range(3)])
    rising = np.maximum(level[2:] - before[:-2], 0.0) / 40
    expected = np.zeros((frames, 3))
    expected[2:] = np.add.reduceat(rising, (0, 10, 24), axis=1)
    expected[:5] = expected[-3:] = 0.0
    np.testing.assert_allclose(onset_strength(samples), expected, atol=2e-3)


def test_a_quiet_passage_counts_as_much_as_a_loud_one():
    music = solo("shur", 220.0, 100.0, seconds=60.0)
    faded = music * np.repeat([1.0, 0.02], [SAMPLE_RATE * 10, SAMPLE_RATE * 50]).astype(np.float32)
    np.testing.assert_allclose(onset_strength(faded)[4500:5900], onset_strength(music)[4500:5900], atol=0.02)


@pytest.mark.parametrize("length", [0, 1, 239, 240, 1_024, 119_999, 120_000])
def test_any_length_has_its_frames(length):
    onset = onset_strength(hiss(5.0, 0.1)[:length])
    assert onset.shape == (1 + length // 240, 3)
    assert np.isfinite(onset).all()
