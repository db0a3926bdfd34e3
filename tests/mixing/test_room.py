import numpy as np
import pytest
from conftest import noise

from tarkib import audio
from tarkib.audio import SAMPLE_RATE
from tarkib.mixing import room


@pytest.mark.parametrize(("rt60_s", "wet_db"), [(0.3, -20.0), (0.8, -6.0), (1.5, -6.0)])
def test_the_tail_has_its_length_and_level(rt60_s, wet_db):
    """Schroeder's backward integration, from -5 to -25 dB, times three."""
    response = room.response(rt60_s, wet_db)
    tail = response[1:].astype(float)
    left = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2) + 1e-12)
    first, last = np.argmax(left < -5), np.argmax(left < -25)
    assert 3 * (last - first) / SAMPLE_RATE == pytest.approx(rt60_s, rel=0.12)
    assert response[0] == 1.0
    assert audio.decibels(np.linalg.norm(tail)) == pytest.approx(wet_db, abs=0.01)
    assert np.count_nonzero(response[1:200]) == 0  # no reflection before it was at a wall
    np.testing.assert_array_equal(response, room.response(rt60_s, wet_db))
    assert not np.array_equal(response, room.response(rt60_s, wet_db + 0.5))


def test_a_sound_passes_at_once_and_its_tail_decays():
    sound = np.concatenate([noise(1.0), np.zeros(SAMPLE_RATE, np.float32)])
    reverberant = room.reverberate(sound, 1.0, -9.0)
    assert (reverberant.shape, reverberant.dtype) == (sound.shape, np.float32)
    np.testing.assert_allclose(reverberant[:200], sound[:200], atol=1e-5)
    tail = reverberant[SAMPLE_RATE + 100 :]
    assert audio.decibels(audio.rms(tail[:2_400])) > -45
    assert audio.rms(tail[-2_400:]) < 0.1 * audio.rms(tail[:2_400])


def test_rooms_are_drawn_within_their_ranges():
    rng = np.random.default_rng(0)
    drawn = np.array([room.draw(rng) for _ in range(500)])
    low, high = np.transpose([room.RT60_S, room.WET_DB])
    assert np.all((drawn >= low) & (drawn <= high))
    assert np.all(drawn.min(axis=0) < low + 0.1 * (high - low))
    assert np.all(drawn.max(axis=0) > high - 0.1 * (high - low))
