"""The report's pictures, as PNG: equal numbers give equal bytes.

Each comes on white and on dark paper, for pages of either. A difference is a mark with its interval over test
recordings. Among the headline figures the mark is filled where the difference is supported (`tarkib.comparison.words`),
by instrument, where nothing is corrected for, where the interval leaves out 0.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tarkib.comparison.analysis import Comparison, Mean
from tarkib.comparison.figures import BY_CLASS, BY_POLYPHONY, HEADLINE
from tarkib.comparison.notation import counted, spread, value
from tarkib.comparison.words import Support, support
from tarkib.evaluation.scores import CALIBRATION
from tarkib.params import MODES
from tarkib.runtime import plotting


class Paper(NamedTuple):
    """What a picture is drawn on and with: the ground, the writing, the lines, and a colour for each mode."""

    ground: str
    ink: str
    soft: str
    line: str
    modes: tuple[str, ...]


# Paul Tol's "muted" scheme as in the evaluation's picture, and on dark ground its brighter colours; told apart with any
# colour vision, and by their marks without colour.
LIGHT = Paper("#ffffff", "#1f1b16", "#665d52", "#d8d2c6", ("#777777", "#332288", "#117733", "#CC6677"))
DARK = Paper("#1c1f25", "#ece7dd", "#a8a196", "#3a3f48", ("#AAAAAA", "#88CCEE", "#DDCC77", "#EE99AA"))
_MARKS = ("s", "o", "D", "^")
_DPI = 160


def comparison(one: Comparison, paper: Paper = LIGHT) -> bytes:
    """Differences in the headline figures, and by instrument in ROC-AUC, side by side: the picture to show alone."""
    with _drawn((11.0, 5.4), paper) as (figure, png):
        axes = figure.subplots(1, 2, width_ratios=(1, 1))
        _draw_headline(axes[0], one, paper)
        _draw_instruments(axes[1], one, "class_roc_auc", paper)
        axes[0].set_title("All instruments", fontsize=11, color=paper.ink)
        axes[1].set_title(f"{BY_CLASS['class_roc_auc']} by instrument", fontsize=11, color=paper.ink)
        axes[0].set_xlabel(f"{axes[0].get_xlabel()}; filled: supported after correction", color=paper.ink)
        axes[1].set_xlabel(f"{axes[1].get_xlabel()}; filled: the interval leaves out 0", color=paper.ink)
        _key(figure, one, paper)
        size = f"{counted(one.clips, 'clip')} of {counted(one.recordings, 'recording')}, {_seeds(one)}"
        title = f"Differences to {one.reference} on {size}, with 95 % intervals over recordings"
        figure.suptitle(title, fontsize=12, color=paper.ink)
    return png.getvalue()


def headline(one: Comparison, paper: Paper = LIGHT) -> bytes:
    """Differences in the headline figures, with the intervals over seeds as thin lines beside."""
    with _drawn((6.4, 5.2), paper) as (figure, png):
        axes = figure.subplots()
        _draw_headline(axes, one, paper, seeds=True)
        _key(figure, one, paper)
    return png.getvalue()


def instruments(one: Comparison, name: str, paper: Paper = LIGHT) -> bytes:
    """Differences by instrument in one figure of `BY_CLASS`."""
    with _drawn((6.4, 6.0), paper) as (figure, png):
        _draw_instruments(figure.subplots(), one, name, paper)
        _key(figure, one, paper)
    return png.getvalue()


def polyphony(one: Comparison, paper: Paper = LIGHT) -> bytes:
    """Accuracy and F1 by the number of instruments that play."""
    numbers = list(one.polyphony)
    with _drawn((6.4, 3.6), paper) as (figure, png):
        for axes, (name, title) in zip(figure.subplots(1, 2), BY_POLYPHONY.items(), strict=True):
            for k, mode in enumerate(one.modes):
                means = [one.polyphony_means[mode][number][name] for number in numbers]
                places = np.arange(len(numbers)) + _offset(k, len(one.modes), 0.36)
                colour, mark = _look(mode, paper)
                for x, mean in zip(places, means, strict=True):
                    if mean.recordings:
                        axes.plot((x, x), mean.recordings, color=colour, linewidth=1.2)
                heights = [np.nan if mean.value is None else mean.value for mean in means]
                axes.plot(places, heights, color=colour, marker=mark, markersize=4, linewidth=0.8)
            axes.set(xticks=range(len(numbers)), xticklabels=numbers, ylim=(0, 1), xlabel="instruments that play")
            axes.set_title(title, fontsize=11, color=paper.ink)
        _key(figure, one, paper, modes=one.modes)
    return png.getvalue()


def reliability(one: Comparison, paper: Paper = LIGHT) -> bytes:
    """How often an instrument plays against the probability given, a small diagram for each mode."""
    columns = min(2, len(one.modes))
    rows = -(-len(one.modes) // columns)
    with _drawn((6.4, 3.1 * rows), paper) as (figure, png):
        cells = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes, mode in zip(cells, one.modes, strict=False):
            colour, mark = _look(mode, paper)
            bins = [b for b in one.reliability[mode] if b.count]
            total = sum(b.count for b in bins)
            axes.plot((0, 1), (0, 1), color=paper.soft, linewidth=0.8, linestyle=":")
            for b in bins:
                axes.bar(b.low, b.count / total, b.high - b.low, align="edge", color=paper.line, linewidth=0)
            axes.plot([b.claimed for b in bins], [b.right for b in bins], color=colour, marker=mark, markersize=5)
            axes.set_title(f"{mode}: ECE {value(one.means[mode][CALIBRATION].value)}", fontsize=11, color=paper.ink)
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        for axes in cells[len(one.modes) :]:
            axes.set_visible(False)
        figure.supxlabel("probability given (bars: share of all)", fontsize=10, color=paper.ink)
        figure.supylabel("share that plays", fontsize=10, color=paper.ink)
    return png.getvalue()


@contextmanager
def _drawn(size: tuple[float, float], paper: Paper) -> Iterator[tuple[Figure, io.BytesIO]]:
    """A figure to draw into, and where its PNG will be when the block has ended."""
    settings = {
        "font.size": 10.5,
        "text.color": paper.ink,
        "figure.facecolor": paper.ground,
        "axes.edgecolor": paper.soft,
        "axes.labelcolor": paper.ink,
        "axes.facecolor": paper.ground,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": paper.soft,
        "ytick.color": paper.soft,
        "xtick.labelcolor": paper.ink,
        "ytick.labelcolor": paper.ink,
    }
    png = io.BytesIO()
    with plotting.picture(png, *size, dpi=_DPI, settings=settings) as figure:
        yield figure, png


def _look(mode: str, paper: Paper) -> tuple[str, str]:
    place = MODES.index(mode)
    return paper.modes[place], _MARKS[place]


def _offset(k: int, count: int, width: float) -> float:
    return (k - (count - 1) / 2) * width / max(1, count - 1) if count > 1 else 0.0


def _draw_headline(axes: Axes, one: Comparison, paper: Paper, seeds: bool = False) -> None:
    names = list(HEADLINE)

    def shown(mode: str, row: int) -> tuple[Mean, bool]:
        found = one.differences[mode][names[row]]
        return found.mean, support(found) > Support.NONE

    _draw_differences(axes, one, list(HEADLINE.values()), shown, paper, seeds=seeds)


def _draw_instruments(axes: Axes, one: Comparison, name: str, paper: Paper) -> None:
    rows = [f"{instrument} ({one.positives[instrument]})" for instrument in one.classes]

    def shown(mode: str, row: int) -> tuple[Mean, bool]:
        mean = one.class_differences[mode][one.classes[row]][name]
        ends = mean.recordings
        return mean, ends is not None and (ends[0] > 0 or ends[1] < 0)

    _draw_differences(axes, one, rows, shown, paper)
    for y, instrument in enumerate(one.classes):
        if instrument in one.left_out:
            axes.text(0, y, f" {one.left_out[instrument]}", va="center", fontsize=8, style="italic", color=paper.soft)


def _draw_differences(
    axes: Axes,
    one: Comparison,
    rows: Sequence[str],
    shown: Callable[[str, int], tuple[Mean, bool]],
    paper: Paper,
    seeds: bool = False,
) -> None:
    """A row for each name, in it a mark and an interval for each mode.

    `shown` gives a mean by mode and row, and whether its mark is to be filled.
    """
    farthest = 0.0
    for k, mode in enumerate(one.differences):
        colour, mark = _look(mode, paper)
        for row in range(len(rows)):
            mean, filled = shown(mode, row)
            if mean.value is None:
                continue
            y = row + _offset(k, len(one.differences), 0.5)
            ends = mean.recordings
            farthest = max(farthest, abs(mean.value), *map(abs, ends or ()))
            if ends:
                axes.plot(ends, (y, y), color=colour, linewidth=1.8, solid_capstyle="butt")
            if seeds and mean.seeds:
                axes.plot(mean.seeds, (y + 0.1, y + 0.1), color=colour, linewidth=1.0, linestyle=(0, (1, 2)))
            face = colour if filled else paper.ground
            axes.plot(mean.value, y, mark, color=colour, markersize=6, markerfacecolor=face)
    for row in range(1, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=paper.line, alpha=0.28, linewidth=0)
    axes.axvline(0, color=paper.soft, linewidth=1.0)
    reach = 1.08 * farthest or 0.01
    axes.set(
        xlim=(-reach, reach),
        ylim=(len(rows) - 0.5, -0.5),
        yticks=range(len(rows)),
        yticklabels=rows,
        xlabel=f"difference to {one.reference}",
    )
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.xaxis.set_major_formatter(lambda x, _: value(x, signed=True))
    axes.tick_params(axis="y", length=0)


def _key(figure: Figure, one: Comparison, paper: Paper, modes: Sequence[str] | None = None) -> None:
    handles = []
    for mode in modes or one.differences:
        colour, mark = _look(mode, paper)
        handles.append(Line2D([], [], color=colour, marker=mark, linewidth=1.8, label=mode))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=10.5)


def _seeds(one: Comparison) -> str:
    return spread([len(seeds) for seeds in one.paired.values()], "seed")
