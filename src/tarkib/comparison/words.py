"""What the numbers support, in words, and what they do not.

A difference is held to be shown where its p-value over test recordings, after Holm's correction over all differences of
the table, is below 0.05: other recordings of the kind would most likely say the same of these models. It is held to
be shown for another draw of mixtures and training too where, besides, the p-value of a t-test over seeds is below 0.05,
corrected in the same way, and on the same side. Nothing else is called a difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tarkib.comparison import significance
from tarkib.comparison.analysis import Comparison, Difference, Mean
from tarkib.comparison.experiments import DONE, FAILED, Experiment
from tarkib.comparison.figures import BY_CLASS, HEADLINE
from tarkib.comparison.notation import counted, listed, reach, spread, value
from tarkib.evaluation.report import FEW_RECORDINGS

LEVEL = 0.05


class Support(IntEnum):
    """How far a difference is supported."""

    UNKNOWN = 0
    """no interval over recordings: the figure is undefined, or there is but one recording"""
    NONE = 1
    RECORDINGS = 2
    """for other recordings of this kind, with the models as trained"""
    BOTH = 3
    """for another draw of mixtures and training as well"""


SUPPORTS = {
    Support.UNKNOWN: "cannot be told",
    Support.NONE: "no difference shown",
    Support.RECORDINGS: "with these models",
    Support.BOTH: "with these models and another draw",
}
"""The same in the fewest words, for a table."""


@dataclass(frozen=True)
class Words:
    """A headline, a sentence or two for each mode, one on instruments, and what has to be borne in mind."""

    headline: str
    findings: tuple[tuple[str, str], ...]
    """mode and what is found of it"""
    instruments: str
    hints: tuple[tuple[str, str], ...]
    """mode and the instruments whose interval leaves out 0"""
    caveats: tuple[str, ...]


def support(one: Difference) -> Support:
    """How far a difference is supported."""
    ends = one.mean.recordings
    if one.mean.value is None or one.corrected is None or ends is None:
        return Support.UNKNOWN
    if one.corrected >= LEVEL or not _leaves_out_0(ends):
        return Support.NONE
    seeds = one.mean.seeds
    steady = one.seeds_corrected is not None and one.seeds_corrected < LEVEL
    same_side = seeds is not None and _leaves_out_0(seeds) and (seeds[0] > 0) == (ends[0] > 0)
    return Support.BOTH if steady and same_side else Support.RECORDINGS


def _leaves_out_0(ends: tuple[float, float]) -> bool:
    return ends[0] > 0 or ends[1] < 0


def better(mean: Mean) -> bool:
    """Whether a difference that is there is one for the better."""
    return mean.value is not None and mean.value > 0


def write(comparison: Comparison, experiments: Sequence[Experiment], demo: bool) -> Words:
    """Say what a comparison supports.

    experiments : all that were asked for; those that are not done are told.
    demo : whether the test set is the built-in one.
    """
    instruments, hints = _instruments(comparison)
    return Words(
        headline=_headline(comparison),
        findings=tuple((mode, _finding(comparison, mode)) for mode in comparison.differences),
        instruments=instruments,
        hints=hints,
        caveats=tuple(_caveats(comparison, experiments, demo)),
    )


def _headline(comparison: Comparison) -> str:
    reference, differences = comparison.reference, comparison.differences
    if not differences:
        if len(comparison.modes) == 1:
            return f"Only {reference} was scored: there is nothing to compare it with."
        return f"No mode has a seed in common with {reference}: nothing can be compared."
    found = {}
    for mode, figures in differences.items():
        for name, one in figures.items():
            if (degree := support(one)) > Support.NONE:
                found.setdefault((degree, better(one.mean)), {}).setdefault(mode, []).append(HEADLINE[name])
    if not found:
        if all(support(one) == Support.UNKNOWN for figures in differences.values() for one in figures.values()):
            return f"Whether a mode differs from {reference} cannot be told from {_tested(comparison)}."
        return f"No mode is shown to differ from {reference}."
    clauses = []
    for (degree, good), modes in sorted(found.items(), key=lambda item: (-item[0][0], not item[0][1])):
        how = f"{'better' if good else 'worse'} than {reference}"
        if len(modes) == 1:
            [(mode, titles)] = modes.items()
            clause = f"{mode} scores {how} in {listed(titles)},"
        else:
            clause = f"{listed([f'{mode} ({listed(titles)})' for mode, titles in modes.items()])} score {how}"
        clauses.append(f"{clause} {_reach(degree, comparison, modes)}.")
    return " ".join(clauses)


def _reach(degree: Support, comparison: Comparison, modes: Sequence[str]) -> str:
    if degree == Support.BOTH:
        return "on recordings like these, with these models and with another draw of mixtures and training"
    seeds = spread([len(comparison.paired[mode]) for mode in modes], "seed")
    return (
        f"on recordings like these, with these models; {seeds} cannot tell about another draw of mixtures and training"
    )


def _tested(comparison: Comparison) -> str:
    return counted(comparison.recordings, "recording")


def _finding(comparison: Comparison, mode: str) -> str:
    """All figures of a mode, by how far their differences are supported."""
    groups: dict[tuple[Support, bool], list[str]] = {}
    for name, one in comparison.differences[mode].items():
        degree = support(one)
        title = HEADLINE[name]
        if degree > Support.NONE:
            groups.setdefault((degree, better(one.mean)), []).append(f"{title} ({value(one.mean.value, signed=True)})")
        elif degree == Support.NONE:
            # Whether by itself its interval would leave out 0, all the same.
            hint = _leaves_out_0(one.mean.recordings)
            groups.setdefault((degree, hint), []).append(f"{title} ({reach(one.mean.recordings)})")
        else:
            groups.setdefault((degree, False), []).append(title)
    sentences = []
    for (degree, good), titles in sorted(groups.items(), key=lambda item: (-item[0][0], not item[0][1])):
        if degree == Support.NONE and good:
            sentences.append(
                f"A hint and no more in {listed(titles)}: by itself the interval leaves out 0, but not after "
                f"correction for {counted(comparison.family, 'difference')}."
            )
        elif degree > Support.NONE:
            sentences.append(
                f"{'Better' if good else 'Worse'} in {listed(titles)} {_reach(degree, comparison, [mode])}."
            )
        elif degree == Support.NONE:
            sentences.append(
                f"No difference is shown in {listed(titles)}: so far the intervals reach, and larger differences than "
                "these are unlikely."
            )
        elif comparison.recordings < 2:
            sentences.append(f"Of {listed(titles)} one recording cannot tell.")
        else:
            sentences.append(f"Of {listed(titles)} nothing can be told: undefined here.")
    return " ".join(sentences)


def _instruments(comparison: Comparison) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Where the intervals by instrument leave out 0, and how many would do so by chance."""
    looks, hints = 0, []
    for mode, classes in comparison.class_differences.items():
        parts = []
        for name, figures in classes.items():
            there = {figure: mean for figure, mean in figures.items() if mean.recordings is not None}
            looks += len(there)
            told = [
                f"{BY_CLASS[figure]} {value(mean.value, signed=True)}"
                for figure, mean in there.items()
                if _leaves_out_0(mean.recordings)
            ]
            if told:
                parts.append(f"{name} ({', '.join(told)})")
        if parts:
            hints.append((mode, listed(parts)))
    if not looks:
        return "By instrument nothing can be told: there are no intervals.", ()
    if not hints:
        return f"On no instrument does the interval of a difference leave out 0, in {looks} looks.", ()
    chance = looks * LEVEL
    about = f"about {chance:.0f}" if chance >= 1 else "less than one"
    return (
        "On these instruments the interval of a difference leaves out 0. They are hints, not findings: nothing is "
        f"corrected for, and of {looks} looks {about} would do so by chance alone.",
        tuple(hints),
    )


def _caveats(comparison: Comparison, experiments: Sequence[Experiment], demo: bool) -> Iterator[str]:
    if demo:
        yield (
            "The test set is the built-in demo, synthesised music: it shows that the pipeline works. What the modes "
            "are worth on real music only real recordings can tell."
        )
    yield _about_recordings(comparison)
    yield from _about_seeds(comparison)
    lacking = [f"{one.title} ({one.state})" for one in experiments if one.state != DONE]
    if lacking:
        yield f"Not in the numbers: {listed(lacking)}." + (
            " Calling the command again tries what failed anew."
            if any(one.state == FAILED for one in experiments)
            else ""
        )
    yield from _about_accuracy(comparison)
    yield (
        "Thresholds come from validation mixtures made in the same mode, so a difference in accuracy or F1 "
        "is one of model and thresholds together; ROC-AUC and mAP need no threshold, and accuracy at 0.5 has the same "
        "for all."
    )
    yield (
        "ECE, the expected calibration error, is too high where clips are few, since chance alone keeps shares from "
        "probabilities; its differences are not tested."
    )
    if len(comparison.differences) > 1:
        yield f"Each mode was held against {comparison.reference} alone, not against the others."
    for reason in dict.fromkeys(comparison.left_out.values()):
        names = [name for name, other in comparison.left_out.items() if other == reason]
        yield f"Left out of the macro averages ({reason}): {listed(names)}."


def _about_recordings(comparison: Comparison) -> str:
    size = f"The test set has {counted(comparison.clips, 'clip')} of {_tested(comparison)}"
    if comparison.recordings < 2:
        return f"{size}: with no other to resample there are no intervals over recordings, and nothing is shown."
    if comparison.recordings < FEW_RECORDINGS:
        least = significance.bootstrap_p(np.ones(comparison.rounds), comparison.recordings) * comparison.family
        if least >= LEVEL:
            return (
                f"{size}. So few can show no difference, however large: the least p-value that they allow is "
                f"{least:.2f} after correction."
            )
        return (
            f"{size}. With fewer than {FEW_RECORDINGS}, intervals from resampling them are narrower and p-values "
            "smaller than they should be."
        )
    return f"{size}; what is said holds for recordings of this kind, not for music of another."


def _about_seeds(comparison: Comparison) -> Iterator[str]:
    counts = {len(seeds) for seeds in comparison.seeds.values()}
    fewest = min(counts)
    if fewest < 2:
        lone = [mode for mode, seeds in comparison.seeds.items() if len(seeds) < 2]
        yield (
            f"With one seed ({listed(lone)}) there is no interval over seeds: another draw of mixtures and training "
            "may say otherwise."
        )
    elif fewest < 5:
        yield (
            f"{counted(fewest, 'seed').capitalize()} make a wide interval over seeds; with --seeds 1,2,3,4,5 it is "
            f"about {_narrower(fewest):.0f} times narrower for the same spread."
        )
    for mode, paired in comparison.paired.items():
        alone = sorted(set(comparison.seeds[mode]) ^ set(comparison.seeds[comparison.reference]))
        if alone and paired:
            yield (
                f"{mode} is held against {comparison.reference} on {'seed' if len(paired) == 1 else 'seeds'} "
                f"{listed([str(seed) for seed in paired])}; {listed([str(seed) for seed in alone])}, which only one of "
                "them has, is left out."
            )
        elif alone:
            yield f"{mode} and {comparison.reference} have no seed in common, so they are not held against each other."


def _narrower(seeds: int) -> float:
    from scipy import stats

    widths = [stats.t.ppf(0.975, n - 1) / n**0.5 for n in (seeds, 5)]
    return float(widths[0] / widths[1])


def _about_accuracy(comparison: Comparison) -> Iterator[str]:
    if comparison.floor is None:
        return
    below = [
        mode
        for mode, figures in comparison.means.items()
        if figures["accuracy"].value is not None and figures["accuracy"].value <= comparison.floor
    ]
    floor = f"Answering that nothing ever plays has an accuracy of {value(comparison.floor)}"
    if below:
        yield f"{floor}, and {listed(below)} {'is' if len(below) == 1 else 'are'} no better than that."
    else:
        yield f"{floor}: accuracy is to be read from there up, not from 0."
