"""Pitch: the fundamental frequency along a recording, and its profile of pitch classes.

Pitch is in cents above `REFERENCE_HZ`, a mere origin: no tuning is assumed. A profile has `BINS` bins of ten cents to
the octave; bin *b* is centred on 10 *b* cents.

The fundamental is McLeod's: the first peak of the normalised square difference function, computed by FFT, that is
nearly as high as the highest gives the period (McLeod and Wyvill, "A smarter way to find pitch", ICMC 2005). The
profile adds the pitch classes of spectral peaks, since strings that ring together hide their fundamentals.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft

from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE

REFERENCE_HZ = 55.0
BINS = 120
BIN_CENTS = 1200.0 / BINS
WINDOW, HOP = 2048, 480
PEAK_WINDOW, PEAK_HOP = 8192, 2400

MIN_HELD = 0.45
"""Share of held notes in a melody: drums of orchestra seeds 101 to 103 reach 0.38, melodies 0.56."""

_FRAME_RATE = SAMPLE_RATE // HOP
_SHORTEST, _LONGEST = SAMPLE_RATE // 2_200, 1 + SAMPLE_RATE // 65  # periods of 2,200 and 65 Hz, in samples
_CHOICE = 0.93  # McLeod's k: the first peak at least this share of the highest wins
_CLARITY = 0.7  # height of a voiced frame's peak; breath lowers it, noise alone stays far below
_QUIET = 0.01  # power, as a share of the recording's loud frames', below which a frame is ignored
_STABLE_CENTS = 35.0  # between neighbouring frames of a held note, vibrato included
_STABLE_FRAMES = 4
_TOGETHER = 125  # frames transformed at a time: what stays in a core's cache is much faster
_PEAK_RANGE_HZ = (100.0, 2_000.0)
_PEAK_FLOOR = 0.03  # of the frame's highest peak
_PEAK_SILENCE = 0.05  # a sine at -98 dBFS
_PEAK_SHARE = 0.3  # of spectral peaks in the profile; the rest is fundamentals


class Pitch(NamedTuple):
    """Pitch along a recording, 50 frames a second; float32."""

    cents: np.ndarray
    """shape (frames,), above `REFERENCE_HZ`; NaN where the frame is not voiced"""
    power: np.ndarray
    """shape (frames,), mean square"""
    spectral: np.ndarray
    """shape (segments, `BINS`): pitch classes of the spectral peaks in each five seconds"""

    @property
    def held(self) -> np.ndarray:
        """Shape (frames,), bool: part of a run of frames, each near the one before it in pitch."""
        near = np.abs(np.diff(self.cents)) < _STABLE_CENTS  # False beside NaN
        edges = np.flatnonzero(np.diff(np.concatenate([[0], near.astype(np.int8), [0]])))
        held = np.zeros(len(self.cents), bool)
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            if end - begin + 1 >= _STABLE_FRAMES:
                held[begin : end + 1] = True
        return held

    @property
    def held_share(self) -> float:
        """Share of held notes in the frames that are not silent, 0 to 1: low for drums, high for melodies."""
        return float(self.held.sum() / max(int(_sounding(self.power).sum()), 1))

    def between(self, start_s: float, end_s: float) -> "Pitch":
        """Pitch of a part of the recording, in seconds; its spectral peaks to whole segments."""
        first, last = round(start_s * _FRAME_RATE), round(end_s * _FRAME_RATE)
        segments = slice(int(start_s / CLIP_SECONDS), int(np.ceil(end_s / CLIP_SECONDS)))
        return Pitch(self.cents[first:last], self.power[first:last], self.spectral[segments])

    def fundamentals(self) -> np.ndarray:
        """How long each pitch class is held: shape (`BINS`,), sum 1, or all 0. The loudness of a note counts little."""
        held = self.held
        return _shares(_classes(self.cents[held], self.power[held].astype(float) ** 0.25))

    def profile(self) -> np.ndarray:
        """Pitch-class profile, shape (`BINS`,), sum at most 1: fundamentals with some spectral peaks."""
        spectral = _shares(self.spectral.sum(axis=0, dtype=float))
        return (1.0 - _PEAK_SHARE) * self.fundamentals() + _PEAK_SHARE * spectral


class Detector:
    """Pitch of a recording that comes in segments of five seconds."""

    def __init__(self) -> None:
        self._frames: list[np.ndarray] = []  # lag, clarity and power, each of shape (3, frames)
        self._spectral: list[np.ndarray] = []

    def add(self, frames: np.ndarray, long_frames: np.ndarray) -> None:
        """Analyse the next segment's frames, of `WINDOW` samples for the fundamental and `PEAK_WINDOW` for peaks."""
        for begin in range(0, len(frames), _TOGETHER):
            group = frames[begin : begin + _TOGETHER]
            group = group - group.mean(axis=1, keepdims=True)
            period = _period(_nsdf(group, _LONGEST + 1), _SHORTEST)
            self._frames.append(np.stack([*period, np.mean(group**2, axis=1)]).astype(np.float32))
        self._spectral.append(_peak_classes(long_frames))

    def finish(self) -> Pitch:
        """Pitch of all segments."""
        lag, clarity, power = np.concatenate(self._frames, axis=1)
        voiced = (clarity >= _CLARITY) & _sounding(power)
        cents = np.full(len(lag), np.nan, np.float32)
        cents[voiced] = 1200.0 * np.log2(SAMPLE_RATE / lag[voiced] / REFERENCE_HZ, dtype=np.float64)
        return Pitch(cents, power, np.stack(self._spectral).astype(np.float32))


def _nsdf(block: np.ndarray, longest: int) -> np.ndarray:
    """Normalised square difference of each row at lags 0 to `longest`, shape (rows, longest + 1), in [-1, 1]."""
    size = block.shape[1]
    spectra = scipy.fft.rfft(block, scipy.fft.next_fast_len(size + longest, real=True))
    products = scipy.fft.irfft(spectra.real**2 + spectra.imag**2)[:, : longest + 1]
    squares = block**2
    both = 2.0 * squares.sum(axis=1, keepdims=True)
    lost = np.cumsum(squares[:, :longest] + squares[:, : size - longest - 1 : -1], axis=1)
    energy = np.concatenate([both, both - lost], axis=1)
    return 2.0 * products / np.maximum(energy, 1e-9)


def _period(nsdf: np.ndarray, shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """Lag and height of McLeod's peak in each row, refined by a parabola; height 0 where there is no peak."""
    left, middle, right = nsdf[:, :-2], nsdf[:, 1:-1], nsdf[:, 2:]
    # A peak before the first fall below zero is the one at lag 0.
    fallen = np.logical_or.accumulate(middle < 0.0, axis=1)
    peaks = (middle > left) & (middle >= right) & fallen & (middle > 0.0)
    peaks[:, : shortest - 1] = False
    heights = np.where(peaks, middle, 0.0)
    highest = heights.max(axis=1)
    column = np.argmax(heights >= np.maximum(_CHOICE * highest, 1e-6)[:, None], axis=1)
    rows = np.arange(len(nsdf))
    a, b, c = left[rows, column], middle[rows, column], right[rows, column]
    curvature = a - 2.0 * b + c
    valid = (highest > 0.0) & (curvature < 0.0)
    offset = np.where(valid, 0.5 * (a - c) / np.where(valid, curvature, -1.0), 0.0)
    return column + 1 + offset, np.where(valid, b - 0.25 * (a - c) * offset, 0.0)


def _sounding(power: np.ndarray) -> np.ndarray:
    """Frames that are not far quieter than the recording's loud ones."""
    loud = float(np.percentile(power, 90)) if len(power) else 0.0
    return power > max(_QUIET * loud, 1e-10)


def _peak_classes(frames: np.ndarray) -> np.ndarray:
    """Pitch classes of the frames' spectral peaks between 100 and 2,000 Hz, by the square root of their amplitudes."""
    window = np.hanning(PEAK_WINDOW + 1)[:-1].astype(np.float32)
    low, high = (int(hz * PEAK_WINDOW / SAMPLE_RATE) for hz in _PEAK_RANGE_HZ)
    spectra = scipy.fft.rfft(frames * window)[:, low - 1 : high + 2]
    spectra = np.sqrt(spectra.real**2 + spectra.imag**2)
    left, middle, right = spectra[:, :-2], spectra[:, 1:-1], spectra[:, 2:]
    floor = np.maximum(_PEAK_FLOOR * middle.max(axis=1, keepdims=True), _PEAK_SILENCE)
    row, column = np.nonzero((middle > left) & (middle > right) & (middle > floor))
    a, b, c = (np.log(part[row, column].astype(float) + 1e-12) for part in (left, middle, right))
    position = column + low + 0.5 * (a - c) / (a - 2.0 * b + c)
    cents = 1200.0 * np.log2(position * SAMPLE_RATE / PEAK_WINDOW / REFERENCE_HZ)
    return _classes(cents, np.sqrt(middle[row, column]))


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / max(counts.sum(), 1e-12)


def _classes(cents: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights by pitch class, shape (`BINS`,), each shared between the two nearest bins."""
    place = np.mod(cents, 1200.0) / BIN_CENTS
    below = np.floor(place).astype(int)
    share = place - below
    counts = np.bincount(below % BINS, weights * (1.0 - share), BINS)
    return counts + np.bincount((below + 1) % BINS, weights * share, BINS)
