"""Parts of a long recording, each in a mode of its own: a performance may change its dastgah, or its tonic.

Windows of half a minute are scored as whole recordings are (`tonality`); the best path through dastgahs and tonics, at
a cost for every change (Viterbi), says where a part ends. The parts alone come from the path: the estimates of each are
those of its sound as a recording, so one that keeps its mode is estimated as a whole.
"""

import itertools
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from tarkib.annotation import tonality
from tarkib.annotation.pitch import Pitch
from tarkib.annotation.tonality import Tonality

_LEAST_S = 90.0  # shorter recordings are one part
_WINDOW_S, _STEP_S = 30.0, 15.0
_CHANGE_COST = 6.0  # in units of log-probability
_BINS = 5  # of the profile: a tonic may drift by two bins


class Part(NamedTuple):
    """A part of a recording, in seconds, and the tonality there."""

    start_s: float
    end_s: float
    tonality: Tonality


def parts(pitch: Pitch, seconds: float, dastgah: str | None = None, tonic_hz: float | None = None) -> list[Part]:
    """The parts of a recording in order, from 0 to `seconds`; one if its dastgah is known or it is short.

    Known values are returned with confidence 1, as by `tonality.estimate`.
    """
    whole = [Part(0.0, seconds, tonality.estimate(pitch, dastgah, tonic_hz))]
    if dastgah is not None or seconds < _LEAST_S or whole[0].tonality.dastgah is None:
        return whole
    borders = [0.0, *_changes(pitch, seconds, tonic_hz), seconds]
    if len(borders) == 2:
        return whole
    return [
        Part(start_s, end_s, tonality.estimate(pitch.between(start_s, end_s), None, tonic_hz))
        for start_s, end_s in itertools.pairwise(borders)
    ]


def _changes(pitch: Pitch, seconds: float, tonic_hz: float | None) -> list[float]:
    """Seconds where the best path changes."""
    starts_s = np.arange(0.0, seconds - _WINDOW_S + 1e-6, _STEP_S)  # the last whole window, too
    scores = np.stack(
        [tonality.scores(pitch.between(start, start + _WINDOW_S), tonic_hz=tonic_hz) for start in starts_s]
    )
    scores = scipy.ndimage.maximum_filter1d(scores, _BINS, axis=2, mode="wrap").reshape(len(scores), -1)
    # Half of a window's sound is also its neighbour's.
    path = _best_path(scores * _STEP_S / _WINDOW_S)
    changed = np.flatnonzero(np.diff(path)) + 1
    return (starts_s[changed] + (_WINDOW_S - _STEP_S) / 2).tolist()


def _best_path(scores: np.ndarray) -> np.ndarray:
    """Column of each row on the path of the greatest sum of scores less `_CHANGE_COST` for every change."""
    total, came = scores[0], []
    for row in scores[1:]:
        best = int(total.argmax())
        stays = total >= total[best] - _CHANGE_COST
        came.append(np.where(stays, np.arange(len(total)), best))
        total = np.where(stays, total, total[best] - _CHANGE_COST) + row
    path = [int(total.argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return np.array(path[::-1])
