"""The comparison in numbers: every mode's figures, its paired differences to one mode, and how sure each is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass
class Mean:
    """A mean over seeds, of a figure or of its difference to the reference; each part is None where undefined.

    `recordings` is its 95 % interval over test recordings with these seeds, `seeds` that over seeds with these
    recordings. Differences of `HEADLINE` have p-values: `p` over test recordings, `corrected` the same after Holm, and
    `seeds_corrected` of a t-test over seeds after Holm.
    """

    value: float | None
    recordings: Interval | None
    seeds: Interval | None
    p: float | None = None
    corrected: float | None = None
    seeds_corrected: float | None = None


Means = dict[tuple[Any, ...], Mean]
"""By mode and figure, and, for the figures of `BY_CLASS` and `BY_POLYPHONY`, by instrument or number of instruments."""


@dataclass(frozen=True)
class Comparison:
    """All numbers of a comparison.

    `family` is the number of differences that p-values are corrected for. `seeds` are the seeds of each mode, the
    reference first; `paired` are those that a mode shares with the reference, over which `differences` are taken.
    `all_negative_accuracy` is the accuracy of answering that nothing plays. `positives` and `polyphony` count the clips
    of each class and number of instruments; `left_out` are the classes without figures, with reasons.
    """

    clips: int
    recordings: int
    rounds: int
    family: int
    reference: str
    seeds: dict[str, list[int]]
    paired: dict[str, list[int]]
    all_negative_accuracy: float | None
    positives: dict[str, int]
    left_out: dict[str, str]
    polyphony: dict[int, int]
    means: Means
    differences: Means
    reliability: dict[str, list[metrics.Bin]]

    @property
    def compared(self) -> list[str]:
        """The modes that have a seed in common with the reference."""
        return [mode for mode, seeds in self.paired.items() if seeds]


def compare(
    predictions: Mapping[Run, Predictions], modes: Sequence[str], rng: np.random.Generator, rounds: int = ROUNDS
) -> Comparison:
    """Compare experiments that were scored on the same clips, by the same resamples for all.

    The reference is `random`, or the first of `modes` that has predictions.
    """
    clips = next(iter(predictions.values())).clips
    seeds = {mode: sorted(seed for other, seed in predictions if other == mode) for mode in modes}
    seeds = {mode: seeds[mode] for mode in sorted(modes, key=lambda mode: mode != "random") if seeds[mode]}
    reference, *others = seeds
    paired = {mode: [seed for seed in seeds[mode] if seed in seeds[reference]] for mode in others}

    left_out = {name: why for one in predictions.values() for name, why in one.left_out.items()}
    # A class that some had no training material for is scored in none, so that all are scored on the same.
    untrained = [name for one in predictions.values() for name, why in one.left_out.items() if why == NOT_TRAINED]
    left_out |= dict.fromkeys(untrained, NOT_TRAINED)
    targets = np.where(np.isin(clips.classes, untrained), np.nan, clips.targets)
    played = np.sum(clips.targets == 1, axis=1)
    polyphony = {int(number): int(count) for number, count in zip(*np.unique(played, return_counts=True), strict=True)}
    statistics = {run: Statistic(targets, one.probabilities, one.decisions, played) for run, one in predictions.items()}
    keys: list[tuple[Any, ...]] = [(name,) for name in HEADLINE]
    keys += [(name, item) for name in BY_CLASS for item in clips.classes]
    keys += [(name, number) for name in BY_POLYPHONY for number in polyphony]
    drawn: list[dict[tuple[bool, str], np.ndarray]] = []

    def figures_by_seed(weights: np.ndarray) -> dict[tuple[bool, str], np.ndarray]:
        """The figures `keys` of a mode (False) or its differences (True) for weights (r, n): shape (seeds, r, keys)."""
        figures = {
            run: np.column_stack([each[name] for name in (*HEADLINE, *BY_CLASS, *BY_POLYPHONY)])
            for run, each in ((run, statistic(weights)) for run, statistic in statistics.items())
        }
        of_modes = {(False, mode): np.stack([figures[mode, seed] for seed in seeds[mode]]) for mode in seeds}
        return of_modes | {
            (True, mode): np.stack([figures[mode, seed] - figures[reference, seed] for seed in common])
            for mode, common in paired.items()
            if common
        }

    def resampled(weights: np.ndarray) -> dict[Any, np.ndarray]:
        drawn.append({contrast: values.mean(axis=0) for contrast, values in figures_by_seed(weights).items()})
        return drawn[-1]

    recordings = len(set(clips.recordings))
    level = significance.expanded_level(recordings) if recordings > 1 else bootstrap.LEVEL
    intervals: dict[Any, np.ndarray] = bootstrap.intervals(resampled, clips.recordings, rng, rounds=rounds, level=level)
    single = next(iter(statistics.values())).of_one_recording(clips.recordings)  # the same for all: equal clips
    alone = np.concatenate([np.zeros(len(HEADLINE), bool), *(single[name] for name in (*BY_CLASS, *BY_POLYPHONY))])
    means: Means = {}
    differences: Means = {}
    family: dict[tuple[Any, ...], tuple[float, float]] = {}
    for (is_difference, mode), values in figures_by_seed(np.ones((1, len(played)))).items():
        low, high = np.where(alone, np.nan, intervals[is_difference, mode])
        # `bootstrap.intervals` asks for the clips themselves last.
        draws = np.concatenate([block[is_difference, mode] for block in drawn[:-1]])
        for k, key in enumerate(keys):
            mean = _mean(values[:, 0, k], None if np.isnan(low[k]) else (float(low[k]), float(high[k])))
            (differences if is_difference else means)[mode, *key] = mean
            if is_difference and key[0] in HEADLINE:
                p = significance.bootstrap_p(draws[:, k], recordings)
                family[mode, *key] = p, significance.seed_interval(values[:, 0, k])[1]
    p_values, of_seeds = np.reshape(list(family.values()), (-1, 2)).T
    corrected = zip(family, p_values, significance.holm(p_values), significance.holm(of_seeds), strict=True)
    for key, *figures in corrected:
        differences[key].p, differences[key].corrected, differences[key].seeds_corrected = map(_number, figures)

    scored = ~np.isnan(targets)
    reliability = {}
    for mode in seeds:
        given = [predictions[mode, seed].probabilities[scored] for seed in seeds[mode]]
        errors = [metrics.expected_calibration_error(row, targets[scored]) for row in given]
        # No interval over recordings: the error of a resample is larger than that of the clips themselves.
        means[mode, CALIBRATION] = _mean(np.array(errors), None)
        reliability[mode] = metrics.reliability(np.concatenate(given), np.tile(targets[scored], len(given)))
    return Comparison(
        clips=len(clips.ids),
        recordings=recordings,
        rounds=rounds,
        family=int(np.sum(~np.isnan(p_values))),
        reference=reference,
        seeds=seeds,
        paired=paired,
        all_negative_accuracy=_number(metrics.accuracy(targets, np.zeros(targets.shape, dtype=bool))),
        positives={name: int(np.sum(clips.targets[:, k] == 1)) for k, name in enumerate(clips.classes)},
        left_out=left_out,
        polyphony=polyphony,
        means=means,
        differences=differences,
        reliability=reliability,
    )


def _mean(values: np.ndarray, recordings: Interval | None) -> Mean:
    return Mean(_number(np.mean(values)), recordings, significance.seed_interval(values)[0])


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
