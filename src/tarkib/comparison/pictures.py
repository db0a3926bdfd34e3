"""The report's pictures as PNG, on a light or dark background; equal numbers give equal bytes.

A difference is a mark with its interval over test recordings. The mark is filled if the difference is supported
(`tarkib.comparison.statements`), so never by instrument, where nothing is corrected for.
"""

import io
import itertools
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tarkib.comparison.analysis import HEADLINE, Comparison
from tarkib.comparison.statements import Support, support, value
from tarkib.evaluation.scores import CALIBRATION
from tarkib.params import MODES
from tarkib.runtime import plotting
from tarkib.runtime.text import counted


class Theme(NamedTuple):
    """Colours of the background, text, axes and grid, and of each mode."""

    background: str
    text: str
    axes: str
    grid: str
    modes: tuple[str, ...]


# Paul Tol's "muted" scheme and its brighter colours: distinct with any colour vision, as are the marks.
LIGHT = Theme("#ffffff", "#1f1b16", "#665d52", "#d8d2c6", ("#777777", "#332288", "#117733", "#CC6677"))
DARK = Theme("#1c1f25", "#ece7dd", "#a8a196", "#3a3f48", ("#AAAAAA", "#88CCEE", "#DDCC77", "#EE99AA"))


def draw(name: str, comparison: Comparison, theme: Theme = LIGHT) -> bytes:
    """Draw `headline`, a figure of `BY_CLASS`, `reliability`, or `comparison`: the headline beside ROC-AUC by class."""
    rows = -(-len(comparison.seeds) // 2)  # of reliability diagrams, two in each
    # The page shows the others narrow, on a phone too: a narrow picture has larger letters there.
    width = 11.0 if name == "comparison" else 4.6
    height = {"comparison": 5.4, "headline": 4.6, "reliability": 2.5 * rows}.get(name, 5.6)
    texts = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    settings = {
        **dict.fromkeys(texts, theme.text),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), theme.background),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), theme.axes),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        "font.size": 10.5,
        "axes.titlesize": 11,
    }
    png = io.BytesIO()
    with plotting.picture(png, width, height, dpi=160, settings=settings) as figure:
        if name == "reliability":
            _reliability(figure, comparison, theme)
        elif name == "comparison":
            left, right = figure.subplots(1, 2)
            _differences(left, comparison, "headline", theme)
            _differences(right, comparison, "class_roc_auc", theme)
            left.set(title="All instruments", xlabel=f"{left.get_xlabel()}; filled: supported; dotted: over seeds")
            right.set(title="ROC-AUC by instrument", xlabel=f"{right.get_xlabel()}; not corrected for their number")
            size = f"{counted(comparison.clips, 'clip')} of {counted(comparison.recordings, 'recording')}"
            title = f"Differences to {comparison.reference} on {size}, with 95 % intervals over recordings"
            figure.suptitle(title, fontsize=12)
        else:
            _differences(figure.subplots(), comparison, name, theme)
        if name != "reliability":
            handles = [Line2D([], [], **_look(mode, theme), linewidth=1.8, label=mode) for mode in comparison.compared]
            figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return png.getvalue()


def _reliability(figure: Figure, comparison: Comparison, theme: Theme) -> None:
    columns = min(2, len(comparison.seeds))
    rows = -(-len(comparison.seeds) // columns)
    cells = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, mode in itertools.zip_longest(cells, comparison.seeds):
        if mode is None:
            axes.set_visible(False)
            continue
        bins = [b for b in comparison.reliability[mode] if b.count]
        total = sum(b.count for b in bins)
        axes.plot((0, 1), (0, 1), color=theme.axes, linewidth=0.8, linestyle=":")
        for b in bins:
            axes.bar(b.low, b.count / total, b.high - b.low, align="edge", color=theme.grid, linewidth=0)
        axes.plot([b.claimed for b in bins], [b.right for b in bins], **_look(mode, theme), markersize=5)
        axes.set_title(f"{mode}: ECE {value(comparison.means[mode, CALIBRATION].value)}")
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    figure.supxlabel("probability given (bars: share of all)", fontsize=10)
    figure.supylabel("share that plays", fontsize=10)


def _differences(axes: Axes, comparison: Comparison, name: str, theme: Theme) -> None:
    """A row for each headline figure, or each instrument in the figure `name`, with a mark and an interval by mode."""
    headline = name == "headline"
    if headline:
        rows: dict[str, tuple[str, ...]] = {title: (figure,) for figure, title in HEADLINE.items()}
    else:
        rows = {f"{item} ({clips})": (name, item) for item, clips in comparison.positives.items()}
    modes = comparison.compared
    offsets = np.linspace(-0.25, 0.25, len(modes)) if len(modes) > 1 else [0.0]
    farthest = 0.0
    for y, key in enumerate(rows.values()):
        for mode, offset in zip(modes, offsets, strict=True):
            look, mean = _look(mode, theme), comparison.differences[mode, *key]
            if mean.value is None:
                continue
            farthest = max(farthest, abs(mean.value), *map(abs, mean.recordings or ()))
            if mean.recordings:
                axes.hlines(y + offset, *mean.recordings, color=look["color"], linewidth=1.8)
            if headline and mean.seeds:
                axes.hlines(y + offset + 0.1, *mean.seeds, color=look["color"], linewidth=1.0, linestyle=(0, (1, 2)))
            filled = headline and support(mean) > Support.NONE
            face = look["color"] if filled else theme.background
            axes.plot(mean.value, y + offset, **look, markersize=6, markerfacecolor=face)
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color=theme.grid, alpha=0.28, linewidth=0)
        if why := comparison.left_out.get(key[-1]):
            axes.text(0, y, f" {why}", va="center", fontsize=8, style="italic", color=theme.axes)
    axes.axvline(0, color=theme.axes, linewidth=1.0)
    reach = 1.08 * farthest or 0.01
    axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)), yticklabels=list(rows))
    axes.set_xlabel(f"difference to {comparison.reference}")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    axes.xaxis.set_major_formatter(lambda x, _: value(x, signed=True))
    axes.tick_params(axis="y", length=0)


def _look(mode: str, theme: Theme) -> dict[str, Any]:
    """Colour and mark of a mode."""
    place = MODES.index(mode)
    return {"color": theme.modes[place], "marker": "soD^"[place]}
