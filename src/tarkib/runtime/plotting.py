"""What pictures have in common: they look alike on every machine, and time runs along the same axis."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from tarkib.runtime.text import clock

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600)  # whole seconds between two marks
_MARKS = 12  # as many as there is room for


@contextmanager
def picture(
    file: Path | IO[bytes], width: float, height: float, *, dpi: int = 125, settings: Mapping[str, Any] | None = None
) -> Iterator[Figure]:
    """A figure to draw into, in inches, which is written to `file` as PNG when the block ends well.

    What is drawn alike gives equal bytes: the reader's own matplotlib settings do not count, `settings` do.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings or {})
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        # Without the program's name and version, the bytes depend on what is drawn alone.
        figure.savefig(file, format="png", metadata={"Software": None})


def time_axis(axes: Axes, seconds: float) -> None:
    """Let x be time, from 0 to `seconds`, with marks at whole seconds."""
    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: clock(at)))
    axes.xaxis.set_major_locator(MultipleLocator(next((s for s in _STEPS if seconds <= _MARKS * s), _STEPS[-1])))
