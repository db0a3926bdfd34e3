"""The figures that are compared: of one experiment's predictions, as functions of how often each clip counts.

Conventions are those of `tarkib.evaluation.metrics`: targets and probabilities ``(n, c)``, weights ``(r, n)``, NaN
where a figure is undefined.
"""

import numpy as np

from tarkib.evaluation import metrics

HEADLINE = {
    "accuracy": "accuracy",
    "accuracy_at_half": "accuracy at 0.5",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "roc_auc": "ROC-AUC",
    "average_precision": "mAP",
}
"""What modes are compared by, with titles; ROC-AUC and mAP are macro. Of all figures here more is better."""

BY_CLASS = {"class_f1": "F1", "class_roc_auc": "ROC-AUC"}
"""What is told of each instrument, shape (r, c)."""

BY_POLYPHONY = {"polyphony_accuracy": "accuracy", "polyphony_f1_micro": "F1 micro"}
"""What is told of the clips in which so many instruments play, shape (r, numbers)."""


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
            **classes,
            **groups,
        }
