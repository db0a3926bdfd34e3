import numpy as np
import pytest
from conftest import noise

from tarkib import audio
from tarkib.audio import SAMPLE_RATE
from tarkib.mixing import room
from tarkib.mixing.room import Room


@pytest.mark.parametrize("rt60_s", [0.3, 0.8, 1.5])
def test_the_tail_dies_away_as_long_as_it_says(rt60_s):
    """Schroeder's backward integration, from -5 to -25 dB, times three."""
    response = Room(rt60_s, -6.0).response()
    tail = response[1:].astype(float)
    left = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2) + 1e-12)
    first, last = np.argmax(left < -5), np.argmax(left < -25)
    assert 3 * (last - first) / SAMPLE_RATE == pytest.approx(rt60_s, rel=0.12)


@pytest.mark.parametrize("wet_db", [-20.0, -6.0])
def test_the_tail_is_as_loud_as_it_says(wet_db):
    response = Room(0.7, wet_db).response()
    assert response[0] == 1.0
    assert audio.decibels(np.linalg.norm(response[1:])) == pytest.approx(wet_db, abs=0.01)
    assert np.count_nonzero(response[1:200]) == 0  # nothing comes back before it was at a wall


def test_a_sound_goes_through_at_once_and_rings_on():
    sound = np.concatenate([noise(1.0), np.zeros(SAMPLE_RATE, np.float32)])
    heard = Room(1.0, -9.0).sounding(sound)
    assert heard.shape == sound.shape
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard[:200], sound[:200], atol=1e-5)
    ringing = heard[SAMPLE_RATE + 100 :]
    assert audio.decibels(audio.rms(ringing[:2_400])) > -45
    assert audio.rms(ringing[-2_400:]) < 0.1 * audio.rms(ringing[:2_400])


def test_rooms_are_drawn_within_their_ranges():
    rng = np.random.default_rng(0)
    drawn = [Room.draw(rng) for _ in range(500)]
    for values, (low, high) in (
        ([one.rt60_s for one in drawn], room.RT60_S),
        ([one.wet_db for one in drawn], room.WET_DB),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high >= max(values) > high - 0.1 * (high - low)


def test_equal_rooms_sound_equal_and_others_do_not():
    np.testing.assert_array_equal(Room(0.5, -9.0).response(), Room(0.5, -9.0).response())
    assert not np.array_equal(Room(0.5, -9.0).response(), Room(0.5, -9.5).response()[:12_240])
