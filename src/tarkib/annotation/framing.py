"""Recordings in segments of five seconds, cut into overlapping frames.

A transform of many frames may round differently from one of few. All segments have the same size, however the recording
comes in blocks, so equal samples give equal bytes.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tarkib.audio import SAMPLE_RATE

SEGMENT_S = 5.0

_SAMPLES = int(SEGMENT_S * SAMPLE_RATE)
_BEFORE, _AFTER = 512, 6_000  # how far the frames of a segment reach beyond it


class Segment(NamedTuple):
    """A segment with what lies around it; outside of the recording there is silence."""

    samples: np.ndarray
    """float32 of shape (_BEFORE + _SAMPLES + _AFTER,)"""
    remaining: int
    """the recording's samples from the segment's start on, as far as they lie in `samples`"""
    start: int
    """where the segment starts in the recording"""

    def frames(self, window: int, hop: int, before: int = 0) -> np.ndarray:
        """Frames of the segment, shape (frames, `window`); frame *i* begins at sample *i* * `hop` - `before`.

        A frame reaches at most `before` samples beyond the recording; a recording too short for one has one.
        """
        inside = 1 + (self.remaining + 2 * before - window) // hop
        count = min(max(inside, int(self.start == 0)), _SAMPLES // hop)
        return sliding_window_view(self.samples[_BEFORE - before :], window)[::hop][:count]


def segments(blocks: Iterable[np.ndarray]) -> Iterator[Segment]:
    """Segments of a recording that comes in blocks of float32 samples; non-finite samples become silence."""
    waiting, start = np.zeros(_BEFORE, np.float32), 0
    for piece in (block[i : i + _SAMPLES] for block in blocks for i in range(0, len(block), _SAMPLES)):
        waiting = np.concatenate([waiting, np.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)])
        while len(waiting) >= _BEFORE + _SAMPLES + _AFTER:
            yield Segment(waiting[: _BEFORE + _SAMPLES + _AFTER], _SAMPLES + _AFTER, start)
            waiting, start = waiting[_SAMPLES:], start + _SAMPLES
    remaining = len(waiting) - _BEFORE
    waiting = np.pad(waiting, (0, 2 * _SAMPLES))
    for skipped in range(0, remaining + 1, _SAMPLES):
        samples = waiting[skipped:][: _BEFORE + _SAMPLES + _AFTER]
        yield Segment(samples, remaining - skipped, start + skipped)
