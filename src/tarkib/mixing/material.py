"""The annotated slices of one split that a mixture may draw from, and the selections that a mode allows of them."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from tarkib.audio import CLIP_SECONDS
from tarkib.mixing.modes import Mode, dastgahs_fit
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION

_DRAWS = 3  # of which the least used slice is taken


@dataclass(frozen=True)
class Source:
    """A slice that a mixture may use.

    Attributes
    ----------
    bpm : tempo; None unless the slice is metered
    beat_s : its first beat, in seconds from its start; None unless it is metered
    sounding_s : from where to where its recording sounds in it and in its neighbours, in seconds from its start
    """

    slice_id: str
    recording_id: str
    instrument: str
    dastgah: str | None
    bpm: float | None
    tonic_hz: float | None
    beat_s: float | None = None
    sounding_s: tuple[float, float] = (0.0, CLIP_SECONDS)

    @property
    def pitched(self) -> bool:
        return self.instrument not in PERCUSSION


Selection = tuple[Source, ...]
"""One slice for each instrument of an ensemble, in its order."""


def join(slices: Sequence[dict], annotations: Iterable[dict], recordings: Iterable[dict]) -> dict[str, list[Source]]:
    """Slices with their annotations, by split; rows of the three tables.

    The table of annotations holds only trusted tempi, so a tempo means metered.
    """
    annotated = {row["slice_id"]: row for row in annotations}
    seconds = {row["recording_id"]: row["seconds"] for row in recordings}
    positions = {(row["recording_id"], row["number"]) for row in slices}
    by_split = defaultdict(list)
    for row in slices:
        recording_id, annotation = row["recording_id"], annotated[row["slice_id"]]
        pitched = row["instrument"] not in PERCUSSION
        before, after = ((recording_id, row["number"] + step) in positions for step in (-1, 1))
        # The last slice of a recording is padded: its sound ends before the slice does.
        left = seconds[recording_id] - row["start_s"]
        by_split[row["split"]].append(
            Source(
                row["slice_id"],
                recording_id,
                row["instrument"],
                annotation["dastgah"] if pitched else None,
                annotation["bpm"],
                annotation["tonic_hz"] if pitched else None,
                annotation["beat_s"],
                (-CLIP_SECONDS * before, min(CLIP_SECONDS * (1 + after), left)),
            )
        )
    return dict(by_split)


class Material:
    """The sources of one split, by instrument and dastgah.

    Where a mode relates dastgahs, a pitched source without a dastgah cannot be drawn.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = list(sources)
        self.by_instrument: dict[str, list[Source]] = defaultdict(list)
        self.by_dastgah: dict[str, dict[str | None, list[Source]]] = defaultdict(lambda: defaultdict(list))
        for source in self.sources:
            self.by_instrument[source.instrument].append(source)
            if source.dastgah or not source.pitched:
                self.by_dastgah[source.instrument][source.dastgah].append(source)
        self.instruments = tuple(name for name in INSTRUMENTS if name in self.by_instrument)
        self._pools = cache(self._find_pools)
        self._likelihoods = cache(self._find_likelihoods)

    def _find_pools(self, instruments: tuple[str, ...], mode: Mode) -> list[list[list[Source]]]:
        """For each way to give the instruments dastgahs that keep the mode's promise, the sources of each of them."""
        if mode.dastgah == "free":
            return [[self.by_instrument[name] for name in instruments]]
        ways: list[tuple[str | None, ...]] = [()]
        for position, name in enumerate(instruments):
            # Pruned at each instrument: a whole keeps the promise only if its beginnings do.
            pitched = [i for i in range(position + 1) if instruments[i] not in PERCUSSION]
            longer = ((*way, dastgah) for way in ways for dastgah in self.by_dastgah[name])
            ways = [way for way in longer if dastgahs_fit(mode, [way[i] for i in pitched])]
        return [
            [self.by_dastgah[name][dastgah] for name, dastgah in zip(instruments, way, strict=True)] for way in ways
        ]

    def _find_likelihoods(self, instruments: tuple[str, ...], mode: Mode) -> np.ndarray:
        """Cumulative probability of each of the pools, chosen so that slices are used evenly.

        With the same dastgah for all, an instrument's slices are used p / share times their fair share, where p is the
        dastgah's probability and share the part of the instrument's slices that is in it. The most overused slice is
        used least if p is proportional to the smallest of the instruments' shares. With different dastgahs each
        instrument draws by its own shares, so a pool counts as their product.
        """
        together = min if mode.dastgah == "same" else math.prod
        weights = [
            together(
                [len(sources) / len(self.by_instrument[name]) for name, sources in zip(instruments, pools, strict=True)]
            )
            for pools in self._pools(instruments, mode)
        ]
        cumulative = np.cumsum(weights) / sum(weights)
        cumulative[-1] = 1.0  # not a rounding less: every draw below 1 needs a pool
        return cumulative

    def count(self, instruments: tuple[str, ...], mode: Mode) -> int:
        """Number of selections that keep the mode's promise on dastgahs (tempo aside)."""
        return sum(math.prod(map(len, pools)) for pools in self._pools(instruments, mode))

    def selections(self, instruments: tuple[str, ...], mode: Mode) -> Iterator[Selection]:
        """Those selections, one after the other, in a fixed order."""
        return itertools.chain.from_iterable(itertools.product(*pools) for pools in self._pools(instruments, mode))

    def draw(
        self, instruments: tuple[str, ...], mode: Mode, rng: np.random.Generator, uses: Counter[str] | None
    ) -> Selection:
        """Draw one of those selections, of which there must be at least one.

        With `uses`, the number of uses of each slice so far, the least used of a few drawn slices is preferred.
        """
        pools = self._pools(instruments, mode)
        chosen = 0
        if mode.dastgah != "free":
            chosen = int(np.searchsorted(self._likelihoods(instruments, mode), rng.random(), side="right"))
        if uses is None:
            return tuple(sources[rng.integers(len(sources))] for sources in pools[chosen])
        drawn = ([sources[i] for i in rng.integers(len(sources), size=_DRAWS)] for sources in pools[chosen])
        return tuple(min(sources, key=lambda source: uses[source.slice_id]) for sources in drawn)
