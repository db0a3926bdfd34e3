import numpy as np
import pytest
from solos import clicks, hiss

from tarkib.annotation import beats, tempo
from tarkib.annotation.onset import onset_strength
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")


def tracked(samples: np.ndarray, least: float = 0.5) -> np.ndarray:
    onset = onset_strength(samples)
    return beats.beats(onset, tempo.track(onset, 50.0, 200.0), least)


@pytest.mark.parametrize("bpm", [60.0, 92.0, 120.0])
def test_beats_are_where_the_clicks_are(bpm):
    found, true = tracked(clicks(bpm, 30.0)), np.arange(0.2, 29.9, 60.0 / bpm)
    assert found.dtype == np.float64
    assert np.all(np.diff(found) > 0)
    inner = true[(true > 2) & (true < 28)]
    assert np.all(np.abs(found[:, None] - inner).min(axis=0) < 0.03)
    assert len(found) == pytest.approx(len(true), abs=2)


def test_beats_are_kept_only_where_the_tempo_is_trusted():
    samples = np.concatenate([clicks(92, 30.0), np.zeros(30 * SAMPLE_RATE, np.float32)])
    found = tracked(samples)
    assert len(found) > 30
    assert found.max() < 40.0
    assert len(tracked(samples, least=1.0)) == 0
    assert len(tracked(hiss(10.0, 0.1))) == 0
    assert len(tracked(np.zeros(0, np.float32))) == 0


def test_the_first_beat_of_a_slice():
    some = np.array([0.5, 1.5, 9.9])
    assert beats.first_beat(some, 0.0) == 0.5
    assert beats.first_beat(some, 0.6) == pytest.approx(0.9)
    assert beats.first_beat(some, 1.5) == 0.0
    assert beats.first_beat(some, 4.0) is None
    assert beats.first_beat(some, 5.0) == pytest.approx(4.9)
    assert beats.first_beat(some, 10.0) is None
    assert beats.first_beat(np.zeros(0), 0.0) is None
