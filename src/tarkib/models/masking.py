"""Masks of spans, as spec augment and masked prediction draw them."""

import numpy as np


def spans(rng: np.random.Generator, batch: int, size: int, probability: float, length: int, least: int) -> np.ndarray:
    """Masks, bool `[batch, size]`: spans of `length` whose starts are distinct, about `probability` of all in them.

    The number of spans, probability * size / length rounded at random, is one for the batch, and at least `least`.
    Spans may overlap, so fewer than `probability` of all are masked.
    """
    length = min(length, size)
    starts = size - length + 1
    count = min(max(int(probability * size / length + rng.random()), least), starts)
    chosen = np.argsort(rng.random((batch, starts)), axis=1)[:, :count]
    mask = np.zeros((batch, size), dtype=bool)
    np.put_along_axis(mask, (chosen[..., None] + np.arange(length)).reshape(batch, -1), True, axis=1)
    return mask


def depths(mask: np.ndarray) -> np.ndarray:
    """How many frames each frame of a mask, bool `[T]`, lies from the nearest visible one, int64 `[T]`.

    0 for visible frames; beyond the ends nothing is visible; T everywhere where nothing is.

    >>> depths(np.array([True, True, False, True, True, True, False]))
    array([2, 1, 0, 1, 2, 1, 0])
    """
    size = len(mask)
    places = np.arange(size)
    before = np.maximum.accumulate(np.where(mask, -size, places))
    after = np.minimum.accumulate(np.where(mask, 2 * size, places)[::-1])[::-1]
    return np.minimum(np.minimum(places - before, after - places), size)
