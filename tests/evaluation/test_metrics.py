"""Every figure against scikit-learn or a case worked by hand."""

import numpy as np
import pytest
import sklearn.metrics as sk
from sklearn.calibration import calibration_curve

from tarkib.evaluation import metrics

BY_DECISION = ("accuracy", "exact_match", "f1", "f1_micro")
BY_SCORE = ("roc_auc", "roc_auc_macro", "average_precision")


@pytest.fixture(params=["continuous", "tied"])
def scored(request):
    """60 clips, 5 classes: targets and probabilities, the latter once with many ties."""
    rng = np.random.default_rng(7)
    targets = (rng.random((60, 5)) < 0.35).astype(float)
    probabilities = np.clip(rng.normal(0.35 + 0.25 * targets, 0.2), 0, 1)
    return targets, probabilities if request.param == "continuous" else np.round(probabilities, 1)


def figures(targets, probabilities, weights=None):
    """All metrics by name."""
    predictions = metrics.predict(probabilities, 0.5)
    return {
        **{name: getattr(metrics, name)(targets, predictions, weights) for name in BY_DECISION},
        **{name: getattr(metrics, name)(targets, probabilities, weights) for name in BY_SCORE},
    }


def by_scikit_learn(targets, probabilities, times):
    predictions, counted = probabilities >= 0.5, {"sample_weight": times}
    return {
        "accuracy": 1 - sk.hamming_loss(targets, predictions, **counted),
        "exact_match": sk.accuracy_score(targets, predictions, **counted),
        "f1": sk.f1_score(targets, predictions, average=None, **counted),
        "f1_micro": sk.f1_score(targets, predictions, average="micro", **counted),
        "roc_auc": sk.roc_auc_score(targets, probabilities, average=None, **counted),
        "roc_auc_macro": sk.roc_auc_score(targets, probabilities, average="macro", **counted),
        "average_precision": sk.average_precision_score(targets, probabilities, average=None, **counted),
    }


def test_figures_agree_with_scikit_learn_without_and_with_weights(scored):
    targets, probabilities = scored
    plain, ones = figures(targets, probabilities), np.ones(len(targets))
    weights = np.random.default_rng(2).integers(0, 4, (6, len(targets)))
    weighted = figures(targets, probabilities, weights)
    cases = [(plain, ones), *(({name: weighted[name][i] for name in weighted}, row) for i, row in enumerate(weights))]
    for values, times in cases:
        expected = by_scikit_learn(targets, probabilities, times)
        assert values.keys() == expected.keys()
        for name, value in values.items():
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_unlabelled_cells_count_as_absent_clips_for_scikit_learn(scored):
    targets, probabilities = scored
    predictions = metrics.predict(probabilities, 0.5)
    targets = np.where(np.random.default_rng(3).random(targets.shape) < 0.3, np.nan, targets)
    there = ~np.isnan(targets)
    labels, decisions = targets[there], predictions[there]
    assert metrics.accuracy(targets, predictions) == pytest.approx(sk.accuracy_score(labels, decisions), abs=1e-12)
    assert metrics.f1_micro(targets, predictions) == pytest.approx(sk.f1_score(labels, decisions), abs=1e-12)
    for figure, reference, given in (
        (metrics.f1, sk.f1_score, predictions),
        (metrics.roc_auc, sk.roc_auc_score, probabilities),
        (metrics.average_precision, sk.average_precision_score, probabilities),
    ):
        by_class = [reference(targets[rows, k], given[rows, k]) for k, rows in enumerate(there.T)]
        np.testing.assert_allclose(figure(targets, given), by_class, rtol=0, atol=1e-12)


def test_unlabelled_cells_count_nowhere():
    targets = np.array([[1, np.nan], [0, np.nan], [1, 1.0], [np.nan, np.nan]])
    predictions = np.array([[True, True], [True, False], [True, False], [True, True]])
    assert metrics.accuracy(targets, predictions) == pytest.approx(2 / 4)
    # Clip 3 has no label at all: three clips count, of which only clip 0 is all right.
    assert metrics.exact_match(targets, predictions) == pytest.approx(1 / 3)
    cells = [cells.tolist() for cells in metrics.confusion(targets, predictions)]
    assert cells == [[2, 0], [1, 0], [0, 1], [0, 0]]


def test_figures_without_positives_or_predictions():
    targets, probabilities = np.array([[1.0, 0.0]]), np.array([[0.9, 0.8]])
    assert metrics.accuracy(targets, probabilities >= 0.5) == 0.5
    assert np.isnan(metrics.roc_auc_macro(targets, probabilities))
    assert np.isnan(metrics.f1(targets, probabilities >= 0.5)).all()
    assert np.isnan(metrics.f1_micro(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool)))
    assert metrics.f1(np.array([[1.0], [0.0]]), np.zeros((2, 1), dtype=bool)).tolist() == [0.0]


def test_best_thresholds_reach_the_greatest_f1(scored):
    targets, probabilities = scored
    thresholds = metrics.best_thresholds(targets, probabilities)
    reached = metrics.f1(targets, metrics.predict(probabilities, thresholds))
    every = np.unique(np.concatenate([probabilities.ravel(), np.linspace(0, 1, 501)]))
    possible = [metrics.f1(targets, metrics.predict(probabilities, threshold)) for threshold in every]
    np.testing.assert_allclose(reached, np.max(possible, axis=0), rtol=0, atol=1e-12)
    order = np.random.default_rng(1).permutation(len(targets))
    assert np.array_equal(metrics.best_thresholds(targets[order], probabilities[order]), thresholds)


@pytest.mark.parametrize(
    ("targets", "probabilities", "threshold"),
    [
        ([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.9], 0.5),
        # Predicting all four reaches F1 2/3, any fewer at most 1/2.
        ([1, 0, 1, 0], [0.1, 0.3, 0.7, 0.9], 0.05),
        ([0, 1, 0, 1], [0.1, 0.3, 0.7, 0.9], 0.2),
        # One of two positives without a false alarm and all four are equally good: the nearest to 0.5 is taken.
        ([1, 0, 0, 1], [0.1, 0.2, 0.3, 0.9], 0.6),
        # Of 0.25 and 0.75, equally good and equally far, the lower is taken.
        ([1, 0, 0, 1], [0.5, 0.5, 0.5, 1.0], 0.25),
        # Without negatives, positives or labels there is nothing to choose.
        ([1, 1], [0.9, 0.9], 0.5),
        ([0, 0], [0.9, 0.9], 0.5),
        ([np.nan, np.nan], [0.9, 0.9], 0.5),
    ],
)
def test_best_thresholds_by_hand(targets, probabilities, threshold):
    found = metrics.best_thresholds(np.array(targets, float)[:, None], np.array(probabilities)[:, None])
    assert found == pytest.approx(threshold)


@pytest.mark.parametrize(("recordings", "chosen"), [((1, 9), False), ((3, 9), False), ((9, 3), False), ((4, 4), True)])
def test_few_recordings_choose_no_threshold(recordings, chosen):
    """48 clips are one observation where all are of one recording."""
    targets = np.repeat([[0.0], [1]], 24, axis=0)
    probabilities = np.repeat([[0.98], [0.994]], 24, axis=0)
    counts = np.array(recordings)[:, None]
    assert metrics.choosable(targets, counts).tolist() == [chosen]
    expected = 0.987 if chosen else metrics.DEFAULT_THRESHOLD
    assert metrics.best_thresholds(targets, probabilities, counts) == pytest.approx(expected)
    assert not metrics.choosable(np.ones((48, 1)), [[9], [9]]).any()


@pytest.mark.parametrize(
    ("targets", "probabilities"),
    [
        (np.zeros(3), np.zeros(3)),
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (np.zeros((0, 10)), np.zeros((0, 10))),
        (np.full((2, 3), 0.4), np.zeros((2, 3))),
        (np.zeros((2, 3)), np.full((2, 3), 1.2)),
        (np.zeros((2, 3)), np.full((2, 3), np.nan)),
    ],
)
def test_wrong_arrays_are_refused(targets, probabilities):
    with pytest.raises(ValueError):
        metrics.roc_auc(targets, probabilities)


def test_the_calibration_error_by_hand():
    """Two bins: 0.3 claimed and half right, 0.9 claimed and three of four right."""
    confidence, right = np.array([0.2, 0.4, 0.9, 0.9, 0.9, 0.9]), np.array([1, 0, 1, 1, 1, 0])
    low, high = metrics.reliability(confidence, right, bins=2)
    assert (low.low, low.high, low.count, high.count) == (0.0, 0.5, 2, 4)
    assert (low.claimed, low.right, high.claimed, high.right) == pytest.approx((0.3, 0.5, 0.9, 0.75))
    error = metrics.expected_calibration_error(confidence, right, bins=2)
    assert error == pytest.approx((2 * 0.2 + 4 * 0.15) / 6)
    assert np.isnan(metrics.expected_calibration_error(np.zeros(0), np.zeros(0)))


def test_bins_of_confidence_agree_with_scikit_learn_and_edges_fall_into_the_lower_one():
    rng = np.random.default_rng(2)
    confidence = rng.beta(0.6, 1.2, 500)
    right = rng.random(500) < confidence**2
    observed, claimed = calibration_curve(right, confidence, n_bins=10)
    bins = metrics.reliability(confidence, right)
    assert [each.right for each in bins] == pytest.approx(observed)
    assert [each.claimed for each in bins] == pytest.approx(claimed)
    counts = [each.count for each in metrics.reliability(np.linspace(0, 1, 11), np.ones(11))]
    assert counts == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]
