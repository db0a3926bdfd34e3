"""Whether a confidence is the probability that it claims to be.

Conventions
-----------
`confidence` has shape (n,), in [0, 1]; `right` has shape (n,), bool or 0/1. Bins are of equal width; a bin holds its
upper edge, and the first its lower one too.
"""

from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
    """What was claimed and what was so, among the confidences that fall into one bin."""

    low: float
    high: float
    count: int
    claimed: float
    """mean confidence; NaN in an empty bin"""
    right: float
    """share that was right; NaN in an empty bin"""


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> list[Bin]:
    """Claimed against observed, bin by bin: the figures behind a reliability diagram.

    Raises ValueError for shapes that differ or confidences outside [0, 1].
    """
    confidence, right = np.asarray(confidence, float), np.asarray(right, float)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"confidence has shape {confidence.shape}, right {right.shape}; give two equal rows")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence is not between 0 and 1")
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    found = []
    for k in range(bins):
        inside = place == k
        claimed, observed = (float(x[inside].mean()) if inside.any() else float("nan") for x in (confidence, right))
        found.append(Bin(float(edges[k]), float(edges[k + 1]), int(inside.sum()), claimed, observed))
    return found


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Mean distance of claimed and observed, sum over bins of count / n * abs(right - claimed); NaN of nothing.

    Guo et al., "On calibration of modern neural networks", ICML 2017, eq. 3; for the probability of one class, as here,
    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015. With few values it is
    too high: chance alone keeps a bin's share from its probability.
    """
    found = reliability(confidence, right, bins)
    total = sum(one.count for one in found)
    if not total:
        return float("nan")
    return sum(one.count * abs(one.claimed - one.right) for one in found if one.count) / total
