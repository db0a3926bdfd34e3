import itertools
import tracemalloc

import numpy as np
import pytest
from solos import clicks, hiss, solo, timeline, tone

from tarkib.annotation import combs, tempo
from tarkib.annotation.onset import onset_strength
from tarkib.audio import SAMPLE_RATE

pytestmark = pytest.mark.filterwarnings("error")

RANGE = {"min_bpm": 50.0, "max_bpm": 200.0, "prior_bpm": 100.0, "prior_octaves": 0.9}
THRESHOLD = 0.8  # the shipped annotate.min_confidence


def track(samples: np.ndarray, **kwargs: float) -> tempo.TempoTrack:
    """Tempo along a recording in memory."""
    return tempo.track(onset_strength(samples), **kwargs)


def off_modulo_octave(bpm: np.ndarray, true_bpm: float) -> np.ndarray:
    """How far tempi are from the true one or its halves and doubles, as a share of it."""
    octaves = np.log2(bpm / true_bpm)
    return 2.0 ** np.abs(octaves - np.round(octaves)) - 1.0


@pytest.mark.parametrize("bpm", [40, 47, 60, 73.3, 88, 100, 121, 150, 177, 200, 223, 240])
def test_clicks_have_their_tempo_modulo_octave(bpm):
    found = track(clicks(bpm), **RANGE)
    assert np.all(off_modulo_octave(found.bpm, bpm) < 0.015)
    assert np.all(found.confidence > 0.4)


@pytest.mark.parametrize("bpm", [76, 88, 100, 112, 124])
def test_a_tempo_near_the_prior_is_no_half_or_double(bpm):
    found = track(solo("shur", 220.0, bpm, seconds=15.0), **RANGE)
    assert np.median(found.bpm) == pytest.approx(bpm, rel=0.02)


def test_the_prior_chooses_between_a_tempo_and_its_double():
    slow = track(clicks(140), **{**RANGE, "prior_bpm": 70.0, "prior_octaves": 0.3})
    fast = track(clicks(140), **{**RANGE, "prior_bpm": 140.0, "prior_octaves": 0.3})
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
    found = track(STILL[name], **RANGE)
    assert np.all(found.confidence < THRESHOLD)
    assert np.all(np.isfinite(found.bpm))
    assert np.all((found.bpm >= 50.0) & (found.bpm <= 200.0))


@pytest.mark.parametrize("held", [False, True])
def test_free_rhythm_falls_under_the_threshold_and_metre_does_not(held):
    """Sung notes begin softly: more of their metre is missed, but no more of their freedom is taken for metre."""
    free = [track(solo("mahur", 200.0, None, seed=s, held=held), **RANGE).confidence for s in range(6)]
    metred = [track(solo("mahur", 200.0, 70.0 + 13 * s, seconds=20.0, seed=s, held=held), **RANGE) for s in range(6)]
    assert np.mean(np.concatenate(free) < THRESHOLD) >= 0.95
    assert np.mean(np.concatenate([found.confidence for found in metred]) >= THRESHOLD) >= (0.7 if held else 0.99)
    right = [off_modulo_octave(found.bpm, 70.0 + 13 * s) < 0.04 for s, found in enumerate(metred)]
    assert np.mean(np.concatenate(right)) >= 0.9


def test_a_tempo_between_two_candidates_is_told_finely():
    grid = tempo.tempo_grid(50.0, 200.0)
    for bpm in np.sqrt(grid[100:130:6] * grid[101:131:6]):
        assert np.median(track(clicks(bpm), **RANGE).bpm) == pytest.approx(bpm, rel=0.003)


def test_human_timing_is_still_a_beat():
    found = track(clicks(96, seconds=25.0, jitter_s=0.015), **RANGE)
    assert np.all(np.abs(found.bpm / 96 - 1) < 0.02)
    assert np.all(found.confidence > 0.3)


def test_a_change_of_tempo_is_followed():
    found = track(np.concatenate([clicks(80, 30.0), clicks(113, 30.0)]), **RANGE)
    assert np.all(off_modulo_octave(found.bpm[3:25], 80) < 0.02)
    assert np.all(off_modulo_octave(found.bpm[36:57], 113) < 0.02)


def test_a_slow_drift_is_followed():
    beats = np.cumsum(60.0 / np.linspace(84, 102, 80))
    samples = hiss(beats[-1] + 1.0, 1e-3)
    samples[(beats * SAMPLE_RATE).astype(int)] += 0.9
    found = track(samples, **RANGE)
    seconds = np.arange(6, int(beats[-1]) - 6)
    true = np.interp(seconds, beats, np.linspace(84, 102, 80))
    assert np.all(np.abs(found.bpm[seconds] / true - 1) < 0.04)


def test_a_rest_does_not_change_the_tempo():
    samples = clicks(92, 30.0)
    samples[12 * SAMPLE_RATE : 16 * SAMPLE_RATE] = 0.0
    found = track(samples, **RANGE)
    assert np.all(np.abs(found.bpm / 92 - 1) < 0.02)


def test_the_half_that_is_silent_has_no_tempo():
    found = track(np.concatenate([clicks(92, 30.0), np.zeros(30 * SAMPLE_RATE, np.float32)]), **RANGE)
    assert np.all(found.confidence[:24] > 0.5)
    assert np.all(found.confidence[40:] == 0.0)


def test_level_changes_nothing_that_matters():
    samples = solo("nava", 200.0, 110.0, seconds=15.0)
    loud, quiet = track(samples, **RANGE), track(samples * 0.01, **RANGE)
    np.testing.assert_allclose(loud.bpm, quiet.bpm, rtol=1e-3)
    np.testing.assert_allclose(loud.confidence, quiet.confidence, atol=1e-3)


def test_equal_input_gives_equal_bytes():
    samples = solo("nava", 200.0, 110.0, seconds=15.0)
    first, again = track(samples, **RANGE), track(samples.copy(), **RANGE)
    assert first.bpm.tobytes() == again.bpm.tobytes()
    assert first.confidence.tobytes() == again.confidence.tobytes()


def test_levels_are_autocorrelations_at_ratios_of_the_period():
    """Beside the plain sums, for each range, tempo and ratio."""
    rng = np.random.default_rng(3)
    windows = rng.standard_normal((4, 2, 1200)).astype(np.float32)
    grid = tempo.tempo_grid(60.0, 120.0)
    found = tempo.levels(windows, grid).reshape(2, len(grid), 4, len(tempo.RATIOS))
    for channel, row, column, k in ((0, 0, 0, 5), (1, 1, 40, 2), (3, 0, 96, 9), (2, 1, 13, 0), (0, 1, 30, 11)):
        window = windows[channel, row].astype(float)
        # Ratios are rounded to a 96th of an octave, as the candidates are.
        steps = np.round(np.log2(tempo.RATIOS[k]) * 96)
        lag = 100 * 60.0 / grid[column] * 2 ** (steps / 96)
        below = int(lag)
        at = [np.dot(window[: 1200 - n], window[n:]) / (1200 - n) for n in (below, below + 1)]
        expected = ((1 - lag + below) * at[0] + (lag - below) * at[1]) / (np.dot(window, window) / 1200)
        assert found[row, column, channel, k] == pytest.approx(expected, abs=1e-3)
    longest = 8 * 60.0 / grid[0] * 100
    assert longest <= 0.9 * 1200 or not found[:, 0, :, -1].any()
    assert not tempo.levels(windows[..., :300], grid)[..., -1].any()


def test_weights_are_read_in_the_order_of_the_levels():
    """A window whose low range alone repeats, at one and a half periods: only that level is near 1."""
    pulses = np.zeros((4, 1, 1200), np.float32)
    pulses[1, 0, ::90] = 1.0
    pulses[1] -= pulses[1].mean()
    grid = tempo.tempo_grid(100.0, 200.0)
    levels = tempo.levels(pulses, grid)[0, 0]  # 100 BPM: a period of 60 frames
    low, ratio = 1, list(tempo.RATIOS).index(1.5)
    assert levels.argmax() in (low * len(tempo.RATIOS) + ratio, low * len(tempo.RATIOS) + list(tempo.RATIOS).index(3.0))
    assert combs.WEIGHTS.shape == (4 * len(tempo.RATIOS), combs._TABLE[0, 1:].size // 4)
    np.testing.assert_array_equal(
        combs.WEIGHTS[low * len(tempo.RATIOS) + ratio], combs._TABLE[ratio, 1:].reshape(-1, 4)[:, low]
    )


def test_octaves_that_fit_are_told():
    found = track(clicks(140, 30.0), **RANGE)
    assert found.octaves(15.0) in (pytest.approx([70.0], rel=0.02), pytest.approx([140.0], rel=0.02), [])
    rows = tempo.TempoTrack(np.full(3, 80.0), np.ones(3), np.array([0, 1, 1], bool), np.array([0, 0, 1], bool))
    assert (rows.octaves(0.0), rows.octaves(1.2), rows.octaves(99.0)) == ([], [40.0], [40.0, 160.0])


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
    score = np.full((30, 200), 2.0, np.float32)
    score[:10, 20] = score[10:20, 180] = score[20:, 90] = 12.0
    score[15] = 0.0
    score[15, 60] = 10.0
    assert tempo._best_path(score).tolist() == [20] * 10 + [180] * 10 + [90] * 10


def test_memory_stays_a_small_share_of_the_samples():
    samples = hiss(240.0, 0.1)
    track(samples[:SAMPLE_RATE], **RANGE)
    tracemalloc.start()
    track(samples, **RANGE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6 + 0.75 * samples.nbytes
