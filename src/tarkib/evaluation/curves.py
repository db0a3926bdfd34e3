"""ROC and precision-recall curves: of each class, pooled (micro) and averaged over the classes (macro).

Conventions
-----------
A curve is an array of points ``(k, 2)`` with rising x, k at most `POINTS`: false and true positive rate, to be joined
by straight lines; or recall and precision, to be drawn as steps, a precision holding from the recall before it up to
its own. The area under either, unthinned, is then `metrics.roc_auc` and `metrics.average_precision`.
"""

from collections.abc import Callable

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from tarkib.evaluation.scores import Scores

POINTS = 200
"""Points of a curve at most: more than a screen shows, few enough for a page with many curves."""

MACRO, MICRO = "macro", "micro"


def roc(scores: Scores) -> dict[str, np.ndarray]:
    """ROC curves by name: macro (mean true at each false positive rate), micro, then each averaged class."""
    return _curves(scores, _roc, _mean_roc)


def precision_recall(scores: Scores) -> dict[str, np.ndarray]:
    """Precision-recall curves by name: macro (mean precision at each recall), micro, then each averaged class."""
    return _curves(scores, _precision_recall, _mean_precision)


def _curves(
    scores: Scores,
    one: Callable[[np.ndarray, np.ndarray], np.ndarray],
    mean: Callable[[list[np.ndarray]], np.ndarray],
) -> dict[str, np.ndarray]:
    by_class = {
        score.instrument: one(scores.targets[:, k], scores.probabilities[:, k])
        for k, score in enumerate(scores.classes)
        if score.left_out is None
    }
    if not by_class:
        return {}
    pooled = one(scores.targets.ravel(), scores.probabilities.ravel())
    curves = {MACRO: mean(list(by_class.values())), MICRO: pooled, **by_class}
    return {name: thin(curve) for name, curve in curves.items()}


def _roc(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    labelled = ~np.isnan(target)
    false_positive_rate, true_positive_rate, _ = roc_curve(target[labelled], score[labelled])
    return np.stack([false_positive_rate, true_positive_rate], axis=1)


def _precision_recall(target: np.ndarray, score: np.ndarray) -> np.ndarray:
    labelled = ~np.isnan(target)
    precision, recall, _ = precision_recall_curve(target[labelled], score[labelled])
    curve = np.stack([recall, precision], axis=1)[::-1]
    # scikit-learn's first point, precision 1 at recall 0, is of no threshold; the first step begins there instead.
    curve[0, 1] = curve[1, 1]
    return curve


def _mean_roc(curves: list[np.ndarray]) -> np.ndarray:
    grid = np.linspace(0, 1, POINTS - 1)
    rates = np.mean([np.interp(grid, curve[:, 0], curve[:, 1]) for curve in curves], axis=0)
    return np.concatenate([[(0.0, 0.0)], np.stack([grid, rates], axis=1)])


def _mean_precision(curves: list[np.ndarray]) -> np.ndarray:
    grid = np.linspace(0, 1, POINTS)
    # A recall that is on the grid but for rounding belongs to the step that ends there.
    steps = [curve[np.searchsorted(curve[:, 0], grid - 1e-9), 1] for curve in curves]
    return np.stack([grid, np.mean(steps, axis=0)], axis=1)


def thin(curve: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Keep at most so many points of a curve (k, 2), evenly spaced along its length, both ends among them."""
    if len(curve) <= points:
        return curve
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    kept = np.searchsorted(length, np.linspace(0, length[-1], points))
    kept[-1] = len(curve) - 1
    return curve[np.unique(kept)]
