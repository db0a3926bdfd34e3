"""Intervals and p-values: cases worked by hand, and simulations."""

import numpy as np
import pytest
from scipy import stats

from tarkib.comparison.significance import bootstrap_p, expanded_level, holm, over_seeds


def test_two_seeds_by_hand():
    # mean 0.02, s = 0.01 √2, t(0.975, 1) = 12.706: 0.02 ± 12.706 · 0.01; t = 2, p = 1 - 2 atan(2) / π
    interval, p = over_seeds([0.01, 0.03])
    assert interval == pytest.approx((0.02 - 0.12706, 0.02 + 0.12706), abs=1e-5)
    assert p == pytest.approx(1 - 2 * np.arctan(2) / np.pi)


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([0.8], None), ([0.8, float("nan")], None), ([0.02, 0.02], (0.02, 0.02))]
)
def test_fewer_than_two_seeds_or_equal_ones_have_no_p_value(values, expected):
    interval, p = over_seeds(values)
    assert interval == expected
    assert np.isnan(p)


def test_holm_by_hand():
    """Holm 1979: the least p times 4, the next times 3, ..., none below one before it, none above 1; NaN left out."""
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([0.02, float("nan"), 0.01]) == pytest.approx([0.02, np.nan, 0.02], nan_ok=True)
    assert len(holm([])) == 0


def test_the_expanded_level_by_hand():
    # Two clusters: √2 · t(0.975, 1) = √2 · 12.706 = 17.97, beyond every draw; many: the level itself.
    assert expanded_level(2) == pytest.approx(1.0, abs=1e-12)
    assert expanded_level(100_000) == pytest.approx(0.95, abs=1e-4)
    with pytest.raises(ValueError, match="at least 2"):
        expanded_level(1)


def test_a_p_value_by_hand():
    """Of 99 draws 4 are on the far side: 2 · (1 + 4) / (1 + 99) = 0.1; with many clusters it is not expanded."""
    draws = np.concatenate([np.full(95, 1.0), np.full(4, -1.0)])
    assert bootstrap_p(draws, 10**9) == pytest.approx(0.1)
    assert bootstrap_p(-draws, 10**9) == pytest.approx(0.1)
    assert bootstrap_p(np.append(draws, [np.nan] * 5), 10**9) == pytest.approx(0.1)
    assert bootstrap_p(np.zeros(999), 60) == 1.0
    # Expanded for 5 clusters: z(0.05) = 1.645, times √(4/5) = 1.471, in Student's distribution with 4 degrees.
    assert bootstrap_p(draws, 5) == pytest.approx(2 * stats.t.sf(1.6448536 * np.sqrt(0.8), 4))


@pytest.mark.parametrize(("draws", "clusters"), [([], 60), ([np.nan] * 3 + [1.0], 60), ([1.0] * 99, 1)])
def test_p_is_undefined_of_mostly_undefined_draws_and_of_one_recording(draws, clusters):
    assert np.isnan(bootstrap_p(np.array(draws), clusters))


def test_p_is_below_the_level_where_the_interval_leaves_out_0():
    rng = np.random.default_rng(3)
    for shift in np.linspace(0, 0.6, 25):
        draws = rng.normal(shift, 0.15, 9_999)
        low = np.quantile(draws, (1 - expanded_level(30)) / 2)
        if abs(low) > 0.01:  # elsewhere one draw more or less decides
            assert (bootstrap_p(draws, 30) < 0.05) == (low > 0)


_TRIALS = 1_000


@pytest.fixture(scope="module", params=[(20, False), (60, False), (60, True)], ids=["20", "60", "60 skewed"])
def simulated(request) -> tuple[np.ndarray, np.ndarray]:
    """p-values and whether the interval covers 0, of 1,000 experiments in which there is no difference.

    So many recordings have 1 to 7 clips each, which share a part of their differences.
    """
    clusters, skewed = request.param
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
    return np.array(p_values), np.array(covered)


def test_p_values_and_intervals_hold_their_level_where_there_is_no_difference(simulated):
    """But for three standard errors of the trials, and a little for skewness."""
    p_values, covered = simulated
    for level in (0.05, 0.2):
        assert np.mean(p_values < level) < level + 3 * np.sqrt(level * (1 - level) / _TRIALS) + 0.005
    assert 0.92 < covered.mean() < 0.98


def test_unexpanded_p_values_would_be_too_small():
    """Why they are expanded: with 6 recordings every eighth plain p-value is below 0.05 where nothing is."""
    rng = np.random.default_rng(6)
    sums = rng.standard_normal((1_000, 6))
    draws = sums[:, rng.integers(6, size=(499, 6))].mean(axis=2)
    plain = [bootstrap_p(row, 10**9) for row in draws]
    expanded = [bootstrap_p(row, 6) for row in draws]
    assert np.mean(np.array(plain) < 0.05) > 0.1
    assert np.mean(np.array(expanded) < 0.05) < 0.07
