"""Tempo of a recording as it passes, and how far it may be trusted.

Conventions
-----------
Samples are mono float32 of shape (n,), full scale 1.0, at 24,000 Hz. Onset strength has 100 frames a second; frame *i*
is centred on sample 240 *i*. Tempi are in beats per minute; a lag is a number of onset frames. A tempogram's row *t*
stands for the `WINDOW_S` seconds around second *t* of the recording (moved inwards at its ends).

The method: log-mel flux, with each band compared to the loudest of its neighbours two frames before, so that vibrato
makes no onsets (Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013); its
autocorrelation, averaged over the first four multiples of every period; a log-normal prior against octave errors; and
the best path along the recording. The height of the averaged autocorrelation is the confidence: near 1 for a machine,
near 0 where no pulse is, silence and free rhythm included. It does not tell a tempo from its double.
"""

import functools
from typing import NamedTuple

import librosa
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse
from numpy.lib.stride_tricks import sliding_window_view

from tarkib.audio import SAMPLE_RATE

FFT_SIZE = 1024
HOP = 240
FRAME_RATE = SAMPLE_RATE // HOP
WINDOW_S = 12.0
"""The surroundings of a slice find its tempo far more often than its five seconds alone do."""

_BANDS = 40
_LAG = 2
_EDGE = 3  # frames whose window reaches over an end
_SILENCE = 1e-6  # magnitude of the loudest band; a sine one step of 16 bits high has a hundred times that
_COMPRESSION = 1_000.0  # of levels relative to the loudest band: 60 dB below it a band begins to count
_BLOCK = 512  # frames or windows transformed at a time: what stays in a core's cache is twice as fast
_SMOOTHING = 3.0  # frames; lets the four multiples of a human period still meet
_AVERAGE = 61  # frames over which a mean onset strength is taken away, so that only its ups and downs can repeat
_FLOOR = 5e-5  # variance of the onset strength below which nothing moves: vibrato and rounding stay under it
_STEPS_PER_OCTAVE = 120
_MULTIPLES = 4
_REACH = 8  # steps of tempo that a second can drift
_DRIFT_COST = 0.02  # of a step of drift, in units of comb height
_JUMP_COST = 0.5  # of any other change of tempo


class TempoTrack(NamedTuple):
    """Tempo along a recording, one value a second."""

    bpm: np.ndarray
    """shape (seconds,), beats per minute; always positive, meaningless where the confidence is 0"""
    confidence: np.ndarray
    """shape (seconds,), height of the pulse's autocorrelation in [0, 1]"""

    def at(self, second: float) -> tuple[float, float]:
        """Tempo and confidence around a moment of the recording (clamped to its ends)."""
        row = int(np.clip(round(second), 0, len(self.bpm) - 1))
        return float(self.bpm[row]), float(self.confidence[row])


@functools.cache
def _filterbank() -> scipy.sparse.csr_array:
    """Mel filterbank, shape (40, 513), each band's weights summing to 1.

    Sparse because it is faster so and, unlike a BLAS product, sums in the same order whatever the number of threads.
    """
    bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT_SIZE, n_mels=_BANDS, fmin=40.0, fmax=10_000.0, norm=1)
    return scipy.sparse.csr_array(bank.astype(np.float32))


def onset_strength(samples: np.ndarray) -> np.ndarray:
    """Log-mel flux of a recording, shape (1 + n // 240,), at 100 frames a second, 0 where nothing begins.

    Levels are relative to the recording's loudest band, so a gain changes nothing.
    """
    frames = 1 + len(samples) // HOP
    bank, window = _filterbank(), np.hanning(FFT_SIZE + 1)[:-1].astype(np.float32)
    mel = np.empty((frames, _BANDS), np.float32)
    for first in range(0, frames, _BLOCK):
        last = min(first + _BLOCK, frames)
        begin, end = first * HOP - FFT_SIZE // 2, (last - 1) * HOP + FFT_SIZE // 2
        block = samples[max(begin, 0) : end].astype(np.float32, copy=False)
        block = np.pad(block, (max(-begin, 0), max(end - max(begin, 0) - len(block), 0)))
        spectra = scipy.fft.rfft(sliding_window_view(block, FFT_SIZE)[::HOP] * window)
        mel[first:last] = (bank @ np.abs(spectra).T).T
    peak = float(mel.max(initial=0.0))
    if peak < _SILENCE:
        return np.zeros(frames, np.float32)
    mel *= _COMPRESSION / peak
    np.log1p(mel, out=mel)
    reference = scipy.ndimage.maximum_filter1d(mel[:-_LAG], 3, axis=1) if frames > _LAG else mel[:0]
    flux = np.zeros(frames, np.float32)
    flux[_LAG:] = np.maximum(mel[_LAG:] - reference, 0.0).mean(axis=1)
    # Frames that reach over the recording's ends see a sound that is cut, not one that begins.
    flux[: _EDGE + _LAG] = 0.0
    flux[-_EDGE:] = 0.0
    return flux


def tempo_grid(min_bpm: float, max_bpm: float) -> np.ndarray:
    """Candidate tempi in beats per minute, 120 to the octave, from `min_bpm` to `max_bpm` or just under it."""
    steps = int(np.floor(np.log2(max_bpm / min_bpm) * _STEPS_PER_OCTAVE + 1e-9))
    return min_bpm * 2.0 ** (np.arange(steps + 1) / _STEPS_PER_OCTAVE)


def tempogram(onset: np.ndarray, bpm: np.ndarray) -> np.ndarray:
    """Strength of every tempo at every second: shape (seconds, len(bpm)), float32, at most 1.

    The mean of the window's autocorrelation at one to four times the tempo's period, 1 where the onsets repeat exactly.
    """
    size = min(int(WINDOW_S * FRAME_RATE), len(onset))
    onset = onset.astype(np.float32, copy=False)
    pulse = onset - scipy.ndimage.uniform_filter1d(onset, _AVERAGE, mode="nearest")
    pulse = scipy.ndimage.gaussian_filter1d(pulse, _SMOOTHING, mode="constant")
    seconds = 1 + len(onset) // FRAME_RATE
    starts = np.clip(np.arange(seconds) * FRAME_RATE - size // 2, 0, len(onset) - size)
    lags = np.outer(np.arange(1, _MULTIPLES + 1), 60.0 * FRAME_RATE / bpm)
    strength = np.empty((seconds, len(bpm)), np.float32)
    for first in range(0, seconds, _BLOCK):
        windows = sliding_window_view(pulse, size)[starts[first : first + _BLOCK]]
        strength[first : first + _BLOCK] = _comb(windows, lags)
    return strength


def _comb(windows: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Mean normalised autocorrelation of each window at each column of `lags` (multiples, tempi)."""
    size = windows.shape[1]
    longest = int(np.ceil(lags.max())) + 1
    spectra = scipy.fft.rfft(windows, scipy.fft.next_fast_len(size + longest, real=True))
    acf = scipy.fft.irfft(spectra.real**2 + spectra.imag**2)[:, : longest + 1] / size
    # Later multiples are not weaker for having fewer frames to speak for them, unless there are next to none.
    share = np.maximum(1.0 - np.arange(longest + 1) / size, 0.5)
    acf /= (acf[:, :1] + _FLOOR) * share
    below = lags.astype(int)
    weight = (lags - below).astype(np.float32)
    return ((1.0 - weight) * acf[:, below] + weight * acf[:, below + 1]).mean(axis=1)


def track(samples: np.ndarray, min_bpm: float, max_bpm: float, prior_bpm: float, prior_octaves: float) -> TempoTrack:
    """Tempo along a recording, between `min_bpm` and `max_bpm`.

    `prior_bpm` is the tempo likeliest before anything is heard and `prior_octaves` the standard deviation around it.
    """
    bpm = tempo_grid(min_bpm, max_bpm)
    strength = tempogram(onset_strength(samples), bpm)
    prior = np.exp(-0.5 * (np.log2(bpm / prior_bpm) / prior_octaves) ** 2).astype(np.float32)
    path = _best_path(np.maximum(strength, 0.0) * prior)
    step, height = _peak(strength, path)
    tempi = min_bpm * 2.0 ** (step / _STEPS_PER_OCTAVE)
    return TempoTrack(np.clip(tempi, min_bpm, max_bpm), np.clip(height, 0.0, 1.0))


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


def _peak(strength: np.ndarray, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Step and height of the maxima that the path runs along, refined by a parabola."""
    rows = np.arange(len(path))
    # The path is smooth: it may pass a step or two beside the top.
    beside = np.clip(path[:, None] + np.arange(-2, 3), 0, strength.shape[1] - 1)
    path = beside[rows, strength[rows[:, None], beside].argmax(axis=1)]
    inner = np.clip(path, 1, strength.shape[1] - 2)
    left, middle, right = (strength[rows, inner + k].astype(float) for k in (-1, 0, 1))
    curvature = left - 2.0 * middle + right
    top = (inner == path) & (middle >= left) & (middle >= right) & (curvature < -1e-9)
    offset = np.where(top, 0.5 * (left - right) / np.where(top, curvature, -1.0), 0.0)
    height = np.where(top, middle - 0.25 * (left - right) * offset, strength[rows, path])
    return path + offset, height
