"""Tempo of a recording as it passes, and how far it may be trusted.

Conventions
-----------
Onset strength is that of `onset`, 100 frames a second. Tempi are in beats per minute; a lag is a number of onset
frames. Values along a recording come one a second, and second *t* stands for the `WINDOW_S` seconds around it (moved
inwards at the ends): a slice's surroundings find its tempo far more often than its five seconds alone do.

The method: each range of the onset strength, and their sum, is correlated with itself. A tempo is scored by a comb: a
weighted sum of the autocorrelations at simple ratios of its period, from a quarter to eight times, which is where the
divisions and bars of a metre at that tempo would show; negative weights speak against a tempo that is a half, third or
two thirds of a likelier one. There are two combs, and a tempo needs to suit but one of them; their weights are learnt
(`combs`). With a log-normal prior the scores become probabilities, and the best path along the recording is taken
(Viterbi). The confidence is the probability of the path's tempo and its octaves, where no metre at all is a possibility
beside the tempi: that is how free rhythm is told.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view

from tarkib.annotation import combs
from tarkib.annotation.combs import RATIOS
from tarkib.annotation.onset import FRAME_RATE

WINDOW_S = 12.0

_SMOOTHING = 3.0  # frames; lets the multiples of a human period still meet
_AVERAGE = 61  # frames over which a mean onset strength is taken away, so that only its ups and downs can repeat
_FLOOR = 5e-5  # variance of the onset strength below which nothing moves: vibrato and rounding stay under it
_STEPS_PER_OCTAVE = 96
_BLOCK = 64  # windows at a time
_MOST_OF_WINDOW = 0.9  # lags longer than that share of a window have next to nothing to say
_EVIDENCE = 0.2  # of a second's log-probability on the path, since neighbouring windows share most of their sound
_REACH = 6  # steps of tempo that a second can drift
_DRIFT_COST = 0.15  # of a step of drift, in units of log-probability
_JUMP_COST = 6.0  # of any other change of tempo
_SAME_TEMPO = 0.06  # octaves, about 4 %
_NEARLY = 1.0 / 3.0  # of a tempo's probability, for its half or double to fit nearly as well
_CERTAIN = 1e-4  # probabilities are kept that far from 0 and 1, where log-odds end


class TempoTrack(NamedTuple):
    """Tempo along a recording, one value a second."""

    bpm: np.ndarray
    """shape (seconds,), beats per minute; always positive, meaningless where the confidence is 0"""
    confidence: np.ndarray
    """shape (seconds,), probability in [0, 1] that there is a metre of this tempo, its half or its double"""
    half_fits: np.ndarray
    """shape (seconds,), bool: half the tempo fits nearly as well"""
    double_fits: np.ndarray
    """shape (seconds,), bool: double the tempo fits nearly as well"""

    def at(self, second: float) -> tuple[float, float]:
        """Tempo and confidence around a moment of the recording (clamped to its ends)."""
        row = self._row(second)
        return float(self.bpm[row]), float(self.confidence[row])

    def octaves(self, second: float) -> list[float]:
        """Of half and double the tempo around a moment, those that fit nearly as well."""
        row = self._row(second)
        fits = ((0.5, self.half_fits[row]), (2.0, self.double_fits[row]))
        return [factor * float(self.bpm[row]) for factor, fit in fits if fit]

    def _row(self, second: float) -> int:
        return int(np.clip(round(second), 0, len(self.bpm) - 1))


def tempo_grid(min_bpm: float, max_bpm: float) -> np.ndarray:
    """Candidate tempi in beats per minute, 96 to the octave, from `min_bpm` to `max_bpm` or just under it."""
    steps = int(np.floor(np.log2(max_bpm / min_bpm) * _STEPS_PER_OCTAVE + 1e-9))
    return min_bpm * 2.0 ** (np.arange(steps + 1) / _STEPS_PER_OCTAVE)


def log_prior(bpm: np.ndarray, prior_bpm: float, prior_octaves: float) -> np.ndarray:
    """What a tempo has before anything is heard: log-normal around `prior_bpm`, up to a constant."""
    return -0.5 * (np.log2(bpm / prior_bpm) / prior_octaves) ** 2


def track(
    onset: np.ndarray, min_bpm: float, max_bpm: float, prior_bpm: float = 100.0, prior_octaves: float = 0.9
) -> TempoTrack:
    """Tempo along a recording, between `min_bpm` and `max_bpm`.

    `prior_bpm` is the tempo likeliest before anything is heard and `prior_octaves` the standard deviation around it.
    """
    found = follow(onset, min_bpm, max_bpm, prior_bpm, prior_octaves)
    confidence = calibrated(found.mass + found.half + found.double)
    # Where nothing moves there is no tempo, however alike the silences are.
    confidence[~found.moves] = 0.0
    fits = (one >= _NEARLY * found.mass for one in (found.half, found.double))
    return TempoTrack(found.bpm, confidence, *fits)


class Followed(NamedTuple):
    """The best path along a recording and what speaks for it, one value a second, shape (seconds,)."""

    bpm: np.ndarray
    mass: np.ndarray
    """probability of this tempo within 4 %, among all tempi and no metre"""
    half: np.ndarray
    double: np.ndarray
    """the same for half and double the tempo"""
    moves: np.ndarray
    """bool: whether anything at all begins around that second"""


def follow(onset: np.ndarray, min_bpm: float, max_bpm: float, prior_bpm: float, prior_octaves: float) -> Followed:
    """The likeliest tempi along a recording, and the probabilities that `calibrated` makes confidences of."""
    bpm = tempo_grid(min_bpm, max_bpm)
    score, moves = scores(onset, bpm)
    score = score + log_prior(bpm, prior_bpm, prior_octaves).astype(np.float32)
    path = _best_path(_EVIDENCE * (score - np.logaddexp.reduce(score, axis=1, keepdims=True)))
    tempi = np.clip(min_bpm * 2.0 ** (_refined(score, path) / _STEPS_PER_OCTAVE), min_bpm, max_bpm)
    everything = np.logaddexp(np.logaddexp.reduce(score, axis=1, keepdims=True), np.float32(combs.UNMETRED))
    probability = np.exp(score - everything)
    mass, half, double = (_mass(probability, path + k * _STEPS_PER_OCTAVE) for k in (0, -1, 1))
    return Followed(tempi, mass, half, double, moves)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Logarithm of a probability's odds, finite even for 0 and 1."""
    inside = np.clip(probability, _CERTAIN, 1.0 - _CERTAIN)
    return np.log(inside / (1.0 - inside))


def calibrated(probability: np.ndarray) -> np.ndarray:
    """A tempo's probability, octaves included, as it held on music of known tempo: logistic regression (`combs`)."""
    offset, factor = combs.CALIBRATION
    return 1.0 / (1.0 + np.exp(-(offset + factor * log_odds(probability))))


def scores(onset: np.ndarray, bpm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well each tempo of a `tempo_grid` suits: log-likelihoods up to a constant, shape (seconds, len(bpm)).

    And whether anything moves around that second, shape (seconds,), bool.
    """
    seconds = 1 + len(onset) // FRAME_RATE
    # A single frame has no autocorrelation to look up.
    pulses = _pulses(np.pad(onset, ((0, max(0, 2 - len(onset))), (0, 0))))
    size = min(int(WINDOW_S * FRAME_RATE), pulses.shape[1])
    starts = np.clip(np.arange(seconds) * FRAME_RATE - size // 2, 0, pulses.shape[1] - size)
    score, moves = np.empty((seconds, len(bpm)), np.float32), np.empty(seconds, bool)
    for first in range(0, seconds, _BLOCK):
        part = slice(first, first + _BLOCK)
        windows = sliding_window_view(pulses, size, axis=1)[:, starts[part]]
        score[part] = np.logaddexp.reduce(levels(windows, bpm) @ combs.WEIGHTS, axis=-1)
        moves[part] = (windows[0] ** 2).mean(axis=1) > _FLOOR
    return score, moves


def _pulses(onset: np.ndarray) -> np.ndarray:
    """What of the onset strength can repeat: its sum and its ranges, shape (1 + ranges, frames), float32."""
    rows = np.concatenate([onset.sum(axis=1, keepdims=True), onset], axis=1).T.astype(np.float32)
    rows = rows - scipy.ndimage.uniform_filter1d(rows, _AVERAGE, axis=1, mode="nearest")
    return scipy.ndimage.gaussian_filter1d(rows, _SMOOTHING, axis=1, mode="constant")


def levels(windows: np.ndarray, bpm: np.ndarray) -> np.ndarray:
    """Autocorrelations at the ratios of each tempo's period.

    Parameters
    ----------
    windows : shape (1 + ranges, windows, frames), of `_pulses`

    Returns
    -------
    shape (windows, len(bpm), (1 + ranges) * ratios)
    """
    count, size = windows.shape[1:]
    # On a logarithmic axis of lags, ratios of a period are shifts.
    shifts = np.round(np.log2(RATIOS) * _STEPS_PER_OCTAVE).astype(int)
    low, high = int(shifts.min()), int(shifts.max())
    longest = 60.0 * FRAME_RATE / bpm[0]
    lags = longest * 2.0 ** (np.arange(high, low - len(bpm), -1) / _STEPS_PER_OCTAVE)
    spoken = lags < min(_MOST_OF_WINDOW * size, size - 1)
    below = np.where(spoken, lags, 0.0).astype(int)
    weight = np.where(spoken, lags - below, 0.0).astype(np.float32)
    acf = _autocorrelation(windows)
    along = ((1.0 - weight) * acf[..., below] + weight * acf[..., below + 1]) * spoken
    # Tempi rise as lags fall: tempo k at ratio r stands at high - shift + k.
    picked = np.stack([along[..., high - shift : high - shift + len(bpm)] for shift in shifts])
    return picked.transpose(2, 3, 1, 0).reshape(count, len(bpm), -1)


def _autocorrelation(windows: np.ndarray) -> np.ndarray:
    """Normalised autocorrelation along the last axis, at all lags; 0 where nothing moves."""
    size = windows.shape[-1]
    spectra = scipy.fft.rfft(windows, scipy.fft.next_fast_len(2 * size, real=True), axis=-1)
    acf = scipy.fft.irfft(spectra.real**2 + spectra.imag**2, axis=-1)[..., :size] / size
    # Later multiples are not weaker for having fewer frames to speak for them, unless there are next to none.
    share = np.maximum(1.0 - np.arange(size) / size, 0.5)
    return (acf / ((acf[..., :1] + _FLOOR) * share)).astype(np.float32)


def _mass(probability: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Probability of the tempi around a step of each row; 0 where that lies outside the candidates."""
    reach = int(_SAME_TEMPO * _STEPS_PER_OCTAVE)
    upto = np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1, dtype=float)], axis=1)
    rows, columns = np.arange(len(probability)), probability.shape[1]
    return upto[rows, np.clip(centre + reach + 1, 0, columns)] - upto[rows, np.clip(centre - reach, 0, columns)]


def _best_path(score: np.ndarray) -> np.ndarray:
    """Column of each row on the path of the greatest sum of scores less the costs of change (Viterbi)."""
    rows, columns = score.shape
    drift = _DRIFT_COST * np.abs(np.arange(-_REACH, _REACH + 1, dtype=np.float32))
    total = score[0].copy()
    back = np.empty((rows, columns), np.int32)
    padded = np.full(columns + 2 * _REACH, -np.inf, np.float32)
    indices = np.arange(columns)
    for row in range(1, rows):
        padded[_REACH:-_REACH] = total
        near = sliding_window_view(padded, 2 * _REACH + 1) - drift
        choice = near.argmax(axis=1)
        value = near[indices, choice]
        source = indices + choice - _REACH
        best = int(total.argmax())
        jumps = total[best] - _JUMP_COST > value
        back[row] = np.where(jumps, best, source)
        total = np.where(jumps, total[best] - _JUMP_COST, value) + score[row]
        total -= total.max()
    path = np.empty(rows, np.int64)
    path[-1] = int(total.argmax())
    for row in range(rows - 1, 0, -1):
        path[row - 1] = back[row, path[row]]
    return path


def _refined(score: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Step of the maxima that the path runs along, refined by a parabola."""
    rows = np.arange(len(path))
    # The path is smooth: it may pass a step or two beside the top.
    beside = np.clip(path[:, None] + np.arange(-2, 3), 0, score.shape[1] - 1)
    path = beside[rows, score[rows[:, None], beside].argmax(axis=1)]
    inner = np.clip(path, 1, score.shape[1] - 2)
    left, middle, right = (score[rows, inner + k].astype(float) for k in (-1, 0, 1))
    curvature = left - 2.0 * middle + right
    top = (inner == path) & (middle >= left) & (middle >= right) & (curvature < -1e-9)
    return path + np.where(top, 0.5 * (left - right) / np.where(top, curvature, -1.0), 0.0)
