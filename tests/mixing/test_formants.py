import numpy as np
import pytest
from conftest import noise
from scipy import signal

from tarkib.audio import SAMPLE_RATE
from tarkib.mixing import rendering

FORMANTS_HZ = (700.0, 2_400.0)


def vowel(hz: float, seconds: float = 3.0) -> np.ndarray:
    """A pulse train through two resonances: a voice as phoneticians model it."""
    pulses = np.zeros(int(seconds * SAMPLE_RATE))
    pulses[(np.arange(0, seconds, 1 / hz) * SAMPLE_RATE).astype(int)] = 1.0
    for formant in FORMANTS_HZ:
        pulses = signal.lfilter(*signal.iirpeak(formant, 6.0, fs=SAMPLE_RATE), pulses) + 0.03 * pulses
    return (pulses / np.abs(pulses).max() * 0.5).astype(np.float32)


def formant_near(samples: np.ndarray, hz: float) -> float:
    """Centre of gravity of the power within a fourth of a frequency."""
    frequencies, power = signal.welch(samples[4_800:-4_800], SAMPLE_RATE, nperseg=4_096)
    near = (frequencies > hz / 1.34) & (frequencies < hz * 1.34)
    return float(np.exp(np.sum(np.log(frequencies[near]) * power[near]) / np.sum(power[near])))


def fundamental(samples: np.ndarray) -> float:
    correlation = signal.correlate(samples[24_000:36_000], samples[24_000:36_000], mode="full")[12_000:]
    return SAMPLE_RATE / (80 + np.argmax(correlation[80:400]))


@pytest.mark.parametrize("cents", [-250.0, 250.0])
def test_notes_move_and_formants_stay(cents, monkeypatch):
    before, ratio = vowel(130.0), 2 ** (cents / 1200)

    def moved() -> list[float]:
        """How far each formant moves: 0 not at all, 1 along with the notes."""
        after = rendering.stretch(before, 1.0, cents)
        assert fundamental(after) == pytest.approx(130 * ratio, rel=0.01)
        return [np.log(formant_near(after, hz) / formant_near(before, hz)) / np.log(ratio) for hz in FORMANTS_HZ]

    assert np.abs(moved()).max() < 0.5
    monkeypatch.setattr(rendering, "restore_formants", lambda samples, ratio: samples)
    assert np.mean(moved()) > 0.6


@pytest.mark.parametrize(
    "samples", [noise(2.0), np.zeros(0, np.float32), np.zeros(500, np.float32), np.zeros(9_600, np.float32)], ids=len
)
def test_length_and_level_stay(samples):
    restored = rendering.restore_formants(samples, 1.15)
    assert restored.shape == samples.shape
    level = np.sqrt(np.sum(samples**2))
    assert np.sqrt(np.sum(restored**2)) == pytest.approx(level, rel=0.15)
    np.testing.assert_allclose(rendering.restore_formants(samples, 1.0), samples, atol=1e-5)
