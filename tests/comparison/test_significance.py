"""Intervals and p-values: cases worked by hand, and simulations."""

import numpy as np
import pytest
from scipy import stats

from tarkib.comparison.significance import bootstrap_p, expanded_level, holm, seed_interval


def test_seeds_by_hand():
    # mean 0.02, s = 0.01 √2, t(0.975, 1) = 12.706: 0.02 ± 12.706 · 0.01; t = 2, p = 1 - 2 atan(2) / π
    interval, p = seed_interval(np.array([0.01, 0.03]))
    assert interval == pytest.approx((0.02 - 0.12706, 0.02 + 0.12706), abs=1e-5)
    assert p == pytest.approx(1 - 2 * np.arctan(2) / np.pi)
    for values, expected in (([0.8], None), ([0.8, np.nan], None), ([0.02, 0.02], (0.02, 0.02))):
        interval, p = seed_interval(np.array(values))
        assert interval == expected
        assert np.isnan(p)


def test_holm_by_hand():
    """Holm 1979: the least p times 4, the next times 3, ..., none below one before it, none above 1; NaN left out."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.5])) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.02, np.nan, 0.01])) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)


def test_p_values_and_levels_by_hand():
    """Of 99 draws 4 are on the far side: 2 · (1 + 4) / (1 + 99) = 0.1; with many clusters it is not expanded."""
    draws = np.concatenate([np.full(95, 1.0), np.full(4, -1.0)])
    for same in (draws, -draws, np.append(draws, [np.nan] * 5)):
        assert bootstrap_p(same, 10**9) == pytest.approx(0.1)
    assert bootstrap_p(np.zeros(999), 60) == 1.0
    # Expanded for 5 clusters: z(0.05) = 1.645, times √(4/5) = 1.471, in Student's distribution with 4 degrees.
    assert bootstrap_p(draws, 5) == pytest.approx(2 * stats.t.sf(1.6448536 * np.sqrt(0.8), 4))
    # Two clusters: √2 · t(0.975, 1) = √2 · 12.706 = 17.97, beyond every draw; many: the level itself.
    assert expanded_level(2) == pytest.approx(1.0, abs=1e-12)
    assert expanded_level(100_000) == pytest.approx(0.95, abs=1e-4)
    for undefined, clusters in (([], 60), ([np.nan] * 3 + [1.0], 60), ([1.0] * 99, 1)):
        assert np.isnan(bootstrap_p(np.array(undefined), clusters))


_TRIALS = 1_000


@pytest.mark.parametrize(("clusters", "skewed"), [(20, False), (60, False), (60, True)])
def test_p_values_and_intervals_hold_their_level_where_there_is_no_difference(clusters, skewed):
    """But for three standard errors of the trials, and a little for skewness.

    So many recordings have 1 to 7 clips each, which share a part of their differences.
    """
    rng = np.random.default_rng(clusters)
    level = expanded_level(clusters)
    p_values, covered = [], []
    for _ in range(_TRIALS):
        sizes = rng.integers(1, 8, clusters)
        shared = rng.gamma(0.5, 1.0, clusters) - 0.5 if skewed else rng.standard_normal(clusters)
        sums = sizes * shared + np.sqrt(sizes) * rng.standard_normal(clusters)
        drawn = rng.integers(clusters, size=(499, clusters))
        draws = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        p_values.append(bootstrap_p(draws, clusters))
        covered.append(low <= 0 <= high)
    for limit in (0.05, 0.2):
        allowed = limit + 3 * np.sqrt(limit * (1 - limit) / _TRIALS) + 0.005
        assert np.mean(np.array(p_values) < limit) < allowed
    assert 0.92 < np.mean(covered) < 0.98
