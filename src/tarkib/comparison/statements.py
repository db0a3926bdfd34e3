"""Sentences on what the numbers support and what they do not; how numbers and lists are written.

A difference is supported for these trained models, on other recordings of the kind, if its p-value over test recordings
is below 0.05 after Holm's correction for all differences of the table. It is supported for another draw of mixtures and
training, too, if also the corrected p-value of a t-test over seeds is below 0.05 and both intervals lie on one side of
0. Nothing else is called a difference. The caveats are in caveats.txt.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from tarkib.comparison.analysis import HEADLINE, Comparison, Mean
from tarkib.comparison.experiments import DONE, Experiment
from tarkib.comparison.significance import Interval
from tarkib.evaluation.report import FEW_RECORDINGS
from tarkib.runtime import pages
from tarkib.runtime.pages import number
from tarkib.runtime.text import counted

LEVEL = 0.05

FEW_SEEDS = 5
"""With fewer, Student's interval over seeds is wide."""

NONE = "–"
"""In place of an undefined number."""


class Support(IntEnum):
    """How far a difference is supported; `UNKNOWN` if it or its interval over recordings is undefined."""

    UNKNOWN = 0
    NONE = 1
    RECORDINGS = 2
    BOTH = 3


_SCOPE = {
    Support.RECORDINGS: "on recordings like these, with these models; for another draw of mixtures and training the "
    "seeds do not show it",
    Support.BOTH: "on recordings like these, with these models and with another draw of mixtures and training",
}


class Statements(NamedTuple):
    """A headline with all supported differences, further findings by mode, and caveats."""

    headline: str
    findings: dict[str, str]
    caveats: list[str]


def value(figure: float | None, signed: bool = False) -> str:
    """A figure to three decimals.

    >>> value(0.7892), value(-0.01234, signed=True), value(-0.0001, signed=True), value(None)
    ('0.789', '−0.012', '0.000', '–')
    """
    if figure is None:
        return NONE
    return number(figure, 3, signed) if round(figure, 3) else "0.000"


def interval(ends: Interval, signed: bool = False) -> str:
    """Both ends of an interval, with a comma between them."""
    return ", ".join(value(end, signed) for end in ends)


def listed(parts: Iterable[object]) -> str:
    """Parts of a sentence: "a, b and c"."""
    *most, last = map(str, parts)
    return f"{', '.join(most)} and {last}" if most else last


def support(difference: Mean) -> Support:
    """How far a difference of `HEADLINE` is supported."""
    if difference.value is None or difference.corrected is None or difference.recordings is None:
        return Support.UNKNOWN
    if difference.corrected >= LEVEL or not excludes_0(difference.recordings):
        return Support.NONE
    steady = difference.seeds_corrected is not None and difference.seeds_corrected < LEVEL
    same_side = difference.seeds is not None and min(end * difference.value for end in difference.seeds) > 0
    return Support.BOTH if steady and same_side else Support.RECORDINGS


def excludes_0(ends: Interval | None) -> bool:
    """Whether there is an interval and 0 lies outside."""
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def better(difference: Mean) -> str:
    """The word for a difference: better or worse."""
    return "better" if (difference.value or 0.0) > 0 else "worse"


def write(comparison: Comparison, experiments: Sequence[Experiment], demo: bool) -> Statements:
    """State what a comparison supports.

    `experiments` are all that were asked for, and `demo` says whether the test set is the built-in one.
    """
    reference, headline = comparison.reference, []
    findings: dict[str, str] = {}
    for mode in comparison.compared:
        for text, is_supported in _findings(comparison, mode).items():
            if is_supported:
                headline.append(f"{mode} scores {text}.")
            else:
                findings[mode] = f"{findings.get(mode, '')} {text[0].upper()}{text[1:]}.".lstrip()
    if len(comparison.seeds) == 1:
        headline = [f"Only {reference} was scored: there is nothing to compare it with."]
    elif not comparison.compared:
        headline = [f"No mode has a seed in common with {reference}: nothing can be compared."]
    elif not headline:
        headline = [f"No mode is shown to differ from {reference}."]
    environment = pages.environment("tarkib.comparison", is_html=False)
    numbers = {mode: len(seeds) for mode, seeds in comparison.seeds.items()}
    environment.filters.update(counted=counted, listed=listed, value=value)
    caveats = environment.get_template("caveats.txt").render(
        comparison=comparison,
        demo=demo,
        few_recordings=FEW_RECORDINGS,
        by_seeds=[(few, modes) for few in range(1, FEW_SEEDS) if (modes := [m for m in numbers if numbers[m] == few])],
        lacking=[experiment for experiment in experiments if experiment.state != DONE],
    )
    return Statements(" ".join(headline), findings, [line for line in caveats.splitlines() if line.strip()])


def _findings(comparison: Comparison, mode: str) -> dict[str, bool]:
    """Sentences on a mode's differences, without their full stop, and whether they state a supported difference."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for name, title in HEADLINE.items():
        difference = comparison.differences[mode, name]
        degree = support(difference)
        figure = f"{title} [{interval(difference.recordings, signed=True)}]" if difference.recordings else title
        if degree in _SCOPE:
            sentence = f"{better(difference)} than {comparison.reference} in {{}} {_SCOPE[degree]}"
            figure = f"{title} ({value(difference.value, signed=True)})"
        elif degree == Support.UNKNOWN:
            sentence = "undefined, or without an interval: {}"
        elif excludes_0(difference.recordings):
            sentence = f"only a hint in {{}}: not after correction for {comparison.family} differences"
        else:
            sentence = "no difference is shown in {}; differences beyond these intervals are unlikely"
        groups.setdefault((sentence, degree in _SCOPE), []).append(figure)
    return {sentence.format(listed(figures)): is_supported for (sentence, is_supported), figures in groups.items()}
