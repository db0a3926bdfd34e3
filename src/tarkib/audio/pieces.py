"""Sound cut to a clip's length."""

from collections.abc import Iterable, Iterator

import numpy as np

from tarkib.audio.rates import CLIP_SAMPLES


def fit(samples: np.ndarray, length: int = CLIP_SAMPLES) -> np.ndarray:
    """Cut samples, shape (n,), to `length`, or pad them with silence at the end."""
    if samples.size >= length:
        return samples[:length]
    return np.pad(samples, (0, length - samples.size))


def pieces(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cut a sound that comes in blocks, each of shape (n,), into pieces of a clip's length, the last one shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = rest.size // CLIP_SAMPLES * CLIP_SAMPLES
        yield from rest[:whole].reshape(-1, CLIP_SAMPLES)
        rest = rest[whole:]
    if rest.size:
        yield rest
