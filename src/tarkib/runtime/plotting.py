"""Pictures that look alike on every machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from tarkib.runtime.text import clock, time_step

_MAX_TICKS = 12


@contextmanager
def picture(
    file: Path | IO[bytes], width: float, height: float, *, dpi: int = 125, settings: dict[Any, Any] | None = None
) -> Iterator[Figure]:
    """A figure of width x height inches, written to `file` as PNG when the block ends well; same bytes everywhere.

    `settings` are added to matplotlib's defaults, not to the user's matplotlibrc.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings or {})
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        # No name and version of the program: only the drawing decides the bytes.
        figure.savefig(file, format="png", metadata={"Software": None})


def time_axis(axes: Axes, seconds: float) -> None:
    """Make x the time from 0 to `seconds`, with ticks at whole seconds."""
    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: clock(at)))
    axes.xaxis.set_major_locator(MultipleLocator(time_step(seconds, _MAX_TICKS)))
