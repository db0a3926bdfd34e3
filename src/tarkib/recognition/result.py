"""The recognition of one recording: probabilities per window, and which instruments play when.

The activity in one hop is the mean over the windows that cover its middle, so entries and ends are blurred by up to
half a window.

Conventions
-----------
w windows; f frames of one hop each (the last may be shorter); classes in the order of `vocabulary.INSTRUMENTS`.
Probabilities are in 0..1, NaN for a class that the classifier was not trained on, and 0 in a silent window.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE
from tarkib.recognition.origin import Origin
from tarkib.runtime.text import clock, counted, some

if TYPE_CHECKING:
    import pandas as pd

_UNFAMILIAR = "unlike the recordings that the model was trained on: its probabilities mean little here"


@dataclass(frozen=True)
class Segment:
    """An instrument playing from `start_s` to `end_s`; `probability` is the mean over it, 0..1."""

    instrument: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True)
class Recognition:
    """The recognition of one recording, `seconds` long, by windows that start at `starts_s`, `hop_s` seconds apart.

    Shapes: `starts_s` and `silent` (w,); `window_probabilities` (w, 10), float32; `labels`, `thresholds` (from which a
    class counts as present) and `trained` (whether the classifier was trained on it) (10,). `distances` (w,) say how
    far each window is from the training clips: above 1 is unlike them; NaN where it is silent or unknown (see
    `models.familiarity`). `remarks` are oddities of the file, `origin` the facts of the model where they are known.
    """

    seconds: float
    hop_s: float
    starts_s: np.ndarray
    window_probabilities: np.ndarray
    silent: np.ndarray
    distances: np.ndarray
    labels: tuple[str, ...]
    thresholds: np.ndarray
    trained: np.ndarray
    remarks: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def ends_s(self) -> np.ndarray:
        """Ends of the windows, shape (w,)."""
        return np.minimum(self.starts_s + CLIP_SECONDS, self.seconds)

    @property
    def unfamiliar(self) -> bool:
        """Whether most windows with sound are unlike all that the classifier was trained on."""
        known = self.distances[~np.isnan(self.distances)]
        return bool(known.size and np.median(known) > 1.0)

    @property
    def remark(self) -> str:
        """The remarks in one line; usually empty."""
        return "; ".join([*self.remarks, *[_UNFAMILIAR] * self.unfamiliar])

    @cached_property
    def frames_s(self) -> np.ndarray:
        """Borders of the frames, shape (f + 1,), from 0 to the recording's length."""
        # A last frame of less than a sample is rounding, not sound.
        count = max(1, int(np.ceil(self.seconds / self.hop_s - 1.0 / SAMPLE_RATE)))
        return np.append(np.arange(count) * self.hop_s, self.seconds)

    @cached_property
    def activity(self) -> np.ndarray:
        """Mean probability of the windows that cover each frame's middle, shape (f, 10)."""
        middles = (self.frames_s[:-1] + self.frames_s[1:]) / 2
        # Each window adds itself at the first frame it covers and subtracts itself after the last: sums by cumsum.
        steps = np.zeros((len(middles) + 1, 1 + len(self.labels)))
        values = np.column_stack([np.ones(len(self.starts_s)), self.window_probabilities])
        np.add.at(steps, np.searchsorted(middles, self.starts_s), values)
        np.add.at(steps, np.searchsorted(middles, self.starts_s + CLIP_SECONDS), -values)
        sums = np.cumsum(steps[:-1], axis=0)
        return np.clip(sums[:, 1:] / sums[:, :1], 0.0, 1.0)

    @cached_property
    def present(self) -> np.ndarray:
        """Whether each instrument counts as present in each frame, bool, shape (f, 10)."""
        return self.activity >= self.thresholds

    @cached_property
    def segments(self) -> list[Segment]:
        """Runs of frames in which an instrument is present, by instrument, then by time."""
        segments = []
        for k, instrument in enumerate(self.labels):
            edges = np.flatnonzero(np.diff(self.present[:, k], prepend=False, append=False))
            for first, end in edges.reshape(-1, 2):
                start_s, end_s = float(self.frames_s[first]), float(self.frames_s[end])
                segments.append(Segment(instrument, start_s, end_s, float(self.activity[first:end, k].mean())))
        return segments

    def thinned(self, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Borders in seconds, activity and presence of at most `columns` columns, each with its maximum.

        Shapes (c + 1,), (c, 10) and (c, 10); a picture of a long recording so hides no short segment.
        """
        starts = np.arange(0, len(self.activity), -(-len(self.activity) // columns))
        borders = np.append(self.frames_s[starts], self.seconds)
        return borders, np.maximum.reduceat(self.activity, starts), np.logical_or.reduceat(self.present, starts)

    def table(self) -> "pd.DataFrame":
        """A row per window: `start_s`, `end_s`, and a column of probabilities for each instrument."""
        import pandas as pd  # takes a second to load

        probabilities = dict(zip(self.labels, self.window_probabilities.T, strict=True))
        return pd.DataFrame({"start_s": self.starts_s, "end_s": self.ends_s, **probabilities})

    def __str__(self) -> str:
        """Lines to read: which instruments play, how much of the time, and when."""
        lines = [f"{clock(self.seconds)} in {counted(len(self.starts_s), 'window')}"]
        for instrument in self.labels:
            own = [segment for segment in self.segments if segment.instrument == instrument]
            if own:
                share = sum(segment.end_s - segment.start_s for segment in own) / self.seconds
                times = some((f"{clock(segment.start_s)}-{clock(segment.end_s)}" for segment in own), 6)
                lines.append(f"  {instrument:<10} {share:4.0%}  {times}")
        if len(lines) == 1:
            lines.append("  silence" if self.silent.all() else "  no instrument reaches its threshold")
        if not self.trained.all():
            unknown = [name for name, trained in zip(self.labels, self.trained, strict=True) if not trained]
            lines.append(f"  (never trained on, so not looked for: {', '.join(unknown)})")
        if self.remark:
            lines.append(f"  ({self.remark})")
        return "\n".join(lines)
