"""How sure a mean or a difference is: over test recordings, over seeds, and among many comparisons.

p-values are two-sided, of the hypothesis that the figure is 0.
"""

import numpy as np
from scipy import stats

from tarkib.evaluation.bootstrap import LEVEL

Interval = tuple[float, float]


def expanded_level(clusters: int) -> float:
    """Level of a percentile interval from resampling two or more recordings that covers as often as `LEVEL` promises.

    A bootstrap distribution is too narrow by sqrt((n - 1) / n) and has normal tails instead of Student's; the expanded
    percentile interval corrects both (Hesterberg, "What teachers should know about the bootstrap", The American
    Statistician 69, 2015, section 5.3), but not skewness.

    >>> round(expanded_level(60), 3), round(expanded_level(5), 3)
    (0.956, 0.998)
    """
    reach = np.sqrt(clusters / (clusters - 1)) * stats.t.ppf((1 + LEVEL) / 2, clusters - 1)
    return float(1 - 2 * stats.norm.sf(reach))


def bootstrap_p(draws: np.ndarray, clusters: int) -> float:
    """p-value from draws of a difference, NaN where undefined: 1 - the level of the widest expanded interval without 0.

    Twice the share of draws on the far side of 0, one added to both counts so that it is never 0 (Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 4.2), then expanded as in `expanded_level`. Draws of
    exactly 0 count on both sides. NaN if more than half of the draws are, or for fewer than two recordings.
    """
    defined = draws[~np.isnan(draws)]
    if clusters < 2 or 2 * len(defined) < len(draws) or len(defined) == 0:
        return float("nan")
    beyond = min(np.sum(defined <= 0), np.sum(defined >= 0))
    plain = min(1.0, 2 * (1 + beyond) / (1 + len(defined)))
    reach = stats.norm.isf(plain / 2) * np.sqrt((clusters - 1) / clusters)
    return float(2 * stats.t.sf(reach, clusters - 1))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected so that the chance of any false rejection among all of them stays at the level.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. NaN
    stays NaN and does not count.
    """
    corrected = p_values.copy()
    count = np.sum(~np.isnan(corrected))
    order = np.argsort(corrected, kind="stable")[:count]  # NaN comes last
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(count, 0, -1) * corrected[order]))
    return corrected


def seed_interval(values: np.ndarray) -> tuple[Interval | None, float]:
    """Student's interval for the mean of values, one a seed, at `LEVEL`, and the p-value of a mean of 0.

    None and NaN for fewer than two values or if one is undefined. The p-value is NaN for equal values too: they are the
    same draw, and say nothing about another.
    """
    if len(values) < 2 or np.isnan(values).any():
        return None, float("nan")
    if np.ptp(values) < 1e-12:  # the same but for rounding
        return (float(values[0]), float(values[0])), float("nan")
    result = stats.ttest_1samp(values, 0.0)
    low, high = result.confidence_interval(LEVEL)
    return (float(low), float(high)), float(result.pvalue)
