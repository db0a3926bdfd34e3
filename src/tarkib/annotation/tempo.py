"""Tempo along a recording, with its confidence.

Tempi are in beats per minute, one value a second, estimated from the `WINDOW_S` seconds around it (moved inwards at the
ends); lags are in frames of the onset strength.

Each column of the onset strength (three frequency ranges, changes of pitch), and their sum, is autocorrelated. A comb
scores a tempo: a weighted sum of the autocorrelations at simple ratios of its period, from a quarter to eight times,
where the divisions and bars of a metre would show. The combs (log-sum-exp of their scores) and the score of no metre
were fitted (`COMBS`). With a log-normal prior the scores become probabilities; Viterbi finds the best path. The
confidence is the probability of the path's tempo and its octaves among all tempi and no metre, so free rhythm gets a
low one.

Beats are those of Ellis, "Beat tracking by dynamic programming", Journal of New Music Research 36, 2007: the frames of
the greatest sum of onset strengths less the squared logarithm of each step over the period, which follows our tempo.
(librosa's tracker ended some processes with a segfault.)
"""

import functools
import json
from fractions import Fraction
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit, logit

from tarkib.annotation.onset import FRAME_RATE
from tarkib.audio import CLIP_SECONDS
from tarkib.params import Annotate
from tarkib.vocabulary import PERCUSSION, SUSTAINED

WINDOW_S = 12.0
CONFIDENCE_DECIMALS = 3
MAX_CONFIDENCE = 0.999  # of an estimate; only a label has confidence 1

_SMOOTHING = 3.0  # frames; lets the multiples of a human period still meet
_AVERAGE = 61  # frames of the moving average that is subtracted from the onset strength
_FLOOR = 5e-5  # variance of the onset strength in silence: vibrato and rounding stay below it
_STEPS_PER_OCTAVE = 96
_BLOCK = 64  # windows at a time
_LONGEST = 0.9  # of a window: autocorrelations at longer lags are too noisy
_EVIDENCE = 0.2  # of a second's log-probability on the path, since neighbouring windows share most of their sound
_REACH = 6  # steps of tempo that a second can drift
_DRIFT_COST = 0.15  # of a step of drift, in units of log-probability
_JUMP_COST = 6.0  # of any other change of tempo
_SAME_TEMPO = 0.06  # octaves, about 4 %
_NEARLY = 1.0 / 3.0  # of a tempo's probability, for its half or double to fit nearly as well
_CERTAIN = 1e-4  # probabilities are kept that far from 0 and 1, where log-odds end
_TIGHTNESS = 100.0  # of the beat's period, against onset strengths in units of their standard deviation
_SPREAD = 1.0 / 32.0  # of a period, by which an onset may be off the beat
_FIRST = 0.01  # of the strongest onset: the first beat is at least that strong
_BPM_DECIMALS = 1
_SCORE_DECIMALS, _BEAT_DECIMALS = 3, 6  # last bits must not decide between paths of equal tempi or steps of equal cost


class Combs(NamedTuple):
    """The fitted values for one kind of music."""

    weights: np.ndarray  # float64 of shape ((1 + columns) * ratios, combs), rows in the order of `levels`
    unmetred: float  # score of no metre
    calibration: tuple[float, float]  # offset and factor of the log-odds of a tempo's probability


_FITTED = json.loads(resources.files(__package__).joinpath("combs.json").read_text(encoding="utf-8"))

RATIOS = np.array([float(Fraction(ratio)) for ratio in _FITTED["any"]["weights"]])
"""Shape (ratios,): of a tempo's period."""


def _combs(fitted: dict[str, Any]) -> Combs:
    weights = np.array(list(fitted["weights"].values())).transpose(2, 0, 1)  # shape (1 + columns, ratios, combs)
    return Combs(weights.reshape(-1, weights.shape[2]), fitted["unmetred"], tuple(fitted["calibration"]))


COMBS = {kind: _combs(_FITTED[kind]) for kind in ("any", "drums", "sustained")}
"""For drums, whose metres are also 3/4 and 5/8; for bowed, blown and sung notes; for all else, or what is unknown."""

_KINDS = dict.fromkeys(PERCUSSION, "drums") | dict.fromkeys(SUSTAINED, "sustained")


def combs_of(instrument: str | None) -> Combs:
    """The combs for a recording that is labelled as an instrument alone, or not."""
    return COMBS[_KINDS.get(instrument or "", "any")]


class TempoTrack(NamedTuple):
    """Tempo along a recording, one value a second."""

    bpm: np.ndarray
    """shape (seconds,), beats per minute; always positive, meaningless where the confidence is 0"""
    confidence: np.ndarray
    """shape (seconds,), probability in [0, 1] that there is a metre of this tempo, its half or its double"""
    half_fits: np.ndarray
    """shape (seconds,), bool: half the tempo is at least a third as probable as the tempo"""
    double_fits: np.ndarray
    """the same for double the tempo"""

    def at(self, second: float) -> tuple[float, float]:
        """Tempo and confidence around a moment of the recording (clamped to its ends)."""
        row = self._row(second)
        return float(self.bpm[row]), float(self.confidence[row])

    def octaves(self, second: float) -> list[float]:
        """Of half and double the tempo around a moment, those that fit nearly as well."""
        row = self._row(second)
        fits = ((0.5, self.half_fits[row]), (2.0, self.double_fits[row]))
        return [round(factor * float(self.bpm[row]), _BPM_DECIMALS + 1) for factor, fit in fits if fit]

    def _row(self, second: float) -> int:
        return int(np.clip(round(second), 0, len(self.bpm) - 1))


def track(onset: np.ndarray, params: Annotate, instrument: str | None = None) -> TempoTrack:
    """Tempo along a recording, between `params.min_bpm` and `max_bpm`, rounded."""
    combs = combs_of(instrument)
    bpm, (same, half, double) = follow(onset, params, combs)
    confidence = np.minimum(calibrated(same + half + double, combs).round(CONFIDENCE_DECIMALS), MAX_CONFIDENCE)
    return TempoTrack(bpm.round(_BPM_DECIMALS), confidence, half > _NEARLY * same, double > _NEARLY * same)


def follow(onset: np.ndarray, params: Annotate, combs: Combs) -> tuple[np.ndarray, np.ndarray]:
    """The best path's tempi, shape (seconds,), and the probabilities of them, their halves and doubles."""
    bpm = tempo_grid(params.min_bpm, params.max_bpm)
    score, moves = scores(onset, bpm, combs)
    score = np.round(score + log_prior(bpm, params), _SCORE_DECIMALS)
    path = _best_path(_EVIDENCE * score)
    tempi = np.clip(params.min_bpm * 2.0 ** (_refined(score, path) / _STEPS_PER_OCTAVE), params.min_bpm, params.max_bpm)
    everything = np.logaddexp(np.logaddexp.reduce(score, axis=1, keepdims=True), combs.unmetred)
    probability = np.exp(score - everything) * moves[:, None]
    return tempi, np.stack([_mass(probability, path + k * _STEPS_PER_OCTAVE) for k in (0, -1, 1)])


def tempo_grid(min_bpm: float, max_bpm: float) -> np.ndarray:
    """Candidate tempi in beats per minute, 96 to the octave, from `min_bpm` to `max_bpm` or just below it."""
    steps = int(np.floor(np.log2(max_bpm / min_bpm) * _STEPS_PER_OCTAVE + 1e-9))
    return min_bpm * 2.0 ** (np.arange(steps + 1) / _STEPS_PER_OCTAVE)


def log_prior(bpm: np.ndarray, params: Annotate) -> np.ndarray:
    """Logarithm of the prior of tempi, log-normal around `params.prior_bpm`, up to a constant."""
    return -0.5 * (np.log2(bpm / params.prior_bpm) / params.prior_octaves) ** 2


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Logarithm of a probability's odds, finite even for 0 and 1."""
    return logit(np.clip(probability, _CERTAIN, 1.0 - _CERTAIN))


def calibrated(probability: np.ndarray, combs: Combs) -> np.ndarray:
    """Share of tempi of this probability (octaves included) that were right on known music; 0 stays 0."""
    offset, factor = combs.calibration
    return np.where(probability > 0.0, expit(offset + factor * log_odds(probability)), 0.0)


def scores(onset: np.ndarray, bpm: np.ndarray, combs: Combs) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods of tempi up to a constant, shape (seconds, len(bpm)), and whether there is more than silence."""
    seconds = 1 + len(onset) // FRAME_RATE
    # A single frame has no autocorrelation to look up.
    pulses = _pulses(np.pad(onset, ((0, max(0, 2 - len(onset))), (0, 0))))
    size = min(int(WINDOW_S * FRAME_RATE), pulses.shape[1])
    starts = np.clip(np.arange(seconds) * FRAME_RATE - size // 2, 0, pulses.shape[1] - size)
    score, moves = np.empty((seconds, len(bpm))), np.empty(seconds, bool)
    for first in range(0, seconds, _BLOCK):
        part = slice(first, first + _BLOCK)
        windows = sliding_window_view(pulses, size, axis=1)[:, starts[part]]
        # In double precision, since matrix products of two processors differ in their last bits.
        score[part] = np.logaddexp.reduce(levels(windows, bpm).astype(np.float64) @ combs.weights, axis=-1)
        moves[part] = (windows[0] ** 2).mean(axis=1) > _FLOOR
    return score, moves


def _pulses(onset: np.ndarray) -> np.ndarray:
    """Onset strength less its moving average: its sum and its columns, shape (1 + columns, frames), float32."""
    rows = np.concatenate([onset.sum(axis=1, keepdims=True), onset], axis=1).T.astype(np.float32)
    rows = rows - scipy.ndimage.uniform_filter1d(rows, _AVERAGE, axis=1, mode="nearest")
    return scipy.ndimage.gaussian_filter1d(rows, _SMOOTHING, axis=1, mode="constant")


def levels(windows: np.ndarray, bpm: np.ndarray) -> np.ndarray:
    """Autocorrelations of windows of `_pulses`, shape (1 + columns, windows, frames), at ratios of each tempo's period.

    Shape (windows, len(bpm), (1 + columns) * ratios).
    """
    count, size = windows.shape[1:]
    # On a logarithmic axis of lags, ratios of a period are shifts.
    shifts = np.round(np.log2(RATIOS) * _STEPS_PER_OCTAVE).astype(int)
    low, high = int(shifts.min()), int(shifts.max())
    longest = 60.0 * FRAME_RATE / bpm[0]
    lags = longest * 2.0 ** (np.arange(high, low - len(bpm), -1) / _STEPS_PER_OCTAVE)
    valid = lags < min(_LONGEST * size, size - 1)
    below = np.where(valid, lags, 0.0).astype(int)
    weight = np.where(valid, lags - below, 0.0).astype(np.float32)
    # The normalised autocorrelation, 0 in silence. Longer lags have fewer frames: theirs is scaled up by at most 2.
    spectra = scipy.fft.rfft(windows, scipy.fft.next_fast_len(2 * size, real=True), axis=-1)
    acf = scipy.fft.irfft(spectra.real**2 + spectra.imag**2, axis=-1)[..., :size] / size
    share = np.maximum(1.0 - np.arange(size) / size, 0.5)
    acf = (acf / ((acf[..., :1] + _FLOOR) * share)).astype(np.float32)
    along = ((1.0 - weight) * acf[..., below] + weight * acf[..., below + 1]) * valid
    # Tempi rise as lags fall: tempo k at a ratio is at index high - shift + k.
    picked = np.stack([along[..., high - shift : high - shift + len(bpm)] for shift in shifts])
    return picked.transpose(2, 3, 1, 0).reshape(count, len(bpm), -1)


def _mass(probability: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Probability of the tempi around a step of each row; 0 outside of the candidates."""
    reach = int(_SAME_TEMPO * _STEPS_PER_OCTAVE)
    upto = np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1)], axis=1)
    rows, columns = np.arange(len(probability)), probability.shape[1]
    return upto[rows, np.clip(centre + reach + 1, 0, columns)] - upto[rows, np.clip(centre - reach, 0, columns)]


def _best_path(score: np.ndarray) -> np.ndarray:
    """Column of each row on the path of the greatest sum of scores less the costs of change (Viterbi)."""
    rows, columns = score.shape
    drift = _DRIFT_COST * np.abs(np.arange(-_REACH, _REACH + 1))
    total = score[0].copy()
    back = np.empty((rows, columns), np.int32)
    padded = np.full(columns + 2 * _REACH, -np.inf)
    indices = np.arange(columns)
    for row in range(1, rows):
        padded[_REACH:-_REACH] = total
        near = sliding_window_view(padded, 2 * _REACH + 1) - drift
        choice = near.argmax(axis=1)
        value = near[indices, choice]
        best = int(total.argmax())
        jumps = total[best] - _JUMP_COST > value
        back[row] = np.where(jumps, best, indices + choice - _REACH)
        total = np.where(jumps, total[best] - _JUMP_COST, value) + score[row]
    path = np.empty(rows, np.int64)
    path[-1] = int(total.argmax())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = back[row, path[row]]
    return path


def _refined(score: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Step of the maxima along the path, refined by a parabola."""
    rows = np.arange(len(path))
    # The path is smooth: it may pass a step or two beside the top.
    beside = np.clip(path[:, None] + np.arange(-2, 3), 0, score.shape[1] - 1)
    path = beside[rows, score[rows[:, None], beside].argmax(axis=1)]
    inner = np.clip(path, 1, score.shape[1] - 2)
    left, middle, right = (score[rows, inner + k] for k in (-1, 0, 1))
    curvature = left - 2.0 * middle + right
    top = (inner == path) & (middle >= left) & (middle >= right) & (curvature < -1e-9)
    return path + np.where(top, 0.5 * (left - right) / np.where(top, curvature, -1.0), 0.0)


def beats(onset: np.ndarray, tempo: TempoTrack, min_confidence: float) -> np.ndarray:
    """Seconds of the beats where the tempo is trusted: shape (beats,), float64, rising."""
    trusted = (tempo.confidence >= min_confidence) & (tempo.confidence > 0.0)
    if not trusted.any():
        return np.zeros(0)
    bpm = np.interp(np.arange(len(onset)) / FRAME_RATE, np.arange(len(tempo.bpm)), tempo.bpm)
    seconds = _best_beats(onset.sum(axis=1), np.round(60.0 * FRAME_RATE / bpm).astype(int)) / FRAME_RATE
    return seconds[trusted[np.clip(np.round(seconds).astype(int), 0, len(trusted) - 1)]]


def first_beat(beats_s: np.ndarray, start_s: float) -> float | None:
    """Seconds from a slice's start to the first beat in it, None if it has none."""
    index = int(np.searchsorted(beats_s, start_s))
    if index == len(beats_s) or beats_s[index] >= start_s + CLIP_SECONDS:
        return None
    return float(beats_s[index] - start_s)


def _best_beats(strength: np.ndarray, periods: np.ndarray) -> np.ndarray:
    """Frames of the beats, rising, float64; `periods` are the beat's frames around each frame."""
    local = scipy.ndimage.gaussian_filter1d(strength.astype(float), _SPREAD * float(np.median(periods)))
    local = np.round(local / max(float(local.std()), 1e-12), _BEAT_DECIMALS)
    total, back = local.copy(), np.full(len(local), -1)
    begun = int(np.argmax(local > _FIRST * local.max()))
    for frame in range(begun + 1, len(local)):
        period = int(periods[frame])
        first, last = max(begun, frame - 2 * period), frame - period // 2
        if last > first:
            sums = total[first:last] + _penalty(period)[first - last :]
            best = int(sums.argmax())
            total[frame] += sums[best]
            back[frame] = first + best
    # The last beat is the best frame of the last period.
    frame = len(total) - 1 - int(total[: -int(periods[-1]) - 1 : -1].argmax())
    frames = []
    while frame >= 0:
        frames.append(frame)
        frame = int(back[frame])
    return np.array(frames[::-1], float)


@functools.cache
def _penalty(period: int) -> np.ndarray:
    """Cost of steps of two periods down to half a period."""
    steps = np.arange(2 * period, period // 2, -1)
    return np.round(-_TIGHTNESS * np.log(steps / period) ** 2, _BEAT_DECIMALS)
