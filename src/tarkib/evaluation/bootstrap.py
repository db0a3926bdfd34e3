"""Percentile intervals from resampling the test recordings.

Clips of one recording resemble each other, so whole recordings are resampled (the cluster bootstrap: Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

LEVEL = 0.95
"""Coverage of the intervals."""

_CELLS_AT_ONCE = 1 << 21  # weights in memory at once: 16 MiB


def resamples(groups: Sequence[str], rounds: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw as many recordings as there are, with replacement, `rounds` times.

    Yields blocks of weights, shape (r, n): how often each of the n clips, whose recordings are `groups`, counts in each
    round. The draws depend on the generator alone, so that two sets of scores can be compared in pairs.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    block = max(1, _CELLS_AT_ONCE // len(groups))
    for first in range(0, rounds, block):
        times = np.empty((min(block, rounds - first), len(names)))
        for row in times:
            row[:] = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        yield times[:, member]


def intervals(
    statistic: Callable[[np.ndarray], dict[str, np.ndarray]],
    groups: Sequence[str],
    rng: np.random.Generator,
    *,
    rounds: int = 1000,
    level: float = LEVEL,
) -> dict[str, np.ndarray]:
    """Lower and upper end of the interval of every figure, each of shape (2, ...).

    `statistic` maps weights, shape (r, n), to figures by name, each of shape (r, ...). Rounds in which a figure is NaN
    are ignored for it. Its interval is NaN where these are more than half, where the figure of the clips themselves is
    NaN, and where there is only one recording.
    """
    blocks = [statistic(weights) for weights in resamples(groups, rounds, rng)]
    ends = {}
    for name, (figure,) in statistic(np.ones((1, len(groups)))).items():
        drawn = np.concatenate([block[name] for block in blocks])
        trusted = ~np.isnan(figure) & (2 * np.isnan(drawn).sum(axis=0) <= rounds) & (len(set(groups)) > 1)
        # nanquantile would warn of columns that are all NaN.
        quantiles = np.nanquantile(np.where(trusted, drawn, 0.0), [(1 - level) / 2, (1 + level) / 2], axis=0)
        ends[name] = np.where(trusted, quantiles, np.nan)
    return ends
