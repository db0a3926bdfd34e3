"""Figures that say how well several instruments at once are recognised.

Conventions
-----------
Targets have shape ``(n, c)``, n clips by c classes: 1 present, 0 absent, NaN not labelled (a class that the labeller
did not listen for). Probabilities (scores) have the same shape, in 0..1, no NaN; a class counts as predicted where its
probability is at or above its threshold. Cells without a label are left out of everything.

A class is *defined* where its labelled clips hold both a positive and a negative. Figures of one class are NaN where
the class is not defined, and macro figures are the mean over the defined classes. Accuracy, exact match and micro F1
pool the cells of all labelled classes, defined or not, so that a false alarm counts even for an instrument that never
plays.

Every figure takes `weights`, shape ``(r, n)``: how often each clip counts in each of r resamples of the clips. The
figure of resample i is then exactly the figure of the clips repeated as ``weights[i]`` says, and the result gains a
leading axis of length r. Without weights every clip counts once.

Metrics
-------
* :func:`accuracy`: share of right cells
* :func:`exact_match`: share of clips with all cells right
* :func:`f1`, :func:`f1_macro`, :func:`f1_micro`: harmonic mean of precision and recall
* :func:`roc_auc`, :func:`roc_auc_macro`: area under the ROC curve
* :func:`average_precision`, :func:`average_precision_macro`: area under the precision-recall curve
* :func:`best_thresholds`: the thresholds of greatest F1, of the classes that are :func:`choosable`
"""

from collections.abc import Iterator

import numpy as np

from tarkib.errors import TarkibError

DEFAULT_THRESHOLD = 0.5
"""The threshold of a class for which no better one can be found."""

FEWEST_RECORDINGS = 4
"""So many recordings of an instrument, and without it, a threshold is chosen from; see :func:`choosable`."""


def validate(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and probabilities as float64, shape (n, c), after checking the conventions.

    Raises TarkibError where there is no clip to score, ValueError for wrong shapes or values.
    """
    targets, probabilities = _table(targets), _table(probabilities)
    if targets.shape != probabilities.shape:
        raise ValueError(f"targets have shape {targets.shape}, probabilities {probabilities.shape}; they must be equal")
    if len(targets) == 0:
        raise TarkibError("the test set holds no clips; add rows with their audio files to its labels.csv")
    _check_targets(targets)
    if not np.all((probabilities >= 0) & (probabilities <= 1)):
        raise ValueError("probabilities must be within 0..1, without NaN; apply the sigmoid to logits first")
    return targets, probabilities


def _table(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"expected shape (clips, classes), found {values.shape}")
    return values


def _check_targets(targets: np.ndarray) -> None:
    if not np.all((targets == 0) | (targets == 1) | np.isnan(targets)):
        raise ValueError("targets must be 0, 1 or NaN (not labelled); cut soft labels first")


def defined(targets: np.ndarray) -> np.ndarray:
    """Say which classes have both a positive and a negative among their labelled clips; shape (c,)."""
    return np.any(targets == 1, axis=0) & np.any(targets == 0, axis=0)


def predict(probabilities: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """Decide which classes are present, shape (n, c), by one threshold or one for each class, shape (c,)."""
    probabilities = _table(probabilities)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.shape not in {(), (probabilities.shape[1],)}:
        raise ValueError(f"expected {probabilities.shape[1]} thresholds, found shape {thresholds.shape}")
    if not np.all((thresholds >= 0) & (thresholds <= 1)):
        raise ValueError("thresholds must be within 0..1")
    return probabilities >= thresholds


def accuracy(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of right (clip, class) cells, (tp + tn) / (tp + fp + fn + tn) over all, 0..1.

    That is the accuracy of arXiv 2511.05717, and 1 - the Hamming loss (Schapire and Singer, Machine Learning 37, 1999).
    Where three of ten classes play in a clip, predicting nothing at all already reaches 0.7.
    """
    targets, predictions, weights_, shape = _prepare(targets, predictions, weights)
    right = np.sum(predictions == targets, axis=1)
    labelled = np.sum(~np.isnan(targets), axis=1)
    return _divide(weights_ @ right, weights_ @ labelled).reshape(shape)[()]


def exact_match(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of clips whose labelled cells are all right, 0..1.

    Also called subset accuracy (Ghamrawi and McCallum, Collective multi-label classification, CIKM 2005). Clips without
    a label are not counted.
    """
    targets, predictions, weights_, shape = _prepare(targets, predictions, weights)
    labelled = ~np.isnan(targets)
    counts = labelled.any(axis=1)
    exact = counts & np.all((predictions == targets) | ~labelled, axis=1)
    return _divide(weights_ @ exact, weights_ @ counts).reshape(shape)[()]


def confusion(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Count true and false positives and negatives (`tp`, `fp`, `fn`, `tn`) of each class, each of shape (c,)."""
    targets, predictions, weights_, shape = _prepare(targets, predictions, weights)
    cells = {
        "tp": predictions & (targets == 1),
        "fp": predictions & (targets == 0),
        "fn": ~predictions & (targets == 1),
        "tn": ~predictions & (targets == 0),
    }
    return {name: (weights_ @ cell.astype(np.float64)).reshape(*shape, -1) for name, cell in cells.items()}


def f1(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of each class, 2 tp / (2 tp + fp + fn), shape (c,); 0 for a class never found, NaN for one not defined.

    The harmonic mean of precision tp / (tp + fp) and recall tp / (tp + fn): van Rijsbergen, Information Retrieval,
    1979, chapter 7.
    """
    counts = confusion(targets, predictions, weights)
    positives, negatives = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    values = _divide(2 * counts["tp"], counts["tp"] + counts["fp"] + positives)
    return np.where((positives > 0) & (negatives > 0), values, np.nan)


def f1_macro(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean of the defined classes' F1 (the mean of F1s, not the F1 of means: Opitz and Burst, arXiv 1911.03347)."""
    return macro(f1(targets, predictions, weights))


def f1_micro(targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of all cells pooled, 2 tp / (2 tp + fp + fn) of the classes' sums; NaN where all cells are true negatives.

    Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008, section 13.6: frequent classes weigh
    more than in the macro mean.
    """
    counts = {name: cell.sum(axis=-1) for name, cell in confusion(targets, predictions, weights).items()}
    return _divide(2 * counts["tp"], 2 * counts["tp"] + counts["fp"] + counts["fn"])


def roc_auc(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under each class's ROC curve, shape (c,); NaN where the class is undefined.

    (pairs of a positive and a negative in the right order + half of the ties) / (all such pairs): the probability that
    a positive clip scores above a negative one (Hanley and McNeil, Radiology 143, 1982).
    """
    return _by_class(_roc_auc, targets, probabilities, weights)


def roc_auc_macro(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean of the defined classes' ROC-AUC; NaN where none is."""
    return macro(roc_auc(targets, probabilities, weights))


def average_precision(targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Average precision of each class, shape (c,); NaN where the class is undefined.

    The sum over falling thresholds t of (recall(t) - recall before t) * precision(t), clips of equal score taken
    together, without interpolation (Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008,
    section 8.4).
    """
    return _by_class(_average_precision, targets, probabilities, weights)


def average_precision_macro(
    targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Mean of the defined classes' average precision (mAP); NaN where none is."""
    return macro(average_precision(targets, probabilities, weights))


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, the classes, leaving out NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    return _divide(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def choosable(targets: np.ndarray, recordings: np.ndarray) -> np.ndarray:
    """Say for which classes these clips are enough to choose a threshold by; shape (c,).

    A class must be defined, and have `FEWEST_RECORDINGS` among its positives and as many among its negatives. Clips of
    one recording sound alike, so they count as one observation however many they are: a cluster in Kish's sense (Survey
    Sampling, 1965, the design effect at full correlation within clusters). A threshold separates the lowest positive
    scores from the highest negative ones. All n of n recordings score above the median of the instrument's recordings
    with probability 2**-n (the sign test), and then a threshold below all that were seen still misses half of the
    others. With 4 recordings that is 1 in 16, with 3 it is 1 in 8; at most 1 in 10 is accepted.

    recordings : distinct recordings among the positive and the negative clips of each class, shape (2, c).
    """
    return defined(targets) & np.all(np.asarray(recordings) >= FEWEST_RECORDINGS, axis=0)


def best_thresholds(targets: np.ndarray, probabilities: np.ndarray, recordings: np.ndarray | None = None) -> np.ndarray:
    """Threshold of greatest F1 for each class, shape (c,); 0.5 for a class that is not defined.

    With `recordings` also for one that is not :func:`choosable`. A probability fitted by cross-entropy makes the fewest
    errors at 0.5 without being tuned.

    To be found on validation data: on the test set they would flatter (Lipton, Elkan and Narayanaswamy, Optimal
    thresholding of classifiers to maximize F1 measure, ECML PKDD 2014, also on what they do to a rare class).
    Candidates lie midway between neighbouring scores, and between the lowest score and 0 (all predicted). Of equally
    good ones the nearest to 0.5 is taken, then the lower.
    """
    targets, probabilities = validate(targets, probabilities)
    thresholds = np.full(targets.shape[1], DEFAULT_THRESHOLD)
    for k in np.flatnonzero(defined(targets) if recordings is None else choosable(targets, recordings)):
        scores, starts, positive, _ = _groups(targets[:, k], probabilities[:, k])
        sizes = np.diff(np.append(starts, len(positive)))
        present = np.add.reduceat(positive, starts)
        # Predicting group i and all above it: sums from the end, as groups rise in score.
        found, predicted = np.cumsum(present[::-1])[::-1], np.cumsum(sizes[::-1])[::-1]
        quality = 2 * found / (predicted + present.sum())
        below = np.append(0.0, scores[:-1])
        middle = (below + scores) / 2
        # Between neighbouring floating-point numbers the middle may round down to the lower one.
        candidates = np.where(middle > below, middle, scores)[quality == quality.max()]
        thresholds[k] = min(candidates, key=lambda candidate: (abs(candidate - DEFAULT_THRESHOLD), candidate))
    return thresholds


def _prepare(
    targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Check decisions against targets; give both, the weights (r, n), and the leading shape of the result."""
    targets, predictions = _table(targets), np.asarray(predictions)
    if targets.shape != predictions.shape or predictions.dtype != np.bool_:
        raise ValueError(f"predictions must be booleans of shape {targets.shape}; see predict()")
    _check_targets(targets)
    return targets, predictions, *_weights(weights, len(targets))


def _weights(weights: np.ndarray | None, clips: int) -> tuple[np.ndarray, tuple[int, ...]]:
    if weights is None:
        return np.ones((1, clips)), ()
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != clips or np.any(weights < 0):
        raise ValueError(f"weights must be non-negative, of shape (resamples, {clips})")
    return weights, (len(weights),)


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide, giving NaN where the divisor is 0, and a plain number rather than an array without axes."""
    return np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > 0)[()]


def _groups(target: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sort a class's labelled clips by score and find the runs of equal score.

    Returns the distinct scores, rising; where each one's run starts among the sorted clips; the sorted clips' targets;
    and the sorted clips' indices among all clips.
    """
    labelled = np.flatnonzero(~np.isnan(target))
    order = labelled[np.argsort(score[labelled], kind="stable")]
    scores, starts = np.unique(score[order], return_index=True)
    return scores, starts, target[order], order


def _by_class(function, targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Apply a function of the positives and negatives at each distinct score, shapes (r, scores), to every class."""
    targets, probabilities = validate(targets, probabilities)
    weights_, shape = _weights(weights, len(targets))
    values = np.full((len(weights_), targets.shape[1]), np.nan)
    for k, (positive, negative) in _tallies(targets, probabilities, weights_):
        values[:, k] = function(positive, negative)
    return values.reshape(*shape, -1)


def _tallies(
    targets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray
) -> Iterator[tuple[int, tuple[np.ndarray, np.ndarray]]]:
    for k in np.flatnonzero(defined(targets)):
        _, starts, target, order = _groups(targets[:, k], probabilities[:, k])
        sorted_weights = weights[:, order]
        total = np.add.reduceat(sorted_weights, starts, axis=1)
        positive = np.add.reduceat(sorted_weights * target, starts, axis=1)
        yield k, (positive, total - positive)


def _roc_auc(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    below = np.cumsum(negative, axis=1) - negative / 2
    return _divide(np.sum(positive * below, axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _average_precision(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    positive, negative = positive[:, ::-1], negative[:, ::-1]
    found = np.cumsum(positive, axis=1)
    precision = _divide(found, found + np.cumsum(negative, axis=1))
    # A score that no clip of the resample has gains no recall, whatever its precision.
    gained = np.sum(positive * np.nan_to_num(precision), axis=1)
    return np.where(negative.sum(axis=1) > 0, _divide(gained, positive.sum(axis=1)), np.nan)
