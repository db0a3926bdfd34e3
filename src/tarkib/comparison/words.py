"""What the numbers support, in words, and what they do not.

A difference is supported if its p-value over test recordings is below 0.05 after Holm's correction for all differences
of the table: it holds on other recordings of the kind, for these trained models. It is supported for another draw of
mixtures and training too if also the p-value of a t-test over seeds, corrected likewise, is below 0.05, and both
intervals lie on the same side of 0. Nothing else is called a difference. The caveats are in caveats.txt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import jinja2
import numpy as np
from scipy import stats

from tarkib.comparison import notation, significance
from tarkib.comparison.analysis import BY_CLASS, HEADLINE, Comparison, Mean
from tarkib.comparison.experiments import DONE, Experiment
from tarkib.comparison.notation import counted, interval, listed, value
from tarkib.comparison.significance import Interval
from tarkib.evaluation.report import FEW_RECORDINGS

LEVEL = 0.05


class Support(IntEnum):
    """How far a difference is supported; `UNKNOWN` if it or its interval over recordings is undefined."""

    UNKNOWN = 0
    NONE = 1
    RECORDINGS = 2
    BOTH = 3


@dataclass(frozen=True)
class Words:
    """A headline, what is found of each mode, and caveats."""

    headline: str
    findings: dict[str, str]
    caveats: list[str]


def support(difference: Mean) -> Support:
    """How far a difference of `HEADLINE` is supported."""
    if difference.value is None or difference.corrected is None or difference.recordings is None:
        return Support.UNKNOWN
    if difference.corrected >= LEVEL or not excludes_0(difference.recordings):
        return Support.NONE
    steady = difference.seeds_corrected is not None and difference.seeds_corrected < LEVEL
    low, high = difference.seeds or (0.0, 0.0)
    same_side = low > 0 if better(difference) else high < 0
    return Support.BOTH if steady and same_side else Support.RECORDINGS


def excludes_0(ends: Interval | None) -> bool:
    """Whether there is an interval and 0 lies outside."""
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def better(difference: Mean) -> bool:
    """Whether a difference is one for the better."""
    return difference.value is not None and difference.value > 0


def write(comparison: Comparison, experiments: Sequence[Experiment], demo: bool) -> Words:
    """State what a comparison supports.

    `experiments` are all that were asked for, and `demo` says whether the test set is the built-in one.
    """
    findings = {mode: _finding(comparison, mode) for mode in comparison.compared}
    return Words(_headline(comparison), findings, _caveats(comparison, experiments, demo))


def _headline(comparison: Comparison) -> str:
    reference = comparison.reference
    if len(comparison.modes) == 1:
        return f"Only {reference} was scored: there is nothing to compare it with."
    if not comparison.compared:
        return f"No mode has a seed in common with {reference}: nothing can be compared."
    groups = {mode: _groups(comparison, mode) for mode in comparison.compared}
    if all(degree == Support.UNKNOWN for group in groups.values() for degree, _ in group):
        return f"{counted(comparison.recordings, 'recording')} cannot show whether a mode differs from {reference}."
    sentences = [
        f"{mode} scores {'better' if is_better else 'worse'} than {reference} in {listed(figures)} "
        f"{_scope(comparison, mode, degree)}."
        for mode, group in groups.items()
        for (degree, is_better), figures in group.items()
        if degree > Support.NONE
    ]
    return " ".join(sentences) or f"No mode is shown to differ from {reference}."


def _groups(comparison: Comparison, mode: str) -> dict[tuple[Support, bool], dict[str, Mean]]:
    """A mode's differences by title, grouped by how far they are supported and whether for the better.

    Those that are not supported are grouped by whether their interval excludes 0.
    """
    groups: dict[tuple[Support, bool], dict[str, Mean]] = {}
    for name, title in HEADLINE.items():
        difference = comparison.differences[mode, name]
        degree = support(difference)
        upper = better(difference) if degree > Support.NONE else excludes_0(difference.recordings)
        groups.setdefault((degree, upper), {})[title] = difference
    return groups


def _scope(comparison: Comparison, mode: str, degree: Support) -> str:
    if degree == Support.BOTH:
        return "on recordings like these, with these models and with another draw of mixtures and training"
    seeds = counted(len(comparison.paired[mode]), "seed")
    return (
        f"on recordings like these, with these models; {seeds} cannot show it for another draw of mixtures and training"
    )


def _finding(comparison: Comparison, mode: str) -> str:
    sentences = []
    for (degree, upper), group in sorted(_groups(comparison, mode).items(), reverse=True):
        values = listed([f"{title} ({value(mean.value, signed=True)})" for title, mean in group.items()])
        ends = listed([f"{title} {interval(mean.recordings, signed=True)}" for title, mean in group.items()])
        if degree > Support.NONE:
            sentences.append(f"{'Better' if upper else 'Worse'} in {values} {_scope(comparison, mode, degree)}.")
        elif degree == Support.UNKNOWN:
            sentences.append(f"Undefined, or without an interval: {listed(group)}.")
        elif upper:
            family = counted(comparison.family, "difference")
            sentences.append(f"Only a hint in {ends}: the interval excludes 0, but not after correction for {family}.")
        else:
            sentences.append(f"No difference is shown in {ends}; differences beyond these intervals are unlikely.")
    return " ".join(sentences)


def _caveats(comparison: Comparison, experiments: Sequence[Experiment], demo: bool) -> list[str]:
    fewest = min(map(len, comparison.seeds.values()))
    reference_seeds = set(comparison.seeds[comparison.reference])
    least_p = float("nan")
    if 2 <= comparison.recordings < FEW_RECORDINGS:
        least_p = significance.bootstrap_p(np.ones(comparison.rounds), comparison.recordings) * comparison.family
    no_better = [
        mode
        for mode in comparison.modes
        if (accuracy := comparison.means[mode, "accuracy"].value) is not None
        and comparison.floor is not None
        and accuracy <= comparison.floor
    ]
    by_class = [mean for key, mean in comparison.differences.items() if key[1] in BY_CLASS and mean.recordings]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tarkib.comparison", "."), trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("caveats.txt").render(
        comparison=comparison,
        demo=demo,
        few_recordings=FEW_RECORDINGS,
        least_p=least_p,
        level=LEVEL,
        fewest=fewest,
        single=[mode for mode, seeds in comparison.seeds.items() if len(seeds) < 2],
        narrower=_half_width(fewest) / _half_width(5) if fewest > 1 else None,
        unpaired={mode: sorted(set(comparison.seeds[mode]) ^ reference_seeds) for mode in comparison.paired},
        by_class=len(by_class),
        hints=sum(excludes_0(mean.recordings) for mean in by_class),
        lacking=[experiment for experiment in experiments if experiment.state != DONE],
        no_better=no_better,
        notation=notation,
    )
    return [line for line in text.splitlines() if line.strip()]


def _half_width(seeds: int) -> float:
    """Half the width of a t-interval over seeds, in standard deviations."""
    return float(stats.t.ppf(0.975, seeds - 1) / seeds**0.5)
