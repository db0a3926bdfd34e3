import numpy as np
import pytest
from solos import clicks, hiss

from tarkib.annotation import tempo
from tarkib.annotation.onset import onset_strength
from tarkib.audio import SAMPLE_RATE
from tarkib.params import Annotate

pytestmark = pytest.mark.filterwarnings("error")


def tracked(samples: np.ndarray, min_confidence: float = 0.5) -> np.ndarray:
    onset = onset_strength(samples)
    return tempo.beats(onset, tempo.track(onset, Annotate()), min_confidence)


@pytest.mark.parametrize("bpm", [60.0, 120.0])
def test_beats_are_where_the_clicks_are(bpm):
    seconds, true = tracked(clicks(bpm, 20.0)), np.arange(0.2, 19.9, 60.0 / bpm)
    assert seconds.dtype == np.float64
    assert np.all(np.diff(seconds) > 0)
    inner = true[(true > 2) & (true < 18)]
    assert np.all(np.abs(seconds[:, None] - inner).min(axis=0) < 0.03)
    assert len(seconds) == pytest.approx(len(true), abs=2)


def test_beats_are_kept_only_where_the_tempo_is_trusted():
    samples = np.concatenate([clicks(92, 30.0), np.zeros(30 * SAMPLE_RATE, np.float32)])
    seconds = tracked(samples)
    assert len(seconds) > 30
    assert seconds.max() < 40.0
    for untrusted in (tracked(samples, 1.0), tracked(hiss(10.0, 0.1)), tracked(np.zeros(0, np.float32))):
        assert len(untrusted) == 0


@pytest.mark.parametrize(
    ("start_s", "expected"), [(0.0, 0.5), (0.6, 0.9), (1.5, 0.0), (4.0, None), (5.0, 4.9), (10.0, None)]
)
def test_the_first_beat_of_a_slice(start_s, expected):
    assert tempo.first_beat(np.array([0.5, 1.5, 9.9]), start_s) == (expected and pytest.approx(expected))
    assert tempo.first_beat(np.zeros(0), start_s) is None
