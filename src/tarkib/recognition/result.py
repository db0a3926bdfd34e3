"""What was heard in one recording: probabilities by window, and which instruments play when.

What is said of one hop is the mean over the windows that cover its middle, so that an entry or an end is blurred by up
to half a window.

Conventions
-----------
w windows, f frames of one hop each (the last may be shorter), classes in the order of `vocabulary.INSTRUMENTS`.
Probabilities are in 0..1, NaN for a class that the classifier was not trained on, and 0 in a window that is silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import pandas as pd

from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE
from tarkib.runtime.text import clock


@dataclass(frozen=True)
class Segment:
    """An instrument playing from `start_s` to `end_s`; `probability` is the mean over it, 0..1."""

    instrument: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class Recognition:
    """What was heard in one recording.

    seconds : its length.
    hop_s : seconds from window to window.
    starts_s : where the windows begin, shape (w,); each lasts `audio.CLIP_SECONDS`, or to the end.
    window_probabilities : float32, shape (w, 10).
    silent : which windows are silent, bool, shape (w,).
    labels, thresholds, trained : the classes; the probability from which each counts as present, shape (10,); whether
        the classifier was trained on it, bool, shape (10,).
    remarks : what is odd about the file.
    """

    seconds: float
    hop_s: float
    starts_s: np.ndarray
    window_probabilities: np.ndarray
    silent: np.ndarray
    labels: tuple[str, ...]
    thresholds: np.ndarray
    trained: np.ndarray
    remarks: tuple[str, ...] = ()

    @property
    def ends_s(self) -> np.ndarray:
        """Where the windows end, shape (w,)."""
        return np.minimum(self.starts_s + CLIP_SECONDS, self.seconds)

    @property
    def remark(self) -> str:
        """What one should know of the recording before one relies on what was heard; empty, mostly."""
        return "; ".join(self.remarks)

    @cached_property
    def frames_s(self) -> np.ndarray:
        """Borders of the frames, shape (f + 1,), from 0 to the recording's length."""
        # A last frame of less than a sample would be rounding, not sound.
        count = max(1, int(np.ceil(self.seconds / self.hop_s - 1.0 / SAMPLE_RATE)))
        return np.append(np.arange(count) * self.hop_s, self.seconds)

    @cached_property
    def activity(self) -> np.ndarray:
        """Mean probability of the windows that cover each frame's middle, shape (f, 10)."""
        middles = (self.frames_s[:-1] + self.frames_s[1:]) / 2
        first = np.searchsorted(middles, self.starts_s)
        after = np.searchsorted(middles, self.starts_s + CLIP_SECONDS)
        # Each window adds itself where it begins to cover and takes itself away where it ceases to.
        steps = np.zeros((len(middles) + 1, 1 + len(self.labels)))
        values = np.column_stack([np.ones(len(first)), self.window_probabilities])
        np.add.at(steps, first, values)
        np.add.at(steps, after, -values)
        sums = np.cumsum(steps[:-1], axis=0)
        return np.clip(sums[:, 1:] / sums[:, :1], 0.0, 1.0)

    @cached_property
    def present(self) -> np.ndarray:
        """Whether each instrument counts as present in each frame, bool, shape (f, 10)."""
        return self.activity >= self.thresholds

    @cached_property
    def segments(self) -> list[Segment]:
        """Runs of frames in which an instrument is present, by instrument, then by time."""
        found = []
        for k, instrument in enumerate(self.labels):
            for plays, run in groupby(range(len(self.present)), key=lambda i, k=k: self.present[i, k]):
                if plays:
                    frames = list(run)
                    start_s, end_s = self.frames_s[frames[0]], self.frames_s[frames[-1] + 1]
                    found.append(
                        Segment(instrument, float(start_s), float(end_s), float(self.activity[frames, k].mean()))
                    )
        return found

    def thinned(self, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Borders in seconds, activity and presence of at most `columns` columns, each with the most that it holds.

        Shapes (c + 1,), (c, 10) and (c, 10); so a picture of a long recording hides no short segment.
        """
        starts = np.arange(0, len(self.activity), -(-len(self.activity) // columns))
        borders = np.append(self.frames_s[starts], self.seconds)
        return borders, np.maximum.reduceat(self.activity, starts), np.logical_or.reduceat(self.present, starts)

    def table(self) -> pd.DataFrame:
        """One row a window: `start_s`, `end_s`, and a column of probabilities for each instrument."""
        columns = {"start_s": self.starts_s, "end_s": self.ends_s}
        return pd.DataFrame({**columns, **dict(zip(self.labels, self.window_probabilities.T, strict=True))})

    def __str__(self) -> str:
        """Say which instruments were found, for how long and when, in lines to read."""
        lines = [f"{clock(self.seconds)} heard in {len(self.starts_s)} window{'s' * (len(self.starts_s) != 1)}"]
        for instrument in self.labels:
            mine = [one for one in self.segments if one.instrument == instrument]
            if mine:
                share = sum(one.end_s - one.start_s for one in mine) / self.seconds
                lines.append(f"  {instrument:<10} {share:4.0%}  {_times(mine)}")
        if len(lines) == 1:
            lines.append("  silence" if self.silent.all() else "  no instrument reaches its threshold")
        if not self.trained.all():
            unknown = [name for name, known in zip(self.labels, self.trained, strict=True) if not known]
            lines.append(f"  (never trained on, so not looked for: {', '.join(unknown)})")
        if self.remark:
            lines.append(f"  ({self.remark})")
        return "\n".join(lines)


def _times(segments: Sequence[Segment], most: int = 6) -> str:
    """Times of the longest segments, in their order."""
    longest = sorted(sorted(segments, key=lambda one: one.start_s - one.end_s)[:most], key=lambda one: one.start_s)
    told = ", ".join(f"{clock(one.start_s)}-{clock(one.end_s)}" for one in longest)
    more = len(segments) - len(longest)
    return told + (f" and {more} shorter" if more else "")
