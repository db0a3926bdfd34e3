"""How sure a figure is: percentile intervals from resampling the test recordings.

Clips cut from one recording resemble each other, so whole recordings are resampled, not clips (the cluster bootstrap:
Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). A resample is written as weights, how
often each clip counts, and a statistic computes many resamples at once: see `tarkib.evaluation.metrics`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tarkib.errors import TarkibError

LEVEL = 0.95
"""Share of the resamples' figures that lies inside an interval."""

_CELLS_AT_ONCE = 1 << 21
"""Weights held at once (16 MiB): what bounds the memory however many clips and rounds there are."""


def resamples(groups: Sequence[str], rounds: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Draw recordings with replacement, as many as there are, and yield the clips' weights in blocks, shape (r, n).

    `groups` names each clip's recording, length n. The blocks hold `rounds` rows in all; how they are cut depends on n
    alone and the draws do not depend on it, so two sets of scores for the same clips can be compared in pairs by giving
    equally seeded generators.
    """
    if len(groups) == 0:
        raise TarkibError("the test set holds no clips; add rows with their audio files to its labels.csv")
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
    """Percentile intervals of every figure that `statistic` gives.

    `statistic` takes weights, shape (r, n), and returns figures by name, each of shape (r, ...). The result has the
    same names, each of shape (2, ...): lower and upper end. A round in which a figure is NaN is left out for that
    figure; the interval is NaN where more than half of the rounds are, where the figure of the clips themselves is NaN,
    and where fewer than two recordings leave nothing to resample.
    Raises TarkibError where there is no clip.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, found {rounds}")
    blocks = [statistic(weights) for weights in resamples(groups, rounds, rng)]
    figures = {name: values[0] for name, values in statistic(np.ones((1, len(groups)))).items()}
    drawn = {name: np.concatenate([block[name] for block in blocks]) for name in figures}
    several = len(set(groups)) > 1
    return {name: _interval(figures[name], drawn[name], level, several) for name in figures}


def _interval(figure: np.ndarray, drawn: np.ndarray, level: float, several: bool) -> np.ndarray:
    """Ends (2, ...) of the drawn figures' middle, drawn having shape (rounds, ...)."""
    trusted = several & ~np.isnan(figure) & (2 * np.isnan(drawn).sum(axis=0) <= len(drawn))
    # Where nothing is trusted any number will do: it is thrown away, and nanquantile would warn of empty columns.
    filled = np.where(trusted, drawn, 0.0)
    ends = np.nanquantile(filled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.where(trusted, ends, np.nan)
