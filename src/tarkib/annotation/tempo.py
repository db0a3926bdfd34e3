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
from numpy.lib.stride_tricks import sliding_window_view

SAMPLE_RATE = 24_000
FFT_SIZE = 1024
HOP = 240
FRAME_RATE = SAMPLE_RATE // HOP
WINDOW_S = 10.0
"""A window of ten seconds finds the tempo of five far more often than the five alone do."""

_BANDS = 40
_LAG = 2
_COMPRESSION = 10_000.0
_BLOCK = 4096  # frames transformed at a time: 41 s, a few tens of MB
_SMOOTHING = 2.0  # frames; lets the four multiples of a human period still meet
_FLOOR = 1e-3  # variance of the onset strength below which nothing moves: vibrato and rounding stay under it
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
def _filterbank() -> np.ndarray:
    """Mel filterbank, shape (40, 513), with unit sum a band, so that a band is a mean magnitude."""
    bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT_SIZE, n_mels=_BANDS, fmin=40.0, fmax=10_000.0, norm=1)
    return np.ascontiguousarray(bank, dtype=np.float32)


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
        mel[first:last] = np.abs(spectra) @ bank.T
    peak = float(mel.max(initial=0.0))
    if peak <= 0.0:
        return np.zeros(frames, np.float32)
    mel *= _COMPRESSION / peak
    np.log1p(mel, out=mel)
    reference = scipy.ndimage.maximum_filter1d(mel[:-_LAG], 3, axis=1) if frames > _LAG else mel[:0]
    flux = np.zeros(frames, np.float32)
    flux[_LAG:] = np.maximum(mel[_LAG:] - reference, 0.0).mean(axis=1)
    return flux
