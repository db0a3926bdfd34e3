"""Onsets of held notes: where the pitch changes.

Bowed, blown and sung notes begin softly, and onset strength by energy misses many of them. A change is the distance
between the median pitches of the tenths of a second before and after; vibrato and octave errors make none, nor do
passages much quieter than the rest of the recording, which have no pitch (`pitch.Pitch`).
"""

import numpy as np
import scipy.ndimage
from numpy.lib.stride_tricks import sliding_window_view

from tarkib.annotation import onset, pitch
from tarkib.annotation.pitch import Pitch

_FRAMES = 5  # before and after a change: a tenth of a second
_LEAST_CENTS, _FULL_CENTS = 60.0, 200.0  # a smaller change is none, a greater one is no stronger
_STRENGTH = 0.3  # of a full change: that of a plucked note
_STEP = pitch.HOP // onset.HOP  # frames of onset strength to a frame of pitch
_SHIFT = (
    (pitch.WINDOW - pitch.HOP) // 2 // onset.HOP
)  # from a pitch frame's start to the middle between it and the last


def changes(found: Pitch, frames: int) -> np.ndarray:
    """Onset strength of changes of pitch, float32 of shape (`frames`,), 100 frames a second; drums have none."""
    strength = np.zeros(frames, np.float32)
    if found.held_share < pitch.MIN_HELD:
        return strength
    medians = _medians(np.where(found.held, found.cents, np.float32(np.nan)))
    before, after = medians[:-_FRAMES], medians[_FRAMES:]
    cents = np.round(np.abs((after - before + 600.0) % 1200.0 - 600.0))  # NaN beside silence
    share = np.clip((np.nan_to_num(cents) - _LEAST_CENTS) / (_FULL_CENTS - _LEAST_CENTS), 0.0, 1.0)
    top = (share > 0.0) & (share >= scipy.ndimage.maximum_filter1d(share, 2 * _FRAMES - 1))
    top[1:] &= ~top[:-1]  # of equal neighbours the first
    place = np.flatnonzero(top) * _STEP + _SHIFT
    inside = place < frames
    strength[place[inside]] = _STRENGTH * share[top][inside]
    return strength


def _medians(cents: np.ndarray) -> np.ndarray:
    """Lower median of the `_FRAMES` values before each place between frames, NaN where there is none."""
    ends = np.full(_FRAMES, np.nan, cents.dtype)
    windows = np.sort(sliding_window_view(np.concatenate([ends, cents, ends]), _FRAMES), axis=1)  # NaN last
    middle = np.maximum(np.count_nonzero(~np.isnan(windows), axis=1) - 1, 0) // 2
    return windows[np.arange(len(windows)), middle]
