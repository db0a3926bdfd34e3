import numpy as np
import pytest
from conftest import noise

from tarkib import audio


def test_levels():
    assert audio.decibels(audio.rms(np.tile(np.float32([0.1, -0.1]), 50))) == pytest.approx(-20, abs=1e-4)
    assert audio.decibels(0.0) == -120.0
    assert audio.rms(np.zeros(0)) == 0.0
    assert audio.amplitude(-20) == pytest.approx(0.1)


def test_a_constant_is_silent_and_adds_nothing_to_a_sound():
    assert audio.decibels(audio.rms(np.full(120_000, 0.5, np.float32))) == -120.0
    sound = noise(5, level=0.01)
    assert audio.rms(sound + np.float32(0.5)) == pytest.approx(audio.rms(sound), rel=1e-4)
