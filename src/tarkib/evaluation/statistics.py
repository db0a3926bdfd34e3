"""The figures of one model on one test set as functions of how often each clip counts."""

from collections.abc import Sequence

import numpy as np

from tarkib.evaluation import metrics

BY_CLASS = ("f1", "f1_at_half", "roc_auc", "average_precision")
"""Figures of each class, called `class_<name>`, shape (r, c)."""

BY_POLYPHONY = ("accuracy", "exact_match", "f1_micro")
"""Pooled figures of the clips with each number of instruments, called `polyphony_<name>`, shape (r, numbers)."""


class Statistic:
    """All figures with an interval, for `bootstrap.intervals`.

    Parameters
    ----------
    targets, probabilities : shape (n, c), see `metrics`; NaN where not to be scored.
    decisions : bool, shape (n, c), at the validation thresholds.
    played : number of instruments in each clip, shape (n,).
    """

    def __init__(self, targets: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray, played: np.ndarray):
        self.targets, self.probabilities = metrics.validate(targets, probabilities)
        self.decisions = decisions
        self.at_half = metrics.predict(self.probabilities, metrics.DEFAULT_THRESHOLD)
        self.numbers = np.unique(played)
        """The numbers of instruments that occur, ascending."""
        self._clips_with = [played == number for number in self.numbers]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures by name, each of shape (r, ...), for weights of shape (r, n); `<name>_at_half` is at 0.5."""
        figures = {}
        for suffix, decisions in (("", self.decisions), ("_at_half", self.at_half)):
            for name in BY_POLYPHONY:
                figures[name + suffix] = getattr(metrics, name)(self.targets, decisions, weights)
            figures["class_f1" + suffix] = metrics.f1(self.targets, decisions, weights)
            figures["f1_macro" + suffix] = metrics.macro(figures["class_f1" + suffix])
        for name in ("roc_auc", "average_precision"):
            figures[f"class_{name}"] = getattr(metrics, name)(self.targets, self.probabilities, weights)
            figures[name] = metrics.macro(figures[f"class_{name}"])
        for name in BY_POLYPHONY:
            by_number = [
                getattr(metrics, name)(self.targets[clips], self.decisions[clips], weights[:, clips])
                for clips in self._clips_with
            ]
            figures[f"polyphony_{name}"] = np.stack(by_number, axis=1)
        return figures

    def lone(self, groups: Sequence[str]) -> dict[str, np.ndarray]:
        """Which classes and numbers of instruments, by figure, depend on one recording; bool.

        These get no interval: a resample holds that recording or says nothing. `groups` is the recording of each clip.
        """
        names = np.asarray(groups, dtype=str)
        classes = [min(len(set(names[target == side])) for side in (0, 1)) < 2 for target in self.targets.T]
        numbers = [len(set(names[clips])) < 2 for clips in self._clips_with]
        lone = {f"class_{name}": np.array(classes) for name in BY_CLASS}
        return lone | {f"polyphony_{name}": np.array(numbers) for name in BY_POLYPHONY}
