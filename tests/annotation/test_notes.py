import numpy as np
import pytest
from solos import analysed, hiss, timeline

from tarkib.annotation import notes
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")


def sung(cents: list[float], seconds: float = 0.5, vibrato_cents: float = 0.0) -> np.ndarray:
    """One breath through notes of half a second, cents above 220 Hz, without any change of level."""
    along = np.repeat(cents, int(seconds * SAMPLE_RATE))
    along = along + vibrato_cents * np.sin(2 * np.pi * 5.5 * timeline(len(along) / SAMPLE_RATE))
    phase = 2 * np.pi * np.cumsum(220.0 * 2 ** (along / 1200)) / SAMPLE_RATE
    return (0.3 * np.sum([np.sin(k * phase) / k for k in (1, 2, 3, 4)], axis=0)).astype(np.float32)


def test_changes_of_pitch_are_where_the_notes_change():
    found = analysed(sung([0, 200, 350, 150, 0, 500]))
    strength = found.onset[:, 3]
    places = np.flatnonzero(strength) / 100
    np.testing.assert_allclose(places, [0.5, 1.0, 1.5, 2.0, 2.5], atol=0.03)
    # A neutral second counts less than a whole tone.
    assert strength[np.flatnonzero(strength)[2]] == pytest.approx(0.3, abs=0.02)
    assert 0.1 < strength[np.flatnonzero(strength)[1]] < 0.25


@pytest.mark.parametrize(
    "samples",
    [sung([0] * 8, vibrato_cents=40.0), sung([0, 1200, 0]), hiss(4.0, 0.3), np.zeros(100, np.float32)],
    ids=["vibrato", "octaves", "noise", "nothing"],
)
def test_vibrato_octaves_and_noise_change_nothing(samples):
    assert not analysed(samples).onset[:, 3].any()


def test_a_drum_has_none():
    """Though single frames of it may have a pitch."""
    found = analysed(sung([0, 300] * 4))
    assert notes.changes(found.pitch, 400).any()
    power = np.concatenate([found.pitch.power, np.full(1000, 1.0, np.float32)])
    cents = np.concatenate([found.pitch.cents, np.full(1000, np.nan, np.float32)])
    drum = found.pitch._replace(cents=cents, power=power)
    assert drum.held_share < 0.45
    assert not notes.changes(drum, 400).any()
