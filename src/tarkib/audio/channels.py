"""Channels mixed down to mono.

Mono is the mean of the channels. Channels in opposite phase (a microphone or a cable with swapped wires) cancel each
other in it, and the louder one is taken instead. The mean of unrelated channels has the power ``sum(power) /
channels²``. Channels cancel where less than a tenth of that is left: two equally loud ones are then correlated below
-0.9, which no stereo recording of music in phase is over some seconds.
"""

from itertools import pairwise

import numpy as np

_CANCELLED = 0.1
_SILENT = 1e-6  # power of all channels together, -60 dB of full scale, below which nothing is decided
_LEAST_SECONDS = 5


class Mix:
    """Mixes the blocks of one file, in their order; `cancelled` says whether channels were in opposite phase.

    Every five seconds are decided by themselves, so that an announcement in phase before the music changes nothing. A
    shorter block follows the decision before it, for so little sound is correlated by chance.
    """

    def __init__(self, rate: int) -> None:
        self.cancelled = False
        self._least = _LEAST_SECONDS * rate
        self._is_decided = False
        self._channel: int | None = None  # which one is taken; None for the mean

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """A block of shape (n, channels) as mono, float32 of shape (n,)."""
        mono = np.empty(len(block), np.float32)
        borders = np.linspace(0, len(block), max(1, len(block) // self._least) + 1).astype(int)
        channels = block.shape[1]
        with np.errstate(all="ignore"):  # NaN and infinities are refused after the mixing
            for begin, end in pairwise(borders):
                if channels > 1 and (end - begin >= self._least or not self._is_decided):
                    self._decide(block[begin:end])
                mono[begin:end] = block[begin:end, self._channel or 0]
                if self._channel is None and channels > 1:
                    for k in range(1, channels):
                        mono[begin:end] += block[begin:end, k]
                    mono[begin:end] /= channels
        return mono

    def _decide(self, block: np.ndarray) -> None:
        # As products of matrices: `mean` over so short an axis takes twenty times as long.
        mean = np.ones(len(block), np.float32) @ block / len(block)
        covariance = (block.T @ block) / len(block) - np.outer(mean, mean)
        power = covariance.diagonal()
        if not power.sum() > _SILENT:
            return
        self._is_decided = True
        if covariance.sum() >= _CANCELLED * power.sum():
            self._channel = None
            return
        self.cancelled = True
        # The channel stays while it sounds: a change to its mirror image is a click.
        if self._channel is None or power[self._channel] < _CANCELLED * power.max():
            self._channel = int(np.argmax(power))
