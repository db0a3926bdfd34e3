"""The sample rate inside the project, the clip's length at it, and how other rates become it."""

import numpy as np
import soxr

from tarkib.errors import TarkibError

SAMPLE_RATE = 24_000
"""Samples a second that MERT takes, and so everything here."""

CLIP_SECONDS = 5.0
CLIP_SAMPLES = int(CLIP_SECONDS * SAMPLE_RATE)

_RATES = (1_000, 768_000)


def check_rate(rate: int) -> None:
    """Refuse a rate that no recording has: resampling from a few Hz would fill the memory."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise TarkibError(
            f"says that it has {rate} samples a second; between {_RATES[0]:,} and {_RATES[1]:,} are read. "
            "Correct its header, or export it anew"
        )


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Bring samples, shape (n,), from `rate` Hz to `SAMPLE_RATE` (soxr, high quality)."""
    if rate == SAMPLE_RATE:
        return samples.astype(np.float32, copy=False)
    return soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ").astype(np.float32, copy=False)


class Resampler:
    """As `resample`, block by block: memory does not grow with the sound. It rounds a little differently."""

    def __init__(self, rate: int) -> None:
        self._stream = (
            None if rate == SAMPLE_RATE else soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        )

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """The next block, float32 of shape (n,)."""
        return block if self._stream is None else self._stream.resample_chunk(block)

    def finish(self) -> np.ndarray:
        """What the filter still holds at the end."""
        empty = np.zeros(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)
