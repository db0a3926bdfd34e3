"""Overlapping frames of a stream of samples, always in the same groups, however the stream is cut into blocks.

Transforms of a group may round differently from those of another size; so that equal samples give equal bytes, a group
always holds the same frames.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Framing:
    """Frame *i* holds the `window` samples from sample *i* * `hop` - `before` on; what lies outside is silence."""

    def __init__(self, window: int, hop: int, together: int, before: int = 0) -> None:
        self.window, self.hop, self.together = window, hop, together
        self._waiting = np.zeros(before, np.float32)
        self.samples = 0
        """samples fed so far"""
        self.frames = 0
        """frames given so far"""

    def feed(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next samples, shape (n,); give each group that is whole, shape (`together`, `window`)."""
        self.samples += len(samples)
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)])
        needed = (self.together - 1) * self.hop + self.window
        while len(self._waiting) >= needed:
            group = self._waiting[:needed]
            self._waiting = self._waiting[self.together * self.hop :]
            self.frames += self.together
            yield sliding_window_view(group, self.window)[:: self.hop]

    def rest(self, frames: int) -> Iterator[np.ndarray]:
        """Give the group that is left of `frames` in all, if any, with silence where the samples end."""
        left = frames - self.frames
        if left > 0:
            needed = (left - 1) * self.hop + self.window
            group = np.pad(self._waiting, (0, max(0, needed - len(self._waiting))))[:needed]
            self.frames += left
            yield sliding_window_view(group, self.window)[:: self.hop]
