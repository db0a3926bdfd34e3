"""Where the beats fall along a recording whose tempo is known.

Conventions
-----------
Seconds from the recording's start. The beats are those of Ellis, "Beat tracking by dynamic programming", Journal of New
Music Research 36, 2007: the frames of the greatest sum of onset strengths less the squared logarithms of how far each
step is from a beat's period; the period follows our tempo, and only where that is trusted are beats kept. Our own few
lines, because librosa's, compiled when first called, ended some processes of a fresh installation with a segfault.
"""

import functools

import numpy as np
import scipy.ndimage

from tarkib.annotation.onset import FRAME_RATE
from tarkib.annotation.tempo import TempoTrack
from tarkib.audio import CLIP_SECONDS

_TIGHTNESS = 100.0  # of the period, against onset strengths in units of their standard deviation
_SPREAD = 1.0 / 32.0  # of a period, by which an onset may be off the beat
_FIRST = 0.01  # of the strongest onset, before which no beat is


def beats(onset: np.ndarray, tempo: TempoTrack, least: float) -> np.ndarray:
    """Seconds of the beats where the tempo's confidence is at least `least`: shape (beats,), float64, rising."""
    trusted = (tempo.confidence >= least) & (tempo.confidence > 0.0)
    if not trusted.any():
        return np.zeros(0)
    bpm = np.interp(np.arange(len(onset)) / FRAME_RATE, np.arange(len(tempo.bpm)), tempo.bpm)
    seconds = _best_beats(onset.sum(axis=1), np.round(60.0 * FRAME_RATE / bpm).astype(int)) / FRAME_RATE
    return seconds[trusted[np.clip(np.round(seconds).astype(int), 0, len(trusted) - 1)]]


def first_beat(beats_s: np.ndarray, start_s: float, seconds: float = CLIP_SECONDS) -> float | None:
    """Seconds from a slice's start to the first beat in it, None where there is none."""
    index = int(np.searchsorted(beats_s, start_s))
    if index == len(beats_s) or beats_s[index] >= start_s + seconds:
        return None
    return float(beats_s[index] - start_s)


def _best_beats(strength: np.ndarray, periods: np.ndarray) -> np.ndarray:
    """Frames of the beats, rising, float64; `periods` says for each frame how many frames a beat lasts there."""
    local = scipy.ndimage.gaussian_filter1d(strength.astype(float), _SPREAD * float(np.median(periods)))
    local /= max(float(local.std()), 1e-12)
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
    found = []
    while frame >= 0:
        found.append(frame)
        frame = int(back[frame])
    return np.array(found[::-1], float)


@functools.cache
def _penalty(period: int) -> np.ndarray:
    """What a step costs that is two periods to half a period long, in this order."""
    steps = np.arange(2 * period, period // 2, -1)
    return -_TIGHTNESS * np.log(steps / period) ** 2
