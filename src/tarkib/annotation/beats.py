"""Beats along a recording whose tempo is known.

Seconds count from the recording's start. Beats are those of Ellis, "Beat tracking by dynamic programming", Journal of
New Music Research 36, 2007: the frames of the greatest sum of onset strengths less the squared logarithm of each step
over the period. The period follows our tempo; beats are kept only where that is trusted. Not librosa's, whose compiled
code ended some processes of a fresh installation with a segfault.
"""

import functools

import numpy as np
import scipy.ndimage

from tarkib.annotation.onset import FRAME_RATE
from tarkib.annotation.tempo import TempoTrack
from tarkib.audio import CLIP_SECONDS

_TIGHTNESS = 100.0  # of the period, against onset strengths in units of their standard deviation
_SPREAD = 1.0 / 32.0  # of a period, by which an onset may be off the beat
_FIRST = 0.01  # of the strongest onset: the first beat is at least that strong
_DECIMALS = 6  # of scores: steps of equal cost must not be told apart by a processor's last bits


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
    """Frames of the beats, rising, float64; `periods` gives the frames of a beat around each frame."""
    local = scipy.ndimage.gaussian_filter1d(strength.astype(float), _SPREAD * float(np.median(periods)))
    local = np.round(local / max(float(local.std()), 1e-12), _DECIMALS)
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
    return np.round(-_TIGHTNESS * np.log(steps / period) ** 2, _DECIMALS)
