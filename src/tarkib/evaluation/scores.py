"""Scores of one model's probabilities on one test set, with 95 % intervals over the test recordings."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tarkib.evaluation import bootstrap, metrics
from tarkib.runtime.text import counted
from tarkib.vocabulary import INSTRUMENTS

HEADLINE = ("accuracy", "accuracy_at_half", "exact_match", "f1_macro", "f1_micro", "roc_auc", "average_precision")
"""The figures that summarise an experiment; `roc_auc` and `average_precision` are macro."""

CALIBRATION = "calibration_error"
"""Of all labelled cells pooled. It has no interval: resampling adds noise to every bin, which biases it upwards."""

NOT_LABELLED = "not labelled in the test set"
NOT_TRAINED = "no training material"
NO_POSITIVES = "no positives in the test set"
NO_NEGATIVES = "no negatives in the test set"

_BY_CLASS = ("f1", "f1_at_half", "roc_auc", "average_precision")
_BY_POLYPHONY = ("accuracy", "exact_match", "f1_micro")


@dataclass(frozen=True)
class Scores:
    """All scores of one test set; figures are in 0..1, NaN where undefined.

    figures : columns value, value_low, value_high; one row for each of `HEADLINE`, the other `_at_half` figures, and
        `CALIBRATION`.
    classes : one row a class: positives, negatives and predicted (numbers of labelled clips), threshold (NaN for one
        that was not trained), left_out (why the class is in no macro figure, or None), precision, recall, and f1,
        f1_at_half, roc_auc and average_precision, each with its interval in `<name>_low` and `<name>_high`.
    polyphony : one row for each number of instruments that play in a clip: clips, and accuracy, exact_match, f1_micro.
    all_negative_accuracy : accuracy of predicting no instrument.
    targets, probabilities : what was scored, shape (n, c); targets are NaN where not labelled or not trained.
    """

    clips: int
    recordings: int
    rounds: int
    figures: pd.DataFrame
    classes: pd.DataFrame
    polyphony: pd.DataFrame
    all_negative_accuracy: float
    targets: np.ndarray
    probabilities: np.ndarray

    @property
    def size(self) -> str:
        """The size of the test set, such as `372 clips of 41 recordings`."""
        return f"{counted(self.clips, 'clip')} of {counted(self.recordings, 'recording')}"

    @property
    def averaged(self) -> list[str]:
        """The classes in the macro figures."""
        return list(self.classes.index[self.classes.left_out.isna()])

    @property
    def left_out(self) -> dict[str, str]:
        """The other classes, each with the reason."""
        return self.classes.left_out.dropna().to_dict()


class Statistic:
    """All figures that have an interval, as a function of how often each clip counts, for `bootstrap.intervals`.

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
        self._clips_with = [played == number for number in np.unique(played)]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures by name, each of shape (r, ...), for weights of shape (r, n).

        `<name>_at_half` is at 0.5, `class_<name>` has a value for each class, and `polyphony_<name>` for each number of
        instruments that occurs in a clip, ascending.
        """
        figures = {}
        for suffix, decisions in (("", self.decisions), ("_at_half", self.at_half)):
            for name in _BY_POLYPHONY:
                figures[name + suffix] = getattr(metrics, name)(self.targets, decisions, weights)
            figures["class_f1" + suffix] = metrics.f1(self.targets, decisions, weights)
            figures["f1_macro" + suffix] = metrics.macro(figures["class_f1" + suffix])
        for name in ("roc_auc", "average_precision"):
            figures[f"class_{name}"] = getattr(metrics, name)(self.targets, self.probabilities, weights)
            figures[name] = metrics.macro(figures[f"class_{name}"])
        for name in _BY_POLYPHONY:
            by_number = [
                getattr(metrics, name)(self.targets[clips], self.decisions[clips], weights[:, clips])
                for clips in self._clips_with
            ]
            figures[f"polyphony_{name}"] = np.stack(by_number, axis=1)
        return figures

    def of_one_recording(self, groups: Sequence[str]) -> dict[str, np.ndarray]:
        """For each figure by class or number of instruments: whether it depends on a single recording, bool.

        Such a figure gets no interval, since it is undefined in every resample without that recording. `groups` is the
        recording of each clip.
        """
        names = np.asarray(groups, dtype=str)
        classes = [min(len(set(names[target == side])) for side in (0, 1)) < 2 for target in self.targets.T]
        numbers = [len(set(names[clips])) < 2 for clips in self._clips_with]
        of_one_recording = {f"class_{name}": np.array(classes) for name in _BY_CLASS}
        return of_one_recording | {f"polyphony_{name}": np.array(numbers) for name in _BY_POLYPHONY}


def score(
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray | float,
    *,
    groups: Sequence[str],
    rng: np.random.Generator,
    rounds: int = 1000,
    trained_classes: Collection[str] = INSTRUMENTS,
) -> Scores:
    """Score probabilities against targets, both of shape (n, 10): 1 plays, 0 does not, NaN not labelled.

    Parameters
    ----------
    thresholds : one, or one a class, chosen on validation data (`metrics.best_thresholds`).
    groups : recording of each clip, length n; recordings are resampled, `rounds` times, for the intervals.
    trained_classes : classes with training material. The others are left out of all figures, as are classes without
        labels; classes without positives or negatives are left out of the macro figures.

    Raises ValueError for shapes or values that do not fit.
    """
    labels, probabilities = metrics.validate(targets, probabilities)
    trained = np.isin(INSTRUMENTS, list(trained_classes))
    scored = np.where(trained, labels, np.nan)
    decisions = metrics.predict(probabilities, thresholds)
    played = np.sum(labels == 1, axis=1)
    numbers, clips = np.unique(played, return_counts=True)
    statistic = Statistic(scored, probabilities, decisions, played)
    points = {name: values[0] for name, values in statistic(np.ones((1, len(labels)))).items()}
    ends = bootstrap.intervals(statistic, groups, rng, rounds=rounds)
    for name, of_one_recording in statistic.of_one_recording(groups).items():
        ends[name][:, of_one_recording] = np.nan

    def estimates(prefix: str, names: Iterable[str]) -> dict[str, np.ndarray]:
        columns = {}
        for name in names:
            columns[name] = points[prefix + name]
            columns[f"{name}_low"], columns[f"{name}_high"] = ends[prefix + name]
        return columns

    figures = {
        name: (points[name], *ends[name])
        for name in (*HEADLINE, "exact_match_at_half", "f1_macro_at_half", "f1_micro_at_half")
    }
    labelled = ~np.isnan(scored)
    error = metrics.expected_calibration_error(probabilities[labelled], scored[labelled])
    tp, fp, fn, tn = metrics.confusion(labels, decisions)
    reasons = {
        NOT_LABELLED: tp + fn + fp + tn == 0,
        NOT_TRAINED: ~trained,
        NO_POSITIVES: tp + fn == 0,
        NO_NEGATIVES: fp + tn == 0,
    }
    reason = np.select(list(reasons.values()), list(reasons), "")
    by_class = {
        "positives": (tp + fn).astype(int),
        "negatives": (fp + tn).astype(int),
        "predicted": (tp + fp).astype(int),
        "threshold": np.where(trained, thresholds, np.nan),
        "left_out": [name or None for name in reason.tolist()],
        "precision": np.where(reason == "", metrics.divide(tp, tp + fp), np.nan),
        "recall": np.where(reason == "", metrics.divide(tp, tp + fn), np.nan),
        **estimates("class_", _BY_CLASS),
    }
    return Scores(
        clips=len(labels),
        recordings=len(set(groups)),
        rounds=rounds,
        figures=pd.DataFrame.from_dict(
            figures | {CALIBRATION: (error, np.nan, np.nan)}, "index", columns=["value", "value_low", "value_high"]
        ),
        classes=pd.DataFrame(by_class, index=pd.Index(INSTRUMENTS, name="instrument")),
        polyphony=pd.DataFrame(
            {"clips": clips} | estimates("polyphony_", _BY_POLYPHONY), index=pd.Index(numbers, name="instruments")
        ),
        all_negative_accuracy=float(metrics.accuracy(scored, np.zeros(scored.shape, dtype=bool))),
        targets=scored,
        probabilities=probabilities,
    )


def figure_text(value: float, low: float = np.nan, high: float = np.nan) -> str:
    """A figure with its interval, such as `0.853 [0.812, 0.899]`; a dash where it is undefined."""
    return "-" if np.isnan(value) else f"{value:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")
