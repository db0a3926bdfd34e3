"""The tables of the report as text, for Markdown and HTML alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from tarkib.comparison import paper
from tarkib.comparison.analysis import Comparison, Mean
from tarkib.comparison.experiments import DONE, Experiment
from tarkib.comparison.figures import HEADLINE
from tarkib.comparison.notation import NONE, counted, interval, p_value, value
from tarkib.comparison.words import SUPPORTS, Support, better, support
from tarkib.evaluation.scores import CALIBRATION

COVERS = (
    "In square brackets, the 95 % interval over test recordings: what another set of recordings of this kind might "
    "have given, with the models as they were trained (cluster bootstrap of the mean over seeds, the same resamples "
    "for all modes; expanded percentile interval). In round brackets, the 95 % interval over seeds: what another draw "
    "of the mixtures and of the training might have given, on these recordings (Student's t)."
)
"""What the two intervals of a cell cover."""


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: its text, and smaller lines below it."""

    text: str
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A table: its name, its heading, its rows (the first cell heads the row), what has to be said of it."""

    key: str
    title: str
    heading: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def means(comparison: Comparison) -> Layout:
    """Every mode's figures: the mean over seeds, and both intervals."""
    rows = [
        (Cell(title), *(_mean(comparison.means[mode][name]) for mode in comparison.modes))
        for name, title in {**HEADLINE, CALIBRATION: "ECE"}.items()
    ]
    seeds = {mode: counted(len(seeds), "seed") for mode, seeds in comparison.seeds.items()}
    heading = tuple(f"{mode} ({seeds[mode]})" for mode in comparison.modes)
    note = (
        f"{COVERS} ROC-AUC, mAP and F1 macro are means over the instruments; ECE, the expected calibration error, is "
        f"over all cells in ten bins, lower is better. Predicting nothing at all: accuracy {value(comparison.floor)}."
    )
    return Layout("means", "The modes", ("figure", *heading), tuple(rows), note)


def _mean(one: Mean, signed: bool = False) -> Cell:
    below = [interval(one.recordings, signed)] if one.recordings else []
    if one.seeds:
        below.append(_round(interval(one.seeds, signed)))
    return Cell(value(one.value, signed), tuple(below))


def _round(brackets: str) -> str:
    return brackets.replace("[", "(").replace("]", ")")


def differences(comparison: Comparison) -> Layout:
    """Every mode's differences to the reference, with p-values and what is supported."""
    rows = []
    for mode, figures in comparison.differences.items():
        for name, one in figures.items():
            degree = support(one)
            text = SUPPORTS[degree]
            if degree > Support.NONE:
                text = f"{'better' if better(one.mean) else 'worse'}, {text}"
            rows.append(
                (
                    Cell(f"{mode}: {HEADLINE[name]}"),
                    Cell(value(one.mean.value, signed=True)),
                    Cell(interval(one.mean.recordings, signed=True)),
                    Cell(_round(interval(one.mean.seeds, signed=True))),
                    Cell(p_value(one.p)),
                    Cell(p_value(one.corrected)),
                    Cell(text),
                )
            )
    heading = ("difference", "mean", "over recordings", "over seeds", "p", "p, Holm", "supported")
    note = (
        f"Each is the mode less {comparison.reference}, seed by seed on the same clips and the same "
        f"{comparison.rounds:,} resamples. p: two-sided, from those resamples (Davison and Hinkley, 1997, section "
        f"4.2). p, Holm: corrected over all {comparison.family} differences of this table (Holm, 1979). Supported: "
        "with these models, where p, Holm is below 0.05; with another draw too, where so is the p of a t-test over "
        "seeds, corrected alike."
    )
    return Layout("differences", f"Differences to {comparison.reference}", heading, tuple(rows), note)


def instruments(comparison: Comparison, name: str, title: str) -> Layout:
    """A figure by instrument: the reference's, and the other modes' differences to it."""
    rows = []
    for one in comparison.classes:
        cells = [Cell(one, (f"in {counted(comparison.positives[one], 'clip')}",))]
        if one in comparison.left_out:
            cells += [Cell(NONE)] * (1 + len(comparison.class_differences))
        else:
            cells.append(_mean(comparison.class_means[comparison.reference][one][name]))
            cells += [_mean(classes[one][name], signed=True) for classes in comparison.class_differences.values()]
        rows.append(tuple(cells))
    heading = ("instrument", comparison.reference, *(f"{mode}, difference" for mode in comparison.class_differences))
    return Layout(name, f"{title} by instrument", heading, tuple(rows))


def polyphony(comparison: Comparison) -> Layout:
    """Accuracy and F1 by the number of instruments that play."""
    rows = [
        (
            Cell(counted(number, "instrument"), (counted(clips, "clip"),)),
            *(
                Cell(
                    value(comparison.polyphony_means[mode][number]["polyphony_accuracy"].value),
                    (f"F1 {value(comparison.polyphony_means[mode][number]['polyphony_f1_micro'].value)}",),
                )
                for mode in comparison.modes
            ),
        )
        for number, clips in comparison.polyphony.items()
    ]
    return Layout(
        "polyphony", "Accuracy and F1 micro by number of instruments", ("playing", *comparison.modes), tuple(rows)
    )


def reported() -> Layout:
    """The paper's own figures."""
    rows = [(Cell(mode), Cell(value(one.accuracy)), Cell(value(one.roc_auc))) for mode, one in paper.REPORTED.items()]
    return Layout("paper", "The paper’s own figures", ("mode", "accuracy", "ROC-AUC"), tuple(rows), paper.NOTE)


def runs(experiments: Sequence[Experiment]) -> Layout:
    """What was run: an experiment a row."""
    rows = [
        (
            Cell(f"{one.mode}, seed {one.seed}"),
            Cell(one.state if one.state == DONE or not one.reason else f"{one.state}: {one.reason}"),
            Cell(one.name if one.state == DONE or one.reason else NONE),
            Cell((one.revision or NONE)[:9]),
            Cell(NONE if one.created is None else f"{one.created:%Y-%m-%d %H:%M} UTC"),
        )
        for one in experiments
    ]
    return Layout("runs", "Experiments", ("experiment", "state", "name", "commit", "made"), tuple(rows))
