"""The report's pictures as PNG, on light or dark ground; equal numbers give equal bytes.

A difference is a mark with its interval over test recordings. The mark is filled if the difference is supported
(`tarkib.comparison.words`), and by instrument, where nothing is corrected for, if the interval excludes 0.
"""

import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tarkib.comparison.analysis import BY_CLASS, HEADLINE, Comparison, Mean
from tarkib.comparison.notation import counted, seed_counts, value
from tarkib.comparison.words import Support, excludes_0, support
from tarkib.evaluation.scores import CALIBRATION
from tarkib.params import MODES
from tarkib.runtime import plotting


class Paper(NamedTuple):
    """Colours of the ground, the text, the axes, the lines, and of each mode."""

    ground: str
    ink: str
    soft: str
    line: str
    modes: tuple[str, ...]


# Paul Tol's "muted" scheme and its brighter colours: distinct with any colour vision, as are the marks.
LIGHT = Paper("#ffffff", "#1f1b16", "#665d52", "#d8d2c6", ("#777777", "#332288", "#117733", "#CC6677"))
DARK = Paper("#1c1f25", "#ece7dd", "#a8a196", "#3a3f48", ("#AAAAAA", "#88CCEE", "#DDCC77", "#EE99AA"))
PAPERS = (LIGHT, DARK)

_MARKS = ("s", "o", "D", "^")


def shown(comparison: Comparison) -> list[str]:
    """Names of the pictures on the page."""
    differences = ["headline", *BY_CLASS] if comparison.compared else []
    return [*differences, "reliability"]


def draw(name: str, comparison: Comparison, paper: Paper = LIGHT) -> bytes:
    """Draw a picture of the page (`shown`), or `comparison`: the figures and ROC-AUC by instrument side by side."""
    rows = -(-len(comparison.modes) // 2)  # of reliability diagrams, two in each
    width = 11.0 if name == "comparison" else 6.4
    height = {"comparison": 5.4, "headline": 5.2, "reliability": 3.1 * rows}.get(name, 6.0)
    texts = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    settings = {
        **dict.fromkeys(texts, paper.ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), paper.ground),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), paper.soft),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        "font.size": 10.5,
        "axes.titlesize": 11,
    }
    png = io.BytesIO()
    with plotting.picture(png, width, height, dpi=160, settings=settings) as figure:
        if name == "comparison":
            left, right = figure.subplots(1, 2)
            _headline(left, comparison, paper)
            _instruments(right, comparison, "class_roc_auc", paper)
            left.set(title="All instruments", xlabel=f"{left.get_xlabel()}; filled: supported after correction")
            right.set(title="ROC-AUC by instrument", xlabel=f"{right.get_xlabel()}; filled: the interval excludes 0")
            size = f"{counted(comparison.clips, 'clip')} of {counted(comparison.recordings, 'recording')}"
            seeds = seed_counts(comparison.paired[mode] for mode in comparison.compared)
            figure.suptitle(
                f"Differences to {comparison.reference} on {size}, {seeds}, with 95 % intervals over recordings",
                fontsize=12,
            )
        elif name == "headline":
            _headline(figure.subplots(), comparison, paper, seeds=True)
        elif name == "reliability":
            _reliability(figure, comparison, paper)
        else:
            _instruments(figure.subplots(), comparison, name, paper)
        if name != "reliability":
            handles = [
                Line2D([], [], color=colour, marker=mark, linewidth=1.8, label=mode)
                for mode in comparison.compared
                for colour, mark in [_look(mode, paper)]
            ]
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return png.getvalue()


def _reliability(figure: Figure, comparison: Comparison, paper: Paper) -> None:
    modes = comparison.modes
    columns = min(2, len(modes))
    cells = list(figure.subplots(-(-len(modes) // columns), columns, squeeze=False, sharex=True, sharey=True).flat)
    for axes, mode in zip(cells, modes, strict=False):
        colour, mark = _look(mode, paper)
        bins = [b for b in comparison.reliability[mode] if b.count]
        total = sum(b.count for b in bins)
        axes.plot((0, 1), (0, 1), color=paper.soft, linewidth=0.8, linestyle=":")
        for b in bins:
            axes.bar(b.low, b.count / total, b.high - b.low, align="edge", color=paper.line, linewidth=0)
        axes.plot([b.claimed for b in bins], [b.right for b in bins], color=colour, marker=mark, markersize=5)
        axes.set_title(f"{mode}: ECE {value(comparison.means[mode, CALIBRATION].value)}")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for axes in cells[len(modes) :]:
        axes.set_visible(False)
    figure.supxlabel("probability given (bars: share of all)", fontsize=10)
    figure.supylabel("share that plays", fontsize=10)


def _headline(axes: Axes, comparison: Comparison, paper: Paper, seeds: bool = False) -> None:
    rows = {title: (name,) for name, title in HEADLINE.items()}
    _differences(axes, comparison, rows, lambda mean: support(mean) > Support.NONE, paper, seeds)


def _instruments(axes: Axes, comparison: Comparison, name: str, paper: Paper) -> None:
    rows = {f"{instrument} ({clips})": (name, instrument) for instrument, clips in comparison.positives.items()}
    _differences(axes, comparison, rows, lambda mean: excludes_0(mean.recordings), paper)
    for y, instrument in enumerate(comparison.positives):
        if why := comparison.left_out.get(instrument):
            axes.text(0, y, f" {why}", va="center", fontsize=8, style="italic", color=paper.soft)


def _differences(
    axes: Axes,
    comparison: Comparison,
    rows: Mapping[str, tuple[str, ...]],
    filled: Callable[[Mean], bool],
    paper: Paper,
    seeds: bool = False,
) -> None:
    """A row for each title with a mark and an interval for each mode, that over seeds dotted if asked for."""
    farthest = 0.0
    for offset, mode in zip(_offsets(len(comparison.compared), 0.5), comparison.compared, strict=True):
        colour, mark = _look(mode, paper)
        for y, key in enumerate(rows.values()):
            mean = comparison.differences[mode, *key]
            if mean.value is None:
                continue
            farthest = max(farthest, abs(mean.value), *map(abs, mean.recordings or ()))
            if mean.recordings:
                height = (y + offset, y + offset)
                axes.plot(mean.recordings, height, color=colour, linewidth=1.8, solid_capstyle="butt")
            if seeds and mean.seeds:
                height = (y + offset + 0.1, y + offset + 0.1)
                axes.plot(mean.seeds, height, color=colour, linewidth=1.0, linestyle=(0, (1, 2)))
            face = colour if filled(mean) else paper.ground
            axes.plot(mean.value, y + offset, mark, color=colour, markersize=6, markerfacecolor=face)
    for row in range(1, len(rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=paper.line, alpha=0.28, linewidth=0)
    axes.axvline(0, color=paper.soft, linewidth=1.0)
    reach = 1.08 * farthest or 0.01
    axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=list(rows))
    axes.set_xlabel(f"difference to {comparison.reference}")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.xaxis.set_major_formatter(lambda x, _: value(x, signed=True))
    axes.tick_params(axis="y", length=0)


def _offsets(count: int, width: float) -> np.ndarray:
    """Places of the modes beside one another around 0."""
    return np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(count)


def _look(mode: str, paper: Paper) -> tuple[str, str]:
    """Colour and mark of a mode."""
    place = MODES.index(mode)
    return paper.modes[place], _MARKS[place]
