import numpy as np
import pytest

from tarkib.audio import SAMPLE_RATE
from tarkib.demo.synthesis import (
    BODY_HZ,
    minimum_phase,
    oscillate,
    resonances,
    ring,
    wavetables,
)


@pytest.mark.parametrize("k", [3, 40])
def test_ringing_is_the_sum_of_decaying_sines(k):
    """Within the last of what short partials are cut off at."""
    n, rng = 9000, np.random.default_rng(0)
    hz, t60, phase = rng.uniform(100, 9000, k), rng.uniform(0.05, 2, k), rng.uniform(-2, 2, k)
    out = np.ones(n + 1000)
    ring(out, 500, hz, t60, np.ones(k), phase, limit=n, fade=100)
    t = np.arange(n)[:, None] / SAMPLE_RATE
    wanted = (10 ** (-3 * t / t60) * np.sin(2 * np.pi * hz * t + phase)).sum(axis=1)
    wanted[-100:] *= np.linspace(1, 0, 100)
    away = np.abs(out[500 : 500 + n] - 1 - wanted)
    assert away[:1000].max() < 1e-9
    assert away.max() < k * 10 ** (-58 / 20)
    assert (np.delete(out, slice(500, 500 + n)) == 1).all()


def test_a_body_has_the_response_asked_for_and_rings_after_the_blow():
    magnitude = 0.5 + resonances(BODY_HZ, np.array([400.0, 1500.0]), np.array([60.0, 200.0]), np.array([4.0, 2.0]))
    response = minimum_phase(magnitude)
    measured = np.abs(np.fft.rfft(response, 2 * (len(BODY_HZ) - 1)))
    assert np.abs(20 * np.log10(measured / magnitude)).max() < 0.5
    energy = np.cumsum(response**2) / (response**2).sum()
    assert energy[200] > 0.9


@pytest.mark.parametrize("hz", [110.0, 437.0, 1400.0])
def test_the_oscillator_plays_its_harmonics_without_aliases(hz):
    n = SAMPLE_RATE
    phase = np.cumsum(np.full(n, hz)) / SAMPLE_RATE
    sound = oscillate(phase, np.full(n // 120 + 1, hz), (wavetables(1 / np.arange(1, 101)),))[0]
    spectrum = np.abs(np.fft.rfft(sound * np.blackman(n)))
    bins = np.arange(len(spectrum)) * SAMPLE_RATE / n
    near = np.abs(bins / hz - np.round(bins / hz)) * hz < 4
    assert spectrum[~near].max() < 0.005 * spectrum.max()
    second = spectrum[np.abs(bins - 2 * hz) < 4].max() / spectrum[np.abs(bins - hz) < 4].max()
    assert second == pytest.approx(0.5, abs=0.06)
