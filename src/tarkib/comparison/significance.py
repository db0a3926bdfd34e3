"""How sure a mean or a difference is: over test recordings, over seeds, and among many comparisons.

Conventions
-----------
Draws are a figure in each of r resamples of the recordings (`tarkib.evaluation.bootstrap`), shape ``(r,)``, NaN where
it is undefined. p-values are two-sided, of the hypothesis that the figure is 0.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from tarkib.evaluation.bootstrap import LEVEL


def expanded_level(clusters: int, level: float = LEVEL) -> float:
    """Level at which a percentile interval from so many resampled recordings has to be taken to hold `level`.

    A bootstrap distribution is too narrow by sqrt((n - 1) / n) and has normal tails where Student's are due; the
    expanded percentile interval makes up for both (Hesterberg, "What teachers should know about the bootstrap", The
    American Statistician 69, 2015, section 5.3). What remains too narrow is due to skewness.

    >>> round(expanded_level(60), 3), round(expanded_level(5), 3)
    (0.956, 0.998)
    """
    if clusters < 2:
        raise ValueError(f"clusters must be at least 2, found {clusters}")
    reach = np.sqrt(clusters / (clusters - 1)) * stats.t.ppf((1 + level) / 2, clusters - 1)
    return float(1 - 2 * stats.norm.sf(reach))


def bootstrap_p(draws: np.ndarray, clusters: int) -> float:
    """Two-sided p-value from draws of a difference: 1 - the level of the widest expanded interval that leaves out 0.

    Twice the share of draws on the far side of 0, one added to both counts so that it is never 0 (Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 4.2), then expanded as in `expanded_level`. Draws of
    exactly 0 lie on both sides. NaN where more than half of the draws are, or fewer than two recordings were there.
    """
    draws = np.asarray(draws, dtype=np.float64)
    there = draws[~np.isnan(draws)]
    if clusters < 2 or 2 * len(there) < len(draws) or len(there) == 0:
        return float("nan")
    beyond = min(np.sum(there <= 0), np.sum(there >= 0))
    plain = min(1.0, 2 * (1 + beyond) / (1 + len(there)))
    reach = stats.norm.isf(plain / 2) * np.sqrt((clusters - 1) / clusters)
    return float(2 * stats.t.sf(reach, clusters - 1))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values corrected so that the chance of any false rejection among all of them stays at the level.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. NaN
    stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p_values), np.nan)
    order = [k for k in np.argsort(p_values, kind="stable") if not np.isnan(p_values[k])]
    largest = 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[k]))
        corrected[k] = largest
    return corrected


def t_test(values: Sequence[float]) -> float:
    """Two-sided p-value that values, one a seed, have a mean of 0: Student's t-test, of normal distribution.

    NaN for fewer than two, where one is NaN, and where all are the same: such seeds are one draw told twice, and say
    nothing of another.

    >>> round(t_test([0.02, 0.03, 0.01]), 3)
    0.074
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 or np.isnan(values).any() or np.ptp(values) == 0:
        return float("nan")
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Ends of the interval for the mean of values, one a seed, of normal distribution; None for fewer than two.

    mean ± t · s / √n, t the quantile of Student's distribution with n - 1 degrees of freedom (Student, "The probable
    error of a mean", Biometrika 6, 1908). None too where a value is NaN.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2 or np.isnan(values).any():
        return None
    reach = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)
