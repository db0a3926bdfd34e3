import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from solos import analysed, clicks, hiss, solo, timeline, tone

from tarkib.annotation import tempo
from tarkib.audio import SAMPLE_RATE
from tarkib.params import Annotate

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.slow]

PARAMS = Annotate()
THRESHOLD = PARAMS.min_confidence


def track(samples: np.ndarray, **changes: float) -> tempo.TempoTrack:
    """Tempo along a recording in memory."""
    return tempo.track(analysed(samples).onset, replace(PARAMS, **changes))


def off_modulo_octave(bpm: np.ndarray, true_bpm: float) -> np.ndarray:
    """How far tempi are from the true one or its halves and doubles, as a share of it."""
    octaves = np.log2(bpm / true_bpm)
    return 2.0 ** np.abs(octaves - np.round(octaves)) - 1.0


@pytest.mark.parametrize("bpm", [40, 47, 60, 73.3, 88, 100, 121, 150, 177, 200, 223, 240])
def test_clicks_have_their_tempo_modulo_octave(bpm):
    tracked = track(clicks(bpm))
    assert np.all(off_modulo_octave(tracked.bpm, bpm) < 0.015)
    assert np.all(tracked.confidence > 0.4)


def test_the_prior_chooses_between_a_tempo_and_its_double():
    for bpm in (76, 100, 124):
        assert np.median(track(solo("shur", 220.0, bpm, seconds=15.0)).bpm) == pytest.approx(bpm, rel=0.02)
    for prior in (70.0, 140.0):
        tracked = track(clicks(140), prior_bpm=prior, prior_octaves=0.3)
        assert np.median(tracked.bpm) == pytest.approx(prior, rel=0.01)


STILL = {
    "silence": np.zeros(SAMPLE_RATE * 12, np.float32),
    "denormal": np.full(SAMPLE_RATE * 12, 1e-40, np.float32),
    "low tone": tone(110.0, 12.0),
    "high tone": tone(1500.0, 12.0, harmonics=1),
    "vibrato": tone(330.0, 12.0, vibrato_cents=30.0),
    "noise": hiss(12.0, 0.3),
    "noise, then nothing": hiss(12.0, 0.3) * (timeline(12.0) < 6.0),
    "one note": tone(220.0, 5.0) * np.exp(-timeline(5.0)).astype(np.float32),
    "a second and a half": hiss(1.5, 0.3),
    "empty": np.zeros(0, np.float32),
}


@pytest.mark.parametrize("name", STILL)
def test_without_a_beat_no_tempo_is_trusted(name):
    tracked = track(STILL[name])
    assert np.all(tracked.confidence < THRESHOLD)
    assert np.all((tracked.bpm >= 50.0) & (tracked.bpm <= 200.0))


@pytest.mark.parametrize("held", [False, True])
def test_free_rhythm_falls_below_the_threshold_and_metre_does_not(held):
    """Sung notes begin softly: more of their metre is missed, but no more of their freedom is taken for metre."""
    free = [track(solo("mahur", 200.0, None, seconds=20.0, seed=s, held=held)).confidence for s in range(6)]
    metred = [track(solo("mahur", 200.0, 70.0 + 13 * s, seconds=20.0, seed=s, held=held)) for s in range(6)]
    assert np.mean(np.concatenate(free) < THRESHOLD) >= 0.95
    assert np.mean(np.concatenate([one.confidence for one in metred]) >= THRESHOLD) >= (0.7 if held else 0.99)
    right = [off_modulo_octave(one.bpm, 70.0 + 13 * s) < 0.04 for s, one in enumerate(metred)]
    assert np.mean(np.concatenate(right)) >= 0.9


def test_a_tempo_between_two_candidates_is_refined():
    grid = tempo.tempo_grid(50.0, 200.0)
    for bpm in np.sqrt(grid[100:130:10] * grid[101:131:10]):
        assert np.median(track(clicks(bpm)).bpm) == pytest.approx(bpm, rel=0.003)


def test_human_timing_and_rests_keep_the_tempo():
    tracked = track(clicks(96, seconds=25.0, jitter_s=0.015))
    assert np.all(np.abs(tracked.bpm / 96 - 1) < 0.02)
    assert np.all(tracked.confidence > 0.3)
    samples = clicks(92, 30.0)
    samples[12 * SAMPLE_RATE : 16 * SAMPLE_RATE] = 0.0
    assert np.all(np.abs(track(samples).bpm / 92 - 1) < 0.02)


def test_a_change_of_tempo_and_a_slow_drift_are_followed():
    tracked = track(np.concatenate([clicks(80, 30.0), clicks(113, 30.0)]))
    assert np.all(off_modulo_octave(tracked.bpm[3:25], 80) < 0.02)
    assert np.all(off_modulo_octave(tracked.bpm[36:57], 113) < 0.02)
    beats = np.cumsum(60.0 / np.linspace(84, 102, 80))
    samples = hiss(beats[-1] + 1.0, 1e-3)
    samples[(beats * SAMPLE_RATE).astype(int)] += 0.9
    seconds = np.arange(6, int(beats[-1]) - 6)
    true = np.interp(seconds, beats, np.linspace(84, 102, 80))
    assert np.all(np.abs(track(samples).bpm[seconds] / true - 1) < 0.04)


def test_estimates_are_rounded_and_a_gain_does_not_matter():
    samples = solo("nava", 200.0, 110.0, seconds=15.0)
    first, quiet = track(samples), track(samples * 0.01)
    np.testing.assert_array_equal(first.bpm, first.bpm.round(1))
    np.testing.assert_array_equal(first.confidence, first.confidence.round(3))
    np.testing.assert_allclose(first.bpm, quiet.bpm, rtol=1.1e-3)
    np.testing.assert_allclose(first.confidence, quiet.confidence, atol=2e-3)


def test_last_bits_do_not_choose_the_tempo(monkeypatch):
    """Noise as small as another processor's rounding leaves every value, and the path, as they are."""
    onset = analysed(clicks(120.0)).onset
    before, scores, rng = tempo.track(onset, PARAMS), tempo.scores, np.random.default_rng(0)

    def noisy(*arguments):
        score, moves = scores(*arguments)
        return score * (1.0 + 1e-7 * rng.standard_normal(score.shape)), moves

    monkeypatch.setattr(tempo, "scores", noisy)
    for array, same in zip(before, tempo.track(onset, PARAMS), strict=True):
        np.testing.assert_array_equal(array, same)


def test_levels_are_autocorrelations_at_ratios_of_the_period():
    """Beside the plain sums, for each range, tempo and ratio."""
    windows = np.random.default_rng(3).random((4, 2, 1200)).astype(np.float32)
    grid, ratios = tempo.tempo_grid(60.0, 120.0), tempo.RATIOS
    levels = tempo.levels(windows, grid).reshape(2, len(grid), 4, len(ratios))
    for channel, row, column, k in ((0, 0, 0, 5), (1, 1, 40, 2), (3, 0, 96, 9), (2, 1, 13, 0), (0, 1, 30, 11)):
        window = windows[channel, row].astype(float)
        # Ratios are rounded to a 96th of an octave, as the candidates are.
        lag = 100 * 60.0 / grid[column] * 2 ** (np.round(np.log2(ratios[k]) * 96) / 96)
        below = int(lag)
        at = [np.dot(window[: 1200 - n], window[n:]) / (1200 - n) for n in (below, below + 1)]
        expected = ((1 - lag + below) * at[0] + (lag - below) * at[1]) / (np.dot(window, window) / 1200)
        assert levels[row, column, channel, k] == pytest.approx(expected, abs=1e-3)
    assert not tempo.levels(windows[..., :300], grid)[..., -1].any()
    # Weights are in the order of the levels.
    combs = tempo.COMBS["any"]
    assert combs.weights.shape == (5 * len(ratios), 4)
    np.testing.assert_allclose(combs.weights[len(ratios) + list(ratios).index(1.5)], [-0.02, -0.01, 0.15, -0.01])


def drumming(bar: str, per_beat: int, bpm: float) -> np.ndarray:
    """Onset strength of tom (T), bak (b) and a finger (p) in a bar of pulses, played by no machine."""
    rng = np.random.default_rng(2)
    onset = np.abs(rng.normal(0, 0.002, (2400, 4))) * [1, 1, 1, 0]
    strokes = {"T": (0.2, 0.1, 0.06), "b": (0.04, 0.15, 0.12), "p": (0.02, 0.06, 0.06), ".": (0.0, 0.0, 0.0)}
    for i, start in enumerate(np.arange(0.2, 23.5, 60 / bpm / per_beat)):
        at = int((start + rng.normal(0, 0.006)) * 100)
        onset[at : at + 2, :3] += np.array(strokes[bar[i % len(bar)]]) * np.exp(rng.normal(0, 0.15))
    return onset.astype(np.float32)


@pytest.mark.parametrize("cycle", [("T.b.b.", 2), ("TpbpTp", 2), ("T.b.b", 2), ("T.bT.b.", 2), ("T.bTb.", 3)])
def test_the_cycles_of_drums(cycle):
    """3/4, 5/8, 7/8 and 6/8: of all combs only those of drums tell them apart."""

    def right(instrument: str | None) -> np.ndarray:
        tracks = {bpm: tempo.track(drumming(*cycle, bpm), PARAMS, instrument) for bpm in (72.0, 90.0, 108.0, 132.0)}
        trusted = [(bpm, track) for bpm, track in tracks.items() if np.median(track.confidence) >= THRESHOLD]
        return np.array([off_modulo_octave(np.median(track.bpm), bpm) < 0.03 for bpm, track in trusted])

    assert right("tonbak").all()
    assert len(right("tonbak")) >= 2


def test_octaves_that_fit():
    rows = tempo.TempoTrack(np.full(3, 80.0), np.ones(3), np.array([False, True, True]), np.array([False, False, True]))
    assert (rows.octaves(0.0), rows.octaves(1.2), rows.octaves(99.0)) == ([], [40.0], [40.0, 160.0])
    assert rows.at(-3.0) == (80.0, 1.0)


def test_memory_stays_a_small_share_of_the_samples():
    onset, seconds = analysed(hiss(30.0, 0.1)).onset, 240
    tracemalloc.start()
    tempo.track(np.tile(onset, (seconds // 30, 1)), PARAMS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6 + 0.75 * 4 * SAMPLE_RATE * seconds


def beats(samples: np.ndarray, min_confidence: float = 0.5) -> np.ndarray:
    onset = analysed(samples).onset
    return tempo.beats(onset, tempo.track(onset, PARAMS), min_confidence)


@pytest.mark.parametrize("bpm", [60.0, 120.0])
def test_beats_are_where_the_clicks_are(bpm):
    seconds, true = beats(clicks(bpm, 20.0)), np.arange(0.2, 19.9, 60.0 / bpm)
    assert np.all(np.diff(seconds) > 0)
    inner = true[(true > 2) & (true < 18)]
    assert np.all(np.abs(seconds[:, None] - inner).min(axis=0) < 0.03)
    assert len(seconds) == pytest.approx(len(true), abs=2)


def test_beats_are_kept_only_where_the_tempo_is_trusted():
    samples = np.concatenate([clicks(92, 30.0), np.zeros(30 * SAMPLE_RATE, np.float32)])
    assert len(beats(samples)) > 30
    assert beats(samples).max() < 40.0
    for untrusted in (beats(samples, 1.0), beats(hiss(10.0, 0.1)), beats(np.zeros(0, np.float32))):
        assert len(untrusted) == 0


@pytest.mark.parametrize(("start_s", "expected"), [(0.0, 0.5), (1.5, 0.0), (4.0, None), (5.0, 4.9), (10.0, None)])
def test_the_first_beat_of_a_slice(start_s, expected):
    assert tempo.first_beat(np.array([0.5, 1.5, 9.9]), start_s) == (expected and pytest.approx(expected))
