"""The comparison in numbers: every mode's figures, its paired differences to one mode, and how sure each is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tarkib.comparison import significance
from tarkib.comparison.predictions import Predictions, Run
from tarkib.comparison.significance import Interval
from tarkib.evaluation import bootstrap, metrics
from tarkib.evaluation.scores import CALIBRATION, NOT_TRAINED, Statistic

HEADLINE = {
    "accuracy": "accuracy",
    "accuracy_at_half": "accuracy at 0.5",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "roc_auc": "ROC-AUC",
    "average_precision": "mAP",
}
"""The figures of `tarkib.evaluation.scores` that modes are compared by, with titles; more is better in all."""

BY_CLASS = {"class_roc_auc": "ROC-AUC", "class_f1": "F1"}
BY_POLYPHONY = {"polyphony_accuracy": "accuracy", "polyphony_f1_micro": "F1 micro"}

ROUNDS = 9_999
"""Resamples: with many fewer no p-value could be below 0.05 after correction. One less than a round number, so that
p-values are whole multiples of 2/10,000 (Davison and Hinkley, 1997, section 4.2.5)."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, of a figure or of its difference to the reference; each part is None where undefined.

    `recordings` is its 95 % interval over test recordings with these seeds, `seeds` that over seeds with these
    recordings. Differences of `HEADLINE` have p-values: `p` over test recordings, `corrected` the same after Holm, and
    `seeds_corrected` of a t-test over seeds after Holm.
    """

    value: float | None
    recordings: Interval | None
    seeds: Interval | None
    by_seed: dict[int, float | None]
    p: float | None = None
    corrected: float | None = None
    seeds_corrected: float | None = None


Means = dict[tuple[Any, ...], Mean]
"""By mode and figure, and, for the figures of `BY_CLASS` and `BY_POLYPHONY`, by instrument or number of instruments."""


@dataclass(frozen=True)
class Comparison:
    """All numbers of a comparison.

    `differences` has no entries of the reference; they are over the seeds that both modes have (`paired`). `family` is
    the number of differences that p-values are corrected for, `floor` the accuracy of answering that nothing plays,
    `positives` the clips of each class, `polyphony` the clips of each number of instruments, `left_out` the classes
    without figures, with reasons.
    """

    clips: int
    recordings: int
    rounds: int
    family: int
    reference: str
    seeds: dict[str, tuple[int, ...]]
    paired: dict[str, tuple[int, ...]]
    floor: float | None
    positives: dict[str, int]
    left_out: dict[str, str]
    polyphony: dict[int, int]
    means: Means
    differences: Means
    reliability: dict[str, list[metrics.Bin]]

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes, the reference first."""
        return tuple(self.seeds)

    @property
    def compared(self) -> list[str]:
        """The modes that have a seed in common with the reference."""
        return [mode for mode, seeds in self.paired.items() if seeds]


def compare(
    predictions: Mapping[Run, Predictions], modes: Sequence[str], rng: np.random.Generator, rounds: int = ROUNDS
) -> Comparison:
    """Compare experiments on the same clips, by the same resamples for all.

    Parameters
    ----------
    predictions : by mode and seed, at least one.
    modes : their order; the reference is `random`, or the first that has predictions.

    Raises
    ------
    ValueError
        if the clips are not the same.
    """
    clips = next(iter(predictions.values())).clips
    if not all(one.clips.same_as(clips) for one in predictions.values()):
        raise ValueError("the experiments were not scored on the same clips")
    scored_modes = [mode for mode in modes if any(run[0] == mode for run in predictions)]
    reference = "random" if "random" in scored_modes else scored_modes[0]
    scored_modes.sort(key=lambda mode: mode != reference)
    seeds = {mode: tuple(sorted(seed for other, seed in predictions if other == mode)) for mode in scored_modes}
    paired = {mode: tuple(s for s in seeds[mode] if s in seeds[reference]) for mode in scored_modes[1:]}

    left_out = {name: why for one in predictions.values() for name, why in one.left_out.items()}
    # A class that some had no training material for is scored in none, so that all are scored on the same.
    untrained = [name for one in predictions.values() for name, why in one.left_out.items() if why == NOT_TRAINED]
    for name in untrained:
        lacking = {mode for (mode, _), one in predictions.items() if one.left_out.get(name) == NOT_TRAINED}
        left_out[name] = f"{NOT_TRAINED} in {', '.join(sorted(lacking))}"
    targets = np.where(np.isin(clips.classes, untrained), np.nan, clips.targets)
    played = np.sum(clips.targets == 1, axis=1)
    statistics = {run: Statistic(targets, one.probabilities, one.decisions, played) for run, one in predictions.items()}
    # What to take the mean of over seeds: a mode's figures (False), or their differences to the reference (True).
    contrasts: dict[tuple[bool, str], dict[int, list[Run]]] = {
        **{(False, mode): {seed: [(mode, seed)] for seed in seeds[mode]} for mode in scored_modes},
        **{(True, mode): {s: [(mode, s), (reference, s)] for s in paired[mode]} for mode in paired if paired[mode]},
    }
    draws: list[dict[Any, np.ndarray]] = []

    def resampled(weights: np.ndarray) -> dict[Any, np.ndarray]:
        figures = {run: statistic(weights) for run, statistic in statistics.items()}
        draws.append({})
        for contrast, by_seed in contrasts.items():
            for name in (*HEADLINE, *BY_CLASS, *BY_POLYPHONY):
                values = [_difference([figures[run][name] for run in pair]) for pair in by_seed.values()]
                draws[-1][*contrast, name] = np.mean(values, axis=0)
        return draws[-1]

    recordings = len(set(clips.recordings))
    level = significance.expanded_level(recordings) if recordings > 1 else bootstrap.LEVEL
    intervals: dict[Any, np.ndarray] = bootstrap.intervals(resampled, clips.recordings, rng, rounds=rounds, level=level)
    lone = next(iter(statistics.values())).lone(clips.recordings)  # the same for all: they have the same clips
    points = {
        run: {name: values[0] for name, values in statistic(np.ones((1, len(played)))).items()}
        for run, statistic in statistics.items()
    }
    numbers = [int(number) for number in np.unique(played)]
    # What the values of a figure are called, and where they are in its array.
    of_class = [((name,), (k,)) for k, name in enumerate(clips.classes)]
    of_polyphony = [((number,), (k,)) for k, number in enumerate(numbers)]
    cells: dict[str, list] = dict.fromkeys(BY_CLASS, of_class) | dict.fromkeys(BY_POLYPHONY, of_polyphony)
    means: Means = {}
    differences: Means = {}
    for (is_difference, mode, name), (low, high) in intervals.items():
        for key, index in cells.get(name, [((), ())]):
            by_seed = contrasts[is_difference, mode]
            values = {s: _difference([points[run][name][index] for run in pair]) for s, pair in by_seed.items()}
            has_interval = not (np.isnan(low[index]) or (index and name in lone and lone[name][index]))
            interval = (float(low[index]), float(high[index])) if has_interval else None
            (differences if is_difference else means)[mode, name, *key] = _mean(values, interval)

    family = [(mode, name) for is_difference, mode in contrasts if is_difference for name in HEADLINE]
    # `bootstrap.intervals` asks for the clips themselves last.
    drawn = [np.concatenate([block[True, mode, name] for block in draws[:-1]]) for mode, name in family]
    p_values = [significance.bootstrap_p(one, recordings) for one in drawn]
    of_seeds = [significance.over_seeds(list(differences[key].by_seed.values()))[1] for key in family]
    tests = zip(p_values, significance.holm(p_values), significance.holm(of_seeds), strict=True)
    for key, (p, corrected, seeds_corrected) in zip(family, tests, strict=True):
        differences[key] = replace(
            differences[key], p=_number(p), corrected=_number(corrected), seeds_corrected=_number(seeds_corrected)
        )

    scored = ~np.isnan(targets)
    reliability = {}
    for mode in scored_modes:
        given = {seed: predictions[mode, seed].probabilities[scored] for seed in seeds[mode]}
        errors = {s: metrics.expected_calibration_error(row, targets[scored]) for s, row in given.items()}
        # No interval over recordings: the error of a resample is larger than that of the clips themselves.
        means[mode, CALIBRATION] = _mean(errors, None)
        pooled = np.concatenate(list(given.values()))
        reliability[mode] = metrics.reliability(pooled, np.tile(targets[scored], len(given)))
    return Comparison(
        clips=len(clips.ids),
        recordings=recordings,
        rounds=rounds,
        family=int(np.sum(~np.isnan(p_values))),
        reference=reference,
        seeds=seeds,
        paired=paired,
        floor=_number(metrics.accuracy(targets, np.zeros(targets.shape, dtype=bool))),
        positives={name: int(np.sum(clips.targets[:, k] == 1)) for k, name in enumerate(clips.classes)},
        left_out=left_out,
        polyphony={number: int(np.sum(played == number)) for number in numbers},
        means=means,
        differences=differences,
        reliability=reliability,
    )


def _difference(figures: Sequence[np.ndarray]) -> np.ndarray:
    """The first less the second, if there is one."""
    return figures[0] - figures[1] if len(figures) > 1 else figures[0]


def _mean(by_seed: Mapping[int, Any], recordings: Interval | None) -> Mean:
    values = [float(value) for value in by_seed.values()]
    named = {seed: _number(value) for seed, value in by_seed.items()}
    return Mean(_number(np.mean(values)), recordings, significance.over_seeds(values)[0], named)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
