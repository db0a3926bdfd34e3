import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from tarkib.evaluation.calibration import expected_calibration_error, reliability


def test_a_case_worked_by_hand():
    """Two bins: 0.3 claimed and half right, 0.9 claimed and three of four right."""
    confidence = np.array([0.2, 0.4, 0.9, 0.9, 0.9, 0.9])
    right = np.array([1, 0, 1, 1, 1, 0])
    low, high = reliability(confidence, right, bins=2)
    assert (low.low, low.high, low.count, high.count) == (0.0, 0.5, 2, 4)
    assert (low.claimed, low.right) == pytest.approx((0.3, 0.5))
    assert (high.claimed, high.right) == pytest.approx((0.9, 0.75))
    assert expected_calibration_error(confidence, right, bins=2) == pytest.approx((2 * 0.2 + 4 * 0.15) / 6)


def test_bins_agree_with_scikit_learn():
    rng = np.random.default_rng(2)
    confidence = rng.beta(0.6, 1.2, 500)
    right = rng.random(500) < confidence**2
    observed, claimed = calibration_curve(right, confidence, n_bins=10)
    bins = reliability(confidence, right)
    assert [each.right for each in bins] == pytest.approx(observed)
    assert [each.claimed for each in bins] == pytest.approx(claimed)
    assert expected_calibration_error(confidence, right) > 0.1
    assert expected_calibration_error(np.ones(10), np.zeros(10)) == 1.0


def test_edges_fall_into_the_lower_bin_and_none_is_lost():
    bins = reliability(np.linspace(0, 1, 11), np.ones(11))
    assert [each.count for each in bins] == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_no_values_and_invalid_values():
    assert np.isnan(expected_calibration_error(np.zeros(0), np.zeros(0)))
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability(np.array([1.2]), np.array([1]))
    with pytest.raises(ValueError, match="equal vectors"):
        reliability(np.array([0.2, 0.3]), np.array([1]))
