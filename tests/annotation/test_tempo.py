import itertools
import tracemalloc

import numpy as np
import pytest
from solos import clicks, hiss, solo, timeline, tone

from tarkib.annotation import tempo
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")

RANGE = {"min_bpm": 50.0, "max_bpm": 200.0, "prior_bpm": 100.0, "prior_octaves": 0.9}
THRESHOLD = 0.2


def off_modulo_octave(bpm: np.ndarray, true_bpm: float) -> np.ndarray:
    """How far tempi are from the true one or its halves and doubles, as a share of it."""
    octaves = np.log2(bpm / true_bpm)
    return 2.0 ** np.abs(octaves - np.round(octaves)) - 1.0


@pytest.mark.parametrize("bpm", [40, 47, 60, 73.3, 88, 100, 121, 150, 177, 200, 223, 240])
def test_clicks_have_their_tempo_modulo_octave(bpm):
    found = tempo.track(clicks(bpm), **RANGE)
    assert np.all(off_modulo_octave(found.bpm, bpm) < 0.015)
    assert np.all(found.confidence > 0.4)


@pytest.mark.parametrize("bpm", [76, 88, 100, 112, 124])
def test_a_tempo_near_the_prior_is_no_half_or_double(bpm):
    found = tempo.track(solo("shur", 220.0, bpm, seconds=15.0), **RANGE)
    assert np.median(found.bpm) == pytest.approx(bpm, rel=0.02)


def test_the_prior_chooses_between_a_tempo_and_its_double():
    slow = tempo.track(clicks(140), **{**RANGE, "prior_bpm": 70.0, "prior_octaves": 0.3})
    fast = tempo.track(clicks(140), **{**RANGE, "prior_bpm": 140.0, "prior_octaves": 0.3})
    assert np.median(slow.bpm) == pytest.approx(70, rel=0.01)
    assert np.median(fast.bpm) == pytest.approx(140, rel=0.01)


STILL = {
    "silence": np.zeros(SAMPLE_RATE * 12, np.float32),
    "constant": np.ones(SAMPLE_RATE * 12, np.float32),
    "denormal": np.full(SAMPLE_RATE * 12, 1e-40, np.float32),
    "low tone": tone(110.0, 12.0),
    "high tone": tone(1500.0, 12.0, harmonics=1),
    "vibrato": tone(330.0, 12.0, vibrato_cents=30.0),
    "noise": hiss(12.0, 0.3),
    "noise, then nothing": hiss(12.0, 0.3) * (timeline(12.0) < 6.0),
    "one note": tone(220.0, 5.0) * np.exp(-timeline(5.0)).astype(np.float32),
    "a second and a half": hiss(1.5, 0.3),
    "nothing at all": np.zeros(0, np.float32),
}


@pytest.mark.parametrize("name", STILL)
def test_what_has_no_beat_has_no_trusted_tempo(name):
    found = tempo.track(STILL[name], **RANGE)
    assert np.all(found.confidence < THRESHOLD)
    assert np.all(np.isfinite(found.bpm))
    assert np.all((found.bpm >= 50.0) & (found.bpm <= 200.0))


@pytest.mark.parametrize("held", [False, True])
def test_free_rhythm_falls_under_the_threshold_and_metre_does_not(held):
    """Sung notes begin softly: more of their metre is missed, but no more of their freedom is taken for metre."""
    free = [tempo.track(solo("mahur", 200.0, None, seed=s, held=held), **RANGE).confidence for s in range(6)]
    metred = [
        tempo.track(solo("mahur", 200.0, 70.0 + 13 * s, seconds=20.0, seed=s, held=held), **RANGE) for s in range(6)
    ]
    assert np.mean(np.concatenate(free) < THRESHOLD) >= 0.95
    assert np.mean(np.concatenate([found.confidence for found in metred]) >= THRESHOLD) >= (0.7 if held else 0.99)
    right = [off_modulo_octave(found.bpm, 70.0 + 13 * s) < 0.04 for s, found in enumerate(metred)]
    assert np.mean(np.concatenate(right)) >= 0.9


def test_a_tempo_between_two_candidates_is_told_finely():
    grid = tempo.tempo_grid(50.0, 200.0)
    for bpm in np.sqrt(grid[100:130:6] * grid[101:131:6]):
        assert np.median(tempo.track(clicks(bpm), **RANGE).bpm) == pytest.approx(bpm, rel=0.0015)


def test_a_sound_that_is_cut_does_not_begin():
    onset = tempo.onset_strength(tone(331.0, 2.0))
    assert onset[:8].max() < 0.02
    assert onset[-8:].max() < 0.02


def test_human_timing_is_still_a_beat():
    found = tempo.track(clicks(96, seconds=25.0, jitter_s=0.015), **RANGE)
    assert np.all(np.abs(found.bpm / 96 - 1) < 0.02)
    assert np.all(found.confidence > 0.3)


def test_a_change_of_tempo_is_followed():
    found = tempo.track(np.concatenate([clicks(80, 30.0), clicks(113, 30.0)]), **RANGE)
    assert np.all(off_modulo_octave(found.bpm[3:25], 80) < 0.02)
    assert np.all(off_modulo_octave(found.bpm[36:57], 113) < 0.02)


def test_a_slow_drift_is_followed():
    beats = np.cumsum(60.0 / np.linspace(84, 102, 80))
    samples = hiss(beats[-1] + 1.0, 1e-3)
    samples[(beats * SAMPLE_RATE).astype(int)] += 0.9
    found = tempo.track(samples, **RANGE)
    seconds = np.arange(6, int(beats[-1]) - 6)
    true = np.interp(seconds, beats, np.linspace(84, 102, 80))
    assert np.all(np.abs(found.bpm[seconds] / true - 1) < 0.04)


def test_a_rest_does_not_change_the_tempo():
    samples = clicks(92, 30.0)
    samples[12 * SAMPLE_RATE : 16 * SAMPLE_RATE] = 0.0
    found = tempo.track(samples, **RANGE)
    assert np.all(np.abs(found.bpm / 92 - 1) < 0.02)


def test_the_half_that_is_silent_has_no_tempo():
    found = tempo.track(np.concatenate([clicks(92, 30.0), np.zeros(30 * SAMPLE_RATE, np.float32)]), **RANGE)
    assert np.all(found.confidence[:24] > 0.5)
    assert np.all(found.confidence[40:] == 0.0)


def test_level_changes_nothing_that_matters():
    samples = solo("nava", 200.0, 110.0, seconds=15.0)
    loud, quiet = tempo.track(samples, **RANGE), tempo.track(samples * 0.01, **RANGE)
    np.testing.assert_allclose(loud.bpm, quiet.bpm, rtol=1e-3)
    np.testing.assert_allclose(loud.confidence, quiet.confidence, atol=1e-3)


def test_equal_input_gives_equal_bytes():
    samples = solo("nava", 200.0, 110.0, seconds=15.0)
    first, again = tempo.track(samples, **RANGE), tempo.track(samples.copy(), **RANGE)
    assert first.bpm.tobytes() == again.bpm.tobytes()
    assert first.confidence.tobytes() == again.confidence.tobytes()


def test_blocks_leave_no_seams(monkeypatch):
    samples = solo("nava", 200.0, 110.0, seconds=12.0)
    whole = tempo.onset_strength(samples)
    monkeypatch.setattr(tempo, "_BLOCK", 97)
    np.testing.assert_allclose(tempo.onset_strength(samples), whole, atol=1e-5)


def test_onset_strength_peaks_where_notes_begin():
    samples = hiss(4.0, 1e-4)
    for start in (1.0, 2.5):
        note = tone(300.0, 1.0) * np.exp(-timeline(1.0) / 0.3).astype(np.float32)
        samples[int(start * SAMPLE_RATE) : int((start + 1.0) * SAMPLE_RATE)] += note
    onset = tempo.onset_strength(samples)
    assert onset.shape == (1 + len(samples) // 240,)
    for start in (1.0, 2.5):
        around = slice(int(100 * start) - 20, int(100 * start) + 20)
        assert abs(int(onset[around].argmax()) - 20) <= 3
    assert onset[150:240].max() < 0.2 * onset.max()


def test_comb_equals_the_slow_autocorrelation():
    rng = np.random.default_rng(3)
    windows = rng.standard_normal((2, 1200)).astype(np.float32)
    lags = np.array([[40.0, 70.25], [80.0, 140.5]])
    expected = np.zeros((2, 2))
    for row, column in np.ndindex(2, 2):
        window = windows[row].astype(float)
        for multiple in range(2):
            lag = lags[multiple, column]
            below = int(lag)
            at = [np.dot(window[: 1200 - k], window[k:]) / (1200 - k) for k in (below, below + 1)]
            expected[row, column] += ((1 - lag + below) * at[0] + (lag - below) * at[1]) / 2
        expected[row, column] /= np.dot(window, window) / 1200
    np.testing.assert_allclose(tempo._comb(windows, lags), expected, atol=1e-3)


def test_best_path_equals_the_exhaustive_search():
    """Small enough to try every path; steps and jumps cost what the module says."""
    rng = np.random.default_rng(5)
    columns = 12

    def cost(a: int, b: int) -> float:
        step = abs(a - b)
        drift = tempo._DRIFT_COST * step if step <= tempo._REACH else np.inf
        return min(drift, tempo._JUMP_COST)

    for _ in range(5):
        score = rng.random((4, columns)).astype(np.float32)
        value = {
            path: sum(score[i, c] for i, c in enumerate(path)) - sum(cost(*pair) for pair in itertools.pairwise(path))
            for path in itertools.product(range(columns), repeat=4)
        }
        found = tuple(int(c) for c in tempo._best_path(score))
        assert value[found] == pytest.approx(max(value.values()), abs=1e-5)


def test_a_sudden_change_of_tempo_is_a_jump_and_a_moment_of_doubt_is_none():
    score = np.full((30, 200), 0.1, np.float32)
    score[:10, 20] = score[10:20, 180] = score[20:, 90] = 0.6
    score[15] = 0.0
    score[15, 60] = 0.5
    assert tempo._best_path(score).tolist() == [20] * 10 + [180] * 10 + [90] * 10


def test_memory_stays_a_small_share_of_the_samples():
    samples = hiss(240.0, 0.1)
    tempo.track(samples[:SAMPLE_RATE], **RANGE)
    tracemalloc.start()
    tempo.track(samples, **RANGE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6 + 0.75 * samples.nbytes
