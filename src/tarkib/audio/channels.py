"""Channels mixed down to mono.

Mono is the mean of the channels. Where they are in opposite phase (a microphone or a cable with swapped wires) they
cancel each other in it, and the louder channel is taken instead. Channels that have nothing in common leave a mean with
the power ``sum(power) / channels²``. Where less than a tenth of that is left, the channels cancel: two equally loud
ones are then correlated below -0.9, which no stereo recording of music in phase is over some seconds.
"""

from itertools import pairwise

import numpy as np

_CANCELLED = 0.1
_SILENT = 1e-6
"""Power of all channels together, -60 dB of full scale, below which nothing is decided."""
_LEAST_SECONDS = 5


class Mix:
    """Mixes the blocks of one file, in their order; `cancelled` says whether channels were in opposite phase.

    Each five seconds decide anew, so that an announcement in phase before the music changes nothing. A shorter block
    follows what was before it: so little sound is correlated by chance.
    """

    def __init__(self, rate: int) -> None:
        self.cancelled = False
        self._least = _LEAST_SECONDS * rate
        self._decided = False
        self._channel: int | None = None
        """which channel is taken now, None for the mean"""

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """A block of shape (n, channels) as mono, float32 of shape (n,)."""
        mono = np.empty(len(block), np.float32)
        borders = np.linspace(0, len(block), max(1, len(block) // self._least) + 1).astype(int)
        with np.errstate(all="ignore"):  # NaN and infinities are refused after the mixing
            for begin, end in pairwise(borders):
                self._mix(block[begin:end], mono[begin:end])
        return mono

    def _mix(self, sound: np.ndarray, mono: np.ndarray) -> None:
        channels = sound.shape[1]
        if channels > 1 and (len(sound) >= self._least or not self._decided):
            self._decide(sound)
        mono[:] = sound[:, self._channel or 0]
        if self._channel is None and channels > 1:
            for k in range(1, channels):
                mono += sound[:, k]
            mono /= channels

    def _decide(self, block: np.ndarray) -> None:
        # As products of matrices: `mean` over so short an axis takes twenty times as long.
        mean = np.ones(len(block), np.float32) @ block / len(block)
        covariance = (block.T @ block) / len(block) - np.outer(mean, mean)
        power = covariance.diagonal()
        if not power.sum() > _SILENT:
            return
        cancelled = bool(covariance.sum() < _CANCELLED * power.sum())
        self._decided = True
        if not cancelled:
            self._channel = None
        # The channel stays while it sounds: a change to its mirror image is a click.
        elif self._channel is None or power[self._channel] < _CANCELLED * power.max():
            self._channel = int(np.argmax(power))
        self.cancelled = self.cancelled or cancelled
