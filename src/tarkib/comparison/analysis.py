"""The comparison in numbers: every mode's figures, its paired differences to one mode, and how sure each is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tarkib.comparison import predictions as reading
from tarkib.comparison import significance
from tarkib.comparison.figures import BY_CLASS, BY_POLYPHONY, HEADLINE
from tarkib.comparison.predictions import Predictions, Run
from tarkib.evaluation import bootstrap, calibration, metrics
from tarkib.evaluation.scores import CALIBRATION, NO_NEGATIVES, NO_POSITIVES, NOT_LABELLED, NOT_TRAINED
from tarkib.evaluation.statistics import Statistic

ROUNDS = 9_999
"""Resamples: with many fewer no p-value could be below 0.05 after correction. One less than a round number, so that
p-values are whole multiples of 2/10,000 (Davison and Hinkley, 1997, section 4.2.5)."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and what is known of it; None where undefined.

    `recordings` is its 95 % interval over test recordings with these seeds, `seeds` that over seeds with these
    recordings; `by_seed` has what it is the mean of.
    """

    value: float | None
    recordings: Interval | None
    seeds: Interval | None
    by_seed: dict[int, float | None]


@dataclass(frozen=True)
class Difference:
    """A mode's figure less the reference's, seed by seed.

    `p` is over test recordings, as it is, and `corrected` after Holm; `seeds_corrected` is that of a t-test over seeds,
    after Holm as well.
    """

    mean: Mean
    p: float | None
    corrected: float | None
    seeds_corrected: float | None


@dataclass(frozen=True)
class Comparison:
    """All numbers of a comparison.

    Means are by mode and then by figure (`HEADLINE` and `CALIBRATION`), by instrument and figure (`BY_CLASS`) or by
    number of instruments and figure (`BY_POLYPHONY`). The calibration error has no interval over recordings, since a
    resample's is larger than that of the clips themselves. Differences leave the reference out and are over the seeds
    that both modes have. `floor` is the accuracy of predicting that nothing plays.
    """

    clips: int
    recordings: int
    rounds: int
    family: int
    """differences that p-values are corrected over"""
    reference: str
    seeds: dict[str, tuple[int, ...]]
    paired: dict[str, tuple[int, ...]]
    floor: float | None
    classes: tuple[str, ...]
    positives: dict[str, int]
    left_out: dict[str, str]
    polyphony: dict[int, int]
    """clips by number of instruments"""
    means: dict[str, dict[str, Mean]]
    differences: dict[str, dict[str, Difference]]
    class_means: dict[str, dict[str, dict[str, Mean]]]
    class_differences: dict[str, dict[str, dict[str, Mean]]]
    polyphony_means: dict[str, dict[int, dict[str, Mean]]]
    reliability: dict[str, list[calibration.Bin]]

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes, the reference first."""
        return tuple(self.seeds)


def compare(
    predictions: Mapping[Run, Predictions], modes: Sequence[str], rng: np.random.Generator, rounds: int = ROUNDS
) -> Comparison:
    """Compare what experiments predicted for the same clips.

    predictions : by mode and seed, at least one.
    modes : their order; the reference is `random`, or the first of those that are there.
    Raises ValueError where the clips are not the same.
    """
    first = next(iter(predictions.values())).clips
    if any(one.clips.differs_from(first) for one in predictions.values()):
        raise ValueError("the experiments were not scored on the same clips")
    there = [mode for mode in modes if any(run[0] == mode for run in predictions)]
    reference = "random" if "random" in there else there[0]
    there.sort(key=lambda mode: mode != reference)
    seeds = {mode: tuple(sorted(seed for other, seed in predictions if other == mode)) for mode in there}
    paired = {mode: tuple(s for s in seeds[mode] if s in seeds[reference]) for mode in there[1:]}
    targets, lacking = reading.without_untrained(predictions)
    played = np.sum(first.targets == 1, axis=1)
    runs = {run: Statistic(targets, one.probabilities, one.decisions, played) for run, one in predictions.items()}
    estimates = _Estimates(runs, seeds, reference, paired, first.recordings, rng, rounds)
    family = [(mode, name) for mode in paired for name in HEADLINE if paired[mode]]
    p_values = [estimates.p(mode, name) for mode, name in family]
    corrected = dict(zip(family, significance.holm(p_values), strict=True))
    of_seeds = [significance.t_test(list(estimates.by_seed(mode, name).values())) for mode, name in family]
    seeds_corrected = dict(zip(family, significance.holm(of_seeds), strict=True))
    plain = dict(zip(family, p_values, strict=True))
    numbers = [int(number) for number in np.unique(played)]
    return Comparison(
        clips=len(first.ids),
        recordings=len(set(first.recordings)),
        rounds=rounds,
        family=int(np.sum(~np.isnan(p_values))) if p_values else 0,
        reference=reference,
        seeds=seeds,
        paired=paired,
        floor=_number(metrics.accuracy(targets, np.zeros(targets.shape, dtype=bool))),
        classes=first.classes,
        positives={name: int(np.sum(first.targets[:, k] == 1)) for k, name in enumerate(first.classes)},
        left_out=_left_out(first.classes, first.targets, lacking),
        polyphony={number: int(np.sum(played == number)) for number in numbers},
        means={
            mode: {
                **{name: estimates.mean(mode, name) for name in HEADLINE},
                CALIBRATION: _calibration(targets, {run[1]: predictions[run] for run in runs if run[0] == mode}),
            }
            for mode in there
        },
        differences={
            mode: {
                name: Difference(
                    estimates.difference(mode, name),
                    _number(plain[mode, name]),
                    _number(corrected[mode, name]),
                    _number(seeds_corrected[mode, name]),
                )
                for name in HEADLINE
            }
            for mode in paired
            if paired[mode]
        },
        class_means={
            mode: {
                one: {name: estimates.mean(mode, name, k) for name in BY_CLASS} for k, one in enumerate(first.classes)
            }
            for mode in there
        },
        class_differences={
            mode: {
                one: {name: estimates.difference(mode, name, k) for name in BY_CLASS}
                for k, one in enumerate(first.classes)
            }
            for mode in paired
            if paired[mode]
        },
        polyphony_means={
            mode: {
                number: {name: estimates.mean(mode, name, k) for name in BY_POLYPHONY}
                for k, number in enumerate(numbers)
            }
            for mode in there
        },
        reliability={mode: _reliability(targets, predictions, mode) for mode in there},
    )


def _left_out(classes: Sequence[str], labels: np.ndarray, lacking: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Classes that the macro figures are not means of, each with the reason."""
    found = {}
    for name, label in zip(classes, labels.T, strict=True):
        if np.isnan(label).all():
            found[name] = NOT_LABELLED
        elif name in lacking:
            found[name] = f"{NOT_TRAINED} in {', '.join(sorted({mode for mode, _ in lacking[name]}))}"
        elif not np.any(label == 1):
            found[name] = NO_POSITIVES
        elif not np.any(label == 0):
            found[name] = NO_NEGATIVES
    return found


def _calibration(targets: np.ndarray, predictions: Mapping[int, Predictions]) -> Mean:
    """Mean over seeds of the expected calibration error of all scored cells pooled."""
    scored = ~np.isnan(targets)
    errors = {
        seed: calibration.expected_calibration_error(predictions[seed].probabilities[scored], targets[scored])
        for seed in sorted(predictions)
    }
    values = list(errors.values())
    seeds = significance.t_interval(values)
    return Mean(_number(np.mean(values)), None, seeds, {seed: _number(error) for seed, error in errors.items()})


def _reliability(targets: np.ndarray, predictions: Mapping[Run, Predictions], mode: str) -> list[calibration.Bin]:
    """Claimed against observed over all scored cells of a mode's seeds."""
    scored = ~np.isnan(targets)
    claimed = [one.probabilities[scored] for (other, _), one in predictions.items() if other == mode]
    return calibration.reliability(np.concatenate(claimed), np.concatenate([targets[scored]] * len(claimed)))


class _Estimates:
    """Means and differences of every figure, of the clips themselves and of resamples that all experiments share."""

    def __init__(
        self,
        runs: Mapping[Run, Statistic],
        seeds: Mapping[str, Sequence[int]],
        reference: str,
        paired: Mapping[str, Sequence[int]],
        recordings: Sequence[str],
        rng: np.random.Generator,
        rounds: int,
    ) -> None:
        self.runs, self.seeds, self.reference, self.paired = runs, seeds, reference, paired
        self.recordings = np.asarray(recordings, dtype=str)
        self.clusters = len(set(recordings))
        self._drawn: dict[str, list[np.ndarray]] = {}
        level = significance.expanded_level(self.clusters) if self.clusters > 1 else bootstrap.LEVEL
        self.points = {run: self._first(one) for run, one in runs.items()}
        self.ends = bootstrap.intervals(self._resampled, recordings, rng, rounds=rounds, level=level)
        # The same for all: they were scored on the same clips.
        lone = next(iter(runs.values())).lone(recordings)
        for (_, _, name), ends in self.ends.items():
            if name in lone:
                ends[:, lone[name]] = np.nan

    def _first(self, statistic: Statistic) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in statistic(np.ones((1, len(self.recordings)))).items()}

    def _resampled(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Means and differences of resamples, by `kind mode figure`; differences of the headline are kept."""
        found = {run: statistic(weights) for run, statistic in self.runs.items()}
        means = {}
        for mode, seeds in self.seeds.items():
            for name in found[mode, seeds[0]]:
                means["mean", mode, name] = np.mean([found[mode, seed][name] for seed in seeds], axis=0)
        for mode, seeds in self.paired.items():
            for name in found[mode, self.seeds[mode][0]] if seeds else ():
                pairs = [found[mode, seed][name] - found[self.reference, seed][name] for seed in seeds]
                means["difference", mode, name] = np.mean(pairs, axis=0)
                if name in HEADLINE:
                    self._drawn.setdefault((mode, name), []).append(means["difference", mode, name])
        return means

    def p(self, mode: str, name: str) -> float:
        """p-value of a difference."""
        # `bootstrap.intervals` asks for the clips themselves last.
        draws = np.concatenate(self._drawn[mode, name])[:-1]
        return significance.bootstrap_p(draws, self.clusters)

    def mean(self, mode: str, name: str, *index: int) -> Mean:
        """A figure's mean over the seeds of a mode."""
        values = {seed: float(self.points[mode, seed][name][index]) for seed in self.seeds[mode]}
        return self._mean(values, self.ends["mean", mode, name], index)

    def difference(self, mode: str, name: str, *index: int) -> Mean:
        """A figure's mean difference to the reference over the seeds that both have."""
        return self._mean(self.by_seed(mode, name, *index), self.ends["difference", mode, name], index)

    def by_seed(self, mode: str, name: str, *index: int) -> dict[int, float]:
        """A figure's difference to the reference in each of the seeds that both have."""
        return {
            seed: float(self.points[mode, seed][name][index] - self.points[self.reference, seed][name][index])
            for seed in self.paired[mode]
        }

    def _mean(self, values: dict[int, float], ends: np.ndarray, index: tuple[int, ...]) -> Mean:
        low, high = (float(end[index]) for end in ends)
        return Mean(
            _number(np.mean(list(values.values()))),
            None if np.isnan(low) else (low, high),
            significance.t_interval(list(values.values())),
            {seed: _number(value) for seed, value in values.items()},
        )


def _number(value: float | np.ndarray) -> float | None:
    return None if np.isnan(value) else float(value)
