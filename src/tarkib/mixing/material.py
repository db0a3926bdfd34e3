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

_TRIES_FOR_EVENNESS = 3


@dataclass(frozen=True)
class Source:
    """A slice as a mixture may use it.

    Attributes
    ----------
    bpm : tempo; None unless it is metered
    beat_s : its first beat, in seconds from its start; None unless it is metered
    sounding_s : from where to where its recording sounds in it and next to it, in seconds from its start
    """

    slice_id: str
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


def join(slices: Iterable[dict], annotations: Iterable[dict], recordings: Iterable[dict]) -> dict[str, list[Source]]:
    """Slices with what was annotated of them, by split; rows of the three tables.

    A slice's tempo in the table of annotations is null unless it was trusted, so a tempo means metered.
    """
    annotated = {one["slice_id"]: one for one in annotations}
    seconds = {one["recording_id"]: one["seconds"] for one in recordings}
    slices = list(slices)
    known = {one["slice_id"] for one in slices}
    by_split = defaultdict(list)
    for one in slices:
        slice_id, about = one["slice_id"], annotated[one["slice_id"]]
        pitched = one["instrument"] not in PERCUSSION
        before, after = (neighbour(slice_id, step) in known for step in (-1, 1))
        # The last slice of a recording is padded: there its sound ends before the slice does.
        left = seconds[one["recording_id"]] - one["start_s"]
        by_split[one["split"]].append(
            Source(
                slice_id,
                one["instrument"],
                about["dastgah"] if pitched else None,
                about["bpm"],
                about["tonic_hz"] if pitched else None,
                about["beat_s"],
                (-CLIP_SECONDS * before, min(CLIP_SECONDS * (1 + after), left)),
            )
        )
    return dict(by_split)


def neighbour(slice_id: str, step: int) -> str:
    """Id that the slice `step` places later in the same recording has, if there is one."""
    recording_id, number = slice_id.rsplit("-", 1)
    return f"{recording_id}-{int(number) + step:04d}"


class Material:
    """The sources of one split, by instrument and dastgah; it remembers how often each was used.

    Where a mode relates dastgahs, a pitched source without one cannot be drawn.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self.by_instrument: dict[str, list[Source]] = defaultdict(list)
        self.by_dastgah: dict[str, dict[str | None, list[Source]]] = defaultdict(lambda: defaultdict(list))
        self.sources = list(sources)
        for source in self.sources:
            self.by_instrument[source.instrument].append(source)
            if source.dastgah or not source.pitched:
                self.by_dastgah[source.instrument][source.dastgah].append(source)
        self.uses: Counter[str] = Counter()
        self.instruments = tuple(name for name in INSTRUMENTS if name in self.by_instrument)
        self._assignments = cache(self._find_assignments)
        self._likelihoods = cache(self._find_likelihoods)

    def _find_likelihoods(self, instruments: tuple[str, ...], mode: Mode) -> np.ndarray:
        """Cumulative probability of each of the assignments, chosen so that slices are used evenly.

        Of one dastgah for all, an instrument's slices are used p / share times their fair share, where p is the
        dastgah's probability and share the part of the instrument's slices that is in it. The most overused slice is
        used least where p is proportional to the smallest of the instruments' shares. Of different dastgahs each
        instrument draws by its own shares, so an assignment counts as their product.
        """
        shares = {
            name: {
                dastgah: len(some) / len(self.by_instrument[name]) for dastgah, some in self.by_dastgah[name].items()
            }
            for name in instruments
        }
        together = min if mode.dastgah == "same" else math.prod
        weights = [
            together([shares[name][dastgah] for name, dastgah in zip(instruments, way, strict=True)])
            for way in self._assignments(instruments, mode)
        ]
        cumulative = np.cumsum(weights) / sum(weights)
        cumulative[-1] = 1.0  # not a rounding less: a draw below 1 must find its way
        return cumulative

    def _find_assignments(self, instruments: tuple[str, ...], mode: Mode) -> list[tuple[str | None, ...]]:
        """Every way of giving the instruments dastgahs that keeps the mode's promise; percussion gets None."""
        ways: list[tuple[str | None, ...]] = [()]
        for position, name in enumerate(instruments):
            # Cut back at each instrument: the promise is kept by a whole only if it is kept by its beginnings.
            pitched = [i for i in range(position + 1) if instruments[i] not in PERCUSSION]
            longer = ((*way, dastgah) for way in ways for dastgah in self.by_dastgah[name])
            ways = [way for way in longer if dastgahs_fit(mode, [way[i] for i in pitched])]
        return ways

    def _pools(self, instruments: tuple[str, ...], mode: Mode) -> Iterator[list[list[Source]]]:
        """For each way of giving dastgahs, the sources that each instrument can then draw from."""
        if mode.dastgah == "free":
            yield [self.by_instrument[name] for name in instruments]
        else:
            for way in self._assignments(instruments, mode):
                yield [self.by_dastgah[name][dastgah] for name, dastgah in zip(instruments, way, strict=True)]

    def count(self, instruments: tuple[str, ...], mode: Mode) -> int:
        """Number of selections that keep the mode's promise on dastgahs (tempo aside)."""
        return sum(math.prod(map(len, pools)) for pools in self._pools(instruments, mode))

    def selections(self, instruments: tuple[str, ...], mode: Mode) -> Iterator[Selection]:
        """Those selections, one after the other, in a fixed order."""
        return itertools.chain.from_iterable(itertools.product(*pools) for pools in self._pools(instruments, mode))

    def draw(
        self, instruments: tuple[str, ...], mode: Mode, rng: np.random.Generator, *, evenly: bool = True
    ) -> Selection:
        """Draw one of those selections, of which there must be one, preferring slices that were used little.

        Not `evenly`, the draw does not depend on what was used before.
        """
        if mode.dastgah == "free":
            pools = [self.by_instrument[name] for name in instruments]
        else:
            ways = self._assignments(instruments, mode)
            way = ways[np.searchsorted(self._likelihoods(instruments, mode), rng.random(), side="right")]
            pools = [self.by_dastgah[name][dastgah] for name, dastgah in zip(instruments, way, strict=True)]
        if not evenly:
            return tuple(pool[rng.integers(len(pool))] for pool in pools)
        return tuple(self._pick(pool, rng) for pool in pools)

    def _pick(self, pool: Sequence[Source], rng: np.random.Generator) -> Source:
        """The least used of a few drawn sources: nearly even use, at no search."""
        drawn = [pool[i] for i in rng.integers(len(pool), size=_TRIES_FOR_EVENNESS)]
        return min(drawn, key=lambda source: self.uses[source.slice_id])
