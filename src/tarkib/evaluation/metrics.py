"""Metrics of multi-label recognition.

targets : shape ``(n, c)``, n clips by c classes: 1 present, 0 absent, NaN not labelled.
probabilities : shape ``(n, c)``, 0..1, without NaN.
predictions : shape ``(n, c)``, bool, as :func:`predict` gives them.
weights : how often each clip counts, shape ``(n,)``, or ``(r, n)`` for r resamples at once; once each by default. The
    result has the leading axis of the weights, and is that of the clips repeated as often as their weights say.

Cells without a label are ignored everywhere. A class is *defined* where its labelled clips hold a positive and a
negative. Metrics by class, shape ``(c,)`` or ``(r, c)``, are NaN where the class is undefined, and macro metrics are
the mean over the defined classes. Accuracy, exact match and micro F1 pool the cells of all labelled classes, so that a
false alarm counts even for an instrument that never plays.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DEFAULT_THRESHOLD = 0.5
"""Threshold of a class for which none can be chosen."""

FEWEST_RECORDINGS = 4
"""Recordings with an instrument, and without it, that choosing its threshold takes; see :func:`choosable`."""


@dataclass(frozen=True)
class Bin:
    """A bin of a reliability diagram: mean confidence and share that was right, both NaN in an empty bin."""

    low: float
    high: float
    count: int
    claimed: float
    right: float


def validate(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64; ValueError for wrong shapes or values."""
    targets, probabilities = (np.asarray(values, dtype=np.float64) for values in (targets, probabilities))
    if targets.ndim != 2 or targets.shape != probabilities.shape or not len(targets):
        raise ValueError(f"targets have shape {targets.shape}, probabilities {probabilities.shape}; give equal ones")
    if not (np.isin(targets[~np.isnan(targets)], (0, 1)).all() and ((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("targets must be 0, 1 or NaN (not labelled), probabilities within 0..1")
    return targets, probabilities


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide, NaN where the denominator is 0; a scalar where both are."""
    quotient = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)[()]


def defined(targets: np.ndarray) -> np.ndarray:
    """Which classes have a positive and a negative among their labelled clips; bool, shape (c,)."""
    return np.any(targets == 1, axis=0) & np.any(targets == 0, axis=0)


def predict(probabilities: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """Which classes are at or above their thresholds (one, or one a class); bool, shape (n, c)."""
    return np.asarray(probabilities) >= np.asarray(thresholds)


def _count(cells: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Weighted sum over the clips, the first axis."""
    cells = cells.astype(np.float64)
    return np.sum(cells, axis=0) if weights is None else weights @ cells


def confusion(
    targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """True positives, false positives, false negatives and true negatives of each class."""
    present, absent = targets == 1, targets == 0
    cells = (predictions & present, predictions & absent, ~predictions & present, ~predictions & absent)
    return tuple(_count(cell, weights) for cell in cells)


def _pooled(*by_class: np.ndarray) -> list[np.ndarray]:
    return [cells.sum(axis=-1) for cells in by_class]


def accuracy(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of correct cells, 0..1: 1 - Hamming loss (Schapire and Singer, Machine Learning 37, 1999).

    This is the accuracy of arXiv 2511.05717. With three of ten classes in a clip, predicting none already gives 0.7.
    """
    tp, fp, fn, tn = _pooled(*confusion(targets, predictions, weights))
    return divide(tp + tn, tp + fp + fn + tn)


def exact_match(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of labelled clips without a wrong cell, 0..1: subset accuracy (Ghamrawi and McCallum, CIKM 2005)."""
    labelled = ~np.isnan(targets)
    counted = labelled.any(axis=1)
    exact = counted & np.all((predictions == targets) | ~labelled, axis=1)
    return divide(_count(exact, weights), _count(counted, weights))


def f1(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of each class, 2 tp / (2 tp + fp + fn) (van Rijsbergen, Information Retrieval, 1979, chapter 7)."""
    tp, fp, fn, tn = confusion(targets, predictions, weights)
    return np.where((tp + fn > 0) & (fp + tn > 0), divide(2 * tp, 2 * tp + fp + fn), np.nan)


def f1_micro(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of all cells pooled (Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008, 13.6)."""
    tp, fp, fn, _ = _pooled(*confusion(targets, predictions, weights))
    return divide(2 * tp, 2 * tp + fp + fn)


def roc_auc(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under each class's ROC curve.

    (pairs of a positive and a negative in the right order + half of the ties) / all such pairs: the probability that a
    positive clip scores above a negative one (Hanley and McNeil, Radiology 143, 1982).
    """

    def area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        below = np.cumsum(negative, axis=-1) - negative / 2
        return divide(np.sum(positive * below, axis=-1), positive.sum(axis=-1) * negative.sum(axis=-1))

    return _by_class(area, targets, probabilities, weights)


def roc_auc_macro(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean of the defined classes' ROC-AUC."""
    return macro(roc_auc(targets, probabilities, weights))


def average_precision(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision of each class.

    The sum over falling thresholds of (gain in recall) * precision, clips of equal score taken together, without
    interpolation (Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008, section 8.4).
    """

    def area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        positive, negative = positive[..., ::-1], negative[..., ::-1]
        true = np.cumsum(positive, axis=-1)
        precision = np.nan_to_num(divide(true, true + np.cumsum(negative, axis=-1)))
        gained = np.sum(positive * precision, axis=-1)
        return np.where(negative.sum(axis=-1) > 0, divide(gained, positive.sum(axis=-1)), np.nan)

    return _by_class(area, targets, probabilities, weights)


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over the defined classes, the last axis; NaN without any.

    Macro F1 is so the mean of F1s, not the F1 of means (Opitz and Burst, arXiv 1911.03347).
    """
    present = ~np.isnan(values)
    return divide(np.where(present, values, 0.0).sum(axis=-1), present.sum(axis=-1))


def _by_class(
    area: Callable[[np.ndarray, np.ndarray], np.ndarray],
    targets: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    """Apply a function of the weights of the positives and negatives at each distinct score, rising, to each class."""
    targets, probabilities = validate(targets, probabilities)
    weights = np.ones(len(targets)) if weights is None else weights
    values = np.full((*weights.shape[:-1], targets.shape[1]), np.nan)
    for k in np.flatnonzero(defined(targets)):
        order, _, starts = _sorted(targets[:, k], probabilities[:, k])
        total = np.add.reduceat(weights[..., order], starts, axis=-1)
        positive = np.add.reduceat(weights[..., order] * targets[order, k], starts, axis=-1)
        values[..., k] = area(positive, total - positive)
    return values


def _sorted(target: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the labelled clips by rising score, the distinct scores, and where each starts among the indices."""
    labelled = np.flatnonzero(~np.isnan(target))
    order = labelled[np.argsort(score[labelled], kind="stable")]
    return order, *np.unique(score[order], return_index=True)


def choosable(targets: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """For which classes these clips are enough to choose a threshold by; bool, shape (c,).

    A class must be defined, with `FEWEST_RECORDINGS` recordings among its positives and as many among its negatives.
    Clips of one recording count as one observation (Kish, Survey Sampling, 1965: full correlation within clusters). All
    of n recordings score above the instrument's median with probability 2**-n (the sign test); a threshold just below
    them then misses half of the others. 4 recordings make that 1 in 16, 3 make it 1 in 8; 1 in 10 is accepted.

    recordings : number of distinct recordings among the positive and the negative clips of each class, shape (2, c).
    """
    return defined(targets) & np.all(np.asarray(recordings) >= FEWEST_RECORDINGS, axis=0)


def best_thresholds(targets: np.ndarray, probabilities: np.ndarray, recordings: np.ndarray | None = None) -> np.ndarray:
    """Threshold of greatest F1 for each class, shape (c,), to be chosen on validation data.

    `DEFAULT_THRESHOLD` for a class that is undefined or, given `recordings`, not :func:`choosable`. On the test set the
    choice would flatter (Lipton, Elkan and Narayanaswamy, Optimal thresholding of classifiers to maximize F1 measure,
    ECML PKDD 2014). Candidates lie midway between neighbouring scores, and between 0 and the lowest. Of equally good
    ones the nearest to 0.5 is taken, then the lower.
    """
    targets, probabilities = validate(targets, probabilities)
    thresholds = np.full(targets.shape[1], DEFAULT_THRESHOLD)
    for k in np.flatnonzero(defined(targets) if recordings is None else choosable(targets, recordings)):
        order, scores, starts = _sorted(targets[:, k], probabilities[:, k])
        # Predicting all clips from a start on: sums from the end.
        true = np.cumsum(targets[order[::-1], k])[::-1]
        quality = 2 * true[starts] / (len(order) - starts + true[0])
        candidates = ((np.append(0.0, scores[:-1]) + scores) / 2)[quality == quality.max()]
        thresholds[k] = min(candidates, key=lambda candidate: (abs(candidate - DEFAULT_THRESHOLD), candidate))
    return thresholds


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> list[Bin]:
    """Mean confidence against the share that was right, in bins of equal width that include their upper edge.

    confidence : shape (n,), 0..1; right : shape (n,), bool or 0/1.
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        claimed, observed = (np.bincount(place, values, bins) / count for values in (confidence, right))
    return list(map(Bin, *(column.tolist() for column in (edges[:-1], edges[1:], count, claimed, observed))))


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Sum over bins of count / n * abs(right - claimed); NaN without values.

    Guo et al., "On calibration of modern neural networks", ICML 2017, eq. 3; for binary labels as here, Naeini et al.,
    "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015. Biased upwards for few values.
    """
    filled = [each for each in reliability(confidence, right, bins) if each.count]
    error = sum(each.count * abs(each.claimed - each.right) for each in filled)
    return error / len(confidence) if filled else float("nan")
