"""The figures of one model's answers for one test set, as functions of how often each clip counts.

Conventions are those of `tarkib.evaluation.metrics`: targets and probabilities ``(n, c)``, weights ``(r, n)``, NaN
where a figure is undefined.
"""

from collections.abc import Sequence

import numpy as np

from tarkib.evaluation import metrics

BY_CLASS = ("f1", "f1_at_half", "roc_auc", "average_precision")
"""Figures of each class, called `class_<name>`, shape (r, c)."""

BY_POLYPHONY = ("accuracy", "exact_match", "f1_micro")
"""Figures of all cells pooled; of the clips in which so many instruments play called `polyphony_<name>`, shape (r,
numbers)."""


class Statistic:
    """Every figure that gets an interval, as a function of the clips' weights.

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
        self.at_half = metrics.predict(self.probabilities, metrics.DEFAULT_THRESHOLD)
        self.numbers = np.unique(played)
        """The numbers of instruments that there are, ascending."""
        self._clips_with = [played == number for number in self.numbers]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures by name, each of shape (r, ...), of weights of shape (r, n).

        Those of decisions are told at the thresholds from validation and, called `<name>_at_half`, at 0.5.
        """
        figures = {}
        for suffix, decisions in (("", self.decisions), ("_at_half", self.at_half)):
            for name in BY_POLYPHONY:
                figures[name + suffix] = getattr(metrics, name)(self.targets, decisions, weights)
            figures["class_f1" + suffix] = metrics.f1(self.targets, decisions, weights)
            figures["f1_macro" + suffix] = metrics.macro(figures["class_f1" + suffix])
        figures["class_roc_auc"] = metrics.roc_auc(self.targets, self.probabilities, weights)
        figures["class_average_precision"] = metrics.average_precision(self.targets, self.probabilities, weights)
        figures["roc_auc"] = metrics.macro(figures["class_roc_auc"])
        figures["average_precision"] = metrics.macro(figures["class_average_precision"])
        for name in BY_POLYPHONY:
            figure = getattr(metrics, name)
            columns = [
                figure(self.targets[clips], self.decisions[clips], weights[:, clips]) for clips in self._clips_with
            ]
            figures[f"polyphony_{name}"] = np.stack(columns, axis=1)
        return figures

    def lone(self, groups: Sequence[str]) -> dict[str, np.ndarray]:
        """By figure of a class or of a number of instruments, for which of them only one recording stands, bool.

        They get no interval: each resample of recordings has that one or nothing to say. `groups` names each clip's
        recording, length n.
        """
        names = np.asarray(groups, dtype=str)
        classes = [min(len(set(names[target == side])) for side in (0, 1)) < 2 for target in self.targets.T]
        numbers = [len(set(names[clips])) < 2 for clips in self._clips_with]
        return {
            **{f"class_{name}": np.array(classes) for name in BY_CLASS},
            **{f"polyphony_{name}": np.array(numbers) for name in BY_POLYPHONY},
        }
