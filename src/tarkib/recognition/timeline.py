"""A picture of a recognition: ten instruments over the time of a recording."""

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgba

from tarkib.recognition.result import Recognition
from tarkib.runtime import plotting
from tarkib.vocabulary import PERSIAN

_COLUMNS = 1_200
_PRESENT, _ABSENT, _GREY = "#117733", "#88CCEE", "#666666"
_ROW = 0.86  # height of probability 1, as a share of the row


def draw(recognition: Recognition, path: Path, title: str = "") -> None:
    """Draw a recognition into a PNG file of 1500 by 750 pixels; equal recognitions give equal bytes.

    The height of an instrument's curve is its probability, dark green at or above the threshold (the dotted line).
    """
    borders, activity, present = recognition.thinned(_COLUMNS)
    with plotting.picture(path, 12, 6) as picture:
        axes = picture.subplots()
        rows = axes.get_yaxis_transform()  # x as a share of the axes, y as a row
        for row, label in enumerate(recognition.labels):
            weight = "bold" if present[:, row].any() else "normal"
            for x, name in ((-0.008, label), (-0.115, PERSIAN[label])):
                axes.text(x, row, name, transform=rows, ha="right", va="center", fontsize=11, fontweight=weight)
            floor = row + _ROW / 2
            axes.axhline(floor, color="#CCCCCC", linewidth=0.6)
            if not recognition.trained[row]:
                axes.text(
                    0.5, row, "never trained on", transform=rows, ha="center", va="center", color=_GREY, fontsize=9
                )
                continue
            for colour, shown in ((_ABSENT, ~present[:, row]), (_PRESENT, present[:, row])):
                tops = np.where(shown, floor - _ROW * activity[:, row], floor)
                axes.stairs(tops, borders, baseline=floor, fill=True, color=to_rgba(colour, 0.9), linewidth=0)
            axes.axhline(floor - _ROW * recognition.thresholds[row], color=_GREY, linewidth=0.5, linestyle=":")
        xlabel = "minutes:seconds (height: probability; dark green: at or above the threshold, the dotted line)"
        axes.set(ylim=(len(recognition.labels) - 0.45, -0.55), yticks=[], xlabel=xlabel)
        plotting.time_axis(axes, recognition.seconds)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_title(title, fontsize=12, parse_math=False)  # a dollar sign in a file name does not start a formula
