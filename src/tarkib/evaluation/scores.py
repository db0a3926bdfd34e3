"""Scores: all that is said about one model's probabilities for one test set."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tarkib.evaluation import bootstrap, calibration, metrics
from tarkib.evaluation.statistics import BY_CLASS, BY_POLYPHONY, Statistic
from tarkib.vocabulary import INSTRUMENTS

HEADLINE = (
    "accuracy",
    "accuracy_at_half",
    "exact_match",
    "f1_macro",
    "f1_micro",
    "roc_auc",
    "average_precision",
)
"""The figures that stand for an experiment; `roc_auc` and `average_precision` are macro."""

CALIBRATION = "calibration_error"
"""Expected calibration error of all labelled cells pooled: the lower the better, and without an interval.

Drawing clips anew adds chance to each bin, so that a resample's error is larger than the clips' own, and an interval of
such errors would lie beside the figure that it belongs to.
"""

NOT_LABELLED = "not labelled in the test set"
NOT_TRAINED = "no training material"
NO_POSITIVES = "no positives in the test set"
NO_NEGATIVES = "no negatives in the test set"

_AT_HALF = ("exact_match_at_half", "f1_macro_at_half", "f1_micro_at_half")


@dataclass(frozen=True)
class Estimate:
    """A figure in 0..1 and the ends of its 95 % interval; each None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ClassScore:
    """One class: its counts of labelled clips, and its figures where `left_out` does not say why there are none.

    `predicted` counts the labelled clips in which the class was found, rightly or wrongly; precision is None where that
    is none. `f1_at_half` is F1 at 0.5, all else that depends on a threshold is at `threshold`.
    """

    instrument: str
    positives: int
    negatives: int
    predicted: int
    threshold: float
    left_out: str | None
    precision: float | None
    recall: float | None
    f1: Estimate
    f1_at_half: Estimate
    roc_auc: Estimate
    average_precision: Estimate


@dataclass(frozen=True)
class PolyphonyScore:
    """The clips in which so many of the labelled classes play, and their pooled figures."""

    instruments: int
    clips: int
    accuracy: Estimate
    exact_match: Estimate
    f1_micro: Estimate


@dataclass(frozen=True)
class Scores:
    """Scores of one test set of `clips` clips out of `recordings` recordings.

    `figures` holds the headline, the `_at_half` figures and `CALIBRATION` by name. `all_negative_accuracy` is the
    accuracy of answering that nothing plays, the floor to hold accuracy against. `targets` (NaN where not labelled or
    not trained) and `probabilities`, both (n, c), are what was scored.
    """

    clips: int
    recordings: int
    rounds: int
    figures: dict[str, Estimate]
    all_negative_accuracy: float | None
    classes: tuple[ClassScore, ...]
    polyphony: tuple[PolyphonyScore, ...]
    targets: np.ndarray
    probabilities: np.ndarray

    @property
    def size(self) -> str:
        """The test set's size in words, such as `372 clips of 41 recordings`."""
        return (
            f"{self.clips} clip{'s' * (self.clips != 1)} of {self.recordings} recording{'s' * (self.recordings != 1)}"
        )

    @property
    def averaged(self) -> list[str]:
        """The classes that the macro figures are means of."""
        return [one.instrument for one in self.classes if one.left_out is None]

    @property
    def left_out(self) -> dict[str, str]:
        """The other classes, each with the reason."""
        return {one.instrument: one.left_out for one in self.classes if one.left_out is not None}


def score(
    targets: np.ndarray,
    probabilities: np.ndarray,
    thresholds: np.ndarray,
    *,
    groups: Sequence[str],
    rng: np.random.Generator,
    rounds: int = 1000,
    trained_classes: Collection[str] = INSTRUMENTS,
    classes: Sequence[str] = INSTRUMENTS,
) -> Scores:
    """Score probabilities, shape (n, c), against targets, shape (n, c): 1, 0, or NaN where not labelled.

    thresholds : one for each class, shape (c,), found on validation data (`metrics.best_thresholds`).
    groups : each clip's recording, length n; recordings are what the intervals resample.
    trained_classes : names of the classes that had training material; the others are left out of every figure, as are
        classes without labels. A class without positives or without negatives is left out of the macro figures.
    Raises TarkibError where there is no clip, ValueError for shapes, values or names that do not fit.
    """
    labels, probabilities = metrics.validate(targets, probabilities)
    if len(classes) != labels.shape[1] or len(groups) != len(labels):
        raise ValueError(f"{len(classes)} classes and {len(groups)} groups for targets of shape {labels.shape}")
    if unknown := set(trained_classes) - set(classes):
        raise ValueError(f"trained_classes: {sorted(unknown)} are none of {list(classes)}")
    trained = np.isin(classes, list(trained_classes))
    scored = np.where(trained, labels, np.nan)
    thresholds = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(classes),))
    played = np.sum(labels == 1, axis=1)
    decisions = metrics.predict(probabilities, thresholds)
    statistic = Statistic(scored, probabilities, decisions, played)
    points = {name: values[0] for name, values in statistic(np.ones((1, len(labels)))).items()}
    ends = bootstrap.intervals(statistic, groups, rng, rounds=rounds)
    for name, lone in statistic.lone(groups).items():
        ends[name][:, lone] = np.nan

    def estimate(name: str, *index: int) -> Estimate:
        return Estimate(*(_number(part[index]) for part in (points[name], *ends[name])))

    labelled = ~np.isnan(scored)
    error = calibration.expected_calibration_error(probabilities[labelled], scored[labelled])
    counts = metrics.confusion(labels, decisions)
    return Scores(
        clips=len(labels),
        recordings=len(set(groups)),
        rounds=rounds,
        figures={
            **{name: estimate(name) for name in (*HEADLINE, *_AT_HALF)},
            CALIBRATION: Estimate(_number(error), None, None),
        },
        all_negative_accuracy=_number(metrics.accuracy(scored, np.zeros(scored.shape, dtype=bool))),
        classes=tuple(
            _class_score(
                name,
                {part: int(values[k]) for part, values in counts.items()},
                float(thresholds[k]),
                bool(trained[k]),
                {figure: estimate(f"class_{figure}", k) for figure in BY_CLASS},
            )
            for k, name in enumerate(classes)
        ),
        polyphony=tuple(
            PolyphonyScore(
                instruments=int(number),
                clips=int(np.sum(played == number)),
                **{figure: estimate(f"polyphony_{figure}", i) for figure in BY_POLYPHONY},
            )
            for i, number in enumerate(statistic.numbers)
        ),
        targets=scored,
        probabilities=probabilities,
    )


def _class_score(
    name: str, counts: dict[str, int], threshold: float, trained: bool, figures: dict[str, Estimate]
) -> ClassScore:
    positives, negatives = counts["tp"] + counts["fn"], counts["fp"] + counts["tn"]
    predicted = counts["tp"] + counts["fp"]
    left_out = _reason(positives, negatives, trained)
    return ClassScore(
        instrument=name,
        positives=positives,
        negatives=negatives,
        predicted=predicted,
        threshold=threshold,
        left_out=left_out,
        precision=counts["tp"] / predicted if predicted and not left_out else None,
        recall=counts["tp"] / positives if not left_out else None,
        **figures,
    )


def _reason(positives: int, negatives: int, trained: bool) -> str | None:
    if positives + negatives == 0:
        return NOT_LABELLED
    if not trained:
        return NOT_TRAINED
    if positives == 0:
        return NO_POSITIVES
    return NO_NEGATIVES if negatives == 0 else None


def _number(value: np.ndarray | float) -> float | None:
    """A figure as a plain number, None for NaN."""
    return None if math.isnan(value) else float(value)
