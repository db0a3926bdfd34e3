"""The figures that are compared: of one experiment's predictions, as functions of how often each clip counts.

Conventions are those of `tarkib.evaluation.metrics`: targets and probabilities ``(n, c)``, weights ``(r, n)``, NaN
where a figure is undefined.
"""

from typing import NamedTuple

import numpy as np

from tarkib.evaluation import calibration, metrics


class Figure(NamedTuple):
    """A figure in 0..1: what it is called, and whether more of it is better (1) or worse (-1)."""

    title: str
    sign: int


HEADLINE = {
    "accuracy": Figure("accuracy", 1),
    "accuracy_at_half": Figure("accuracy at 0.5", 1),
    "f1_macro": Figure("F1 macro", 1),
    "f1_micro": Figure("F1 micro", 1),
    "roc_auc": Figure("ROC-AUC", 1),
    "average_precision": Figure("mAP", 1),
    "calibration_error": Figure("ECE", -1),
}
"""What is told of each mode; ROC-AUC and mAP are macro."""

BY_CLASS = {"class_f1": Figure("F1", 1), "class_roc_auc": Figure("ROC-AUC", 1)}
"""What is told of each instrument, shape (r, c)."""

BY_POLYPHONY = {"polyphony_accuracy": Figure("accuracy", 1), "polyphony_f1_micro": Figure("F1 micro", 1)}
"""What is told of the clips in which so many instruments play, shape (r, numbers)."""

BINS = 10


class Statistic:
    """Every figure of one experiment as a function of weights.

    Parameters
    ----------
    targets : shape (n, c): 1 plays, 0 does not, NaN not to be scored.
    probabilities : shape (n, c).
    decisions : shape (n, c), bool: what was found at the thresholds from validation.
    played : shape (n,): how many instruments play in each clip.
    """

    def __init__(self, targets: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray, played: np.ndarray):
        self.targets, self.probabilities = metrics.validate(targets, probabilities)
        self.decisions = decisions
        self.at_half = metrics.predict(self.probabilities, metrics.HALF)
        self.clips_with = [played == number for number in np.unique(played)]
        self._calibration = _Calibration(self.targets, self.probabilities)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures by name, each of shape (r, ...), of weights of shape (r, n)."""
        targets, decisions = self.targets, self.decisions
        classes = {
            "class_f1": metrics.f1(targets, decisions, weights),
            "class_roc_auc": metrics.roc_auc(targets, self.probabilities, weights),
        }
        pooled = {
            "polyphony_accuracy": metrics.accuracy,
            "polyphony_f1_micro": metrics.f1_micro,
        }
        groups = {
            name: np.stack([f(targets[one], decisions[one], weights[:, one]) for one in self.clips_with], axis=1)
            for name, f in pooled.items()
        }
        return {
            "accuracy": metrics.accuracy(targets, decisions, weights),
            "accuracy_at_half": metrics.accuracy(targets, self.at_half, weights),
            "f1_macro": metrics.macro(classes["class_f1"]),
            "f1_micro": metrics.f1_micro(targets, decisions, weights),
            "roc_auc": metrics.macro(classes["class_roc_auc"]),
            "average_precision": metrics.average_precision_macro(targets, self.probabilities, weights),
            "calibration_error": self._calibration(weights),
            **classes,
            **groups,
        }


class _Calibration:
    """Expected calibration error of all scored cells pooled, as `calibration.expected_calibration_error`, by weights.

    What a bin holds is a sum over clips, so a resample's bins are a product of its weights with the clips' sums.
    """

    def __init__(self, targets: np.ndarray, probabilities: np.ndarray):
        labelled = ~np.isnan(targets)
        clip = np.nonzero(labelled)[0]
        claimed, present = probabilities[labelled], targets[labelled]
        lower = np.array([one.low for one in calibration.reliability(claimed, present, BINS)])
        # A bin holds its upper edge, the first its lower one too.
        place = np.maximum(np.searchsorted(lower, claimed, side="left") - 1, 0)
        self.counts, self.surplus = np.zeros((2, len(targets), BINS))
        np.add.at(self.counts, (clip, place), 1.0)
        np.add.at(self.surplus, (clip, place), claimed - present)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        cells = (weights @ self.counts).sum(axis=1)
        error = np.abs(weights @ self.surplus).sum(axis=1)
        return np.divide(error, cells, out=np.full(len(weights), np.nan), where=cells > 0)
