"""Whether confidences are the probabilities of being right.

`confidence` has shape (n,), in 0..1, and `right` shape (n,), bool or 0/1. Bins have equal width and include their upper
edge, the first also its lower one.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bin:
    """A bin of a reliability diagram: mean confidence and share that was right, both NaN in an empty bin."""

    low: float
    high: float
    count: int
    claimed: float
    right: float


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> list[Bin]:
    """Mean confidence against the share that was right, bin by bin.

    Raises ValueError for shapes that differ or confidences outside 0..1.
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"confidence has shape {confidence.shape}, right {right.shape}; give equal vectors")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence is not between 0 and 1")
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
    total = sum(each.count for each in filled)
    return sum(each.count * abs(each.claimed - each.right) for each in filled) / total if total else float("nan")
