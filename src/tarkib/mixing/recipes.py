"""What to mix: all of a mode's mixtures drawn as tables, before any of them sounds.

The ensemble, gains and room of mixture i come from a generator seeded by (seed, split, i) before the mode has a say, so
they are equal in all four modes and the mode is the only thing that differs. For that an ensemble is drawn only where
every mode can still make a new mixture of it; the slices come from a generator that knows the mode too. No two mixtures
of a mode use the same slices.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tarkib.annotation import octaves
from tarkib.errors import TarkibError
from tarkib.mixing import ensembles, timing
from tarkib.mixing.material import Material, Selection, Source
from tarkib.mixing.modes import MODES, Mode, tempi_fit
from tarkib.mixing.room import Room
from tarkib.params import Augment
from tarkib.runtime.streams import Stream, generator
from tarkib.vocabulary import INSTRUMENTS

MAX_SHIFT_CENTS = 250.0
"""Farthest that `augment.align_tonic` transposes a component; beyond it an instrument no longer sounds like itself."""

_MAX_SHIFT = 2 ** (MAX_SHIFT_CENTS / 1200)
_SPLIT_NUMBERS = {"train": 0, "validation": 1}
_ENSEMBLE_DRAWS = 1_000
_SLICE_DRAWS = 200
_MANY = 20  # with this many times the selections that are needed, drawing finds one
_ENOUGH_FITS, _MOST_TRIALS = 5, 2_000  # to know how many of the selections keep all of a mode's promises
_MOST_ENUMERATED = 200_000  # more selections than these are not gone through one by one ...
_LAST_DRAWS = 20_000  # ... but drawn from once more, so often


def draw(split: str, sources: Iterable[Source], params: Augment) -> tuple[list[dict], list[dict]]:
    """Draw the mixtures of one split in the mode `params.mode`.

    As many as `params` says; of validation mixtures, which only have to be enough to choose by, as many as there can be
    distinct ones.

    Returns
    -------
    Rows for the tables of mixtures (but for the clips' places) and of components.

    Raises TarkibError where the material does not suffice, naming the ensemble and the mode.
    """
    return _Drawing(split, Material(sources), params).rows()


def left_out(split: str, sources: Iterable[Source]) -> list[str]:
    """What there are slices of and yet is not mixed, a sentence each, for the user to read.

    An instrument that some mode can make nothing of is drawn in none, or the modes' ensembles would differ.
    """
    material = Material(sources)
    sentences = [
        f"{name}: no {split} slice has a dastgah, so it is left out of the mixing; put its recordings into "
        f"{name}/<dastgah>/ folders"
        for name in material.instruments
        if name not in _playable(material)
    ]
    without = sum(source.pitched and source.dastgah is None for source in material.sources)
    if without:
        sentences.append(f"{without} of {len(material.sources)} {split} slices have no dastgah: for mode random alone")
    return sentences


def _playable(material: Material) -> tuple[str, ...]:
    """Instruments that every mode can make a mixture of."""
    return tuple(name for name in material.instruments if all(material.count((name,), mode) for mode in MODES.values()))


class _Drawing:
    """The mixtures of one split being drawn: what was drawn so far decides what still can be."""

    def __init__(self, split: str, material: Material, params: Augment) -> None:
        self.split, self.material, self.params = split, material, params
        self.mode = MODES[params.mode]
        self.drawn: Counter[tuple[str, ...]] = Counter()
        self.used: set[frozenset[str]] = set()
        self._supply: dict[tuple[str, ...], _Supply] = {}
        self.instruments = _playable(material)
        if not self.instruments:
            raise TarkibError(
                f"mode {params.mode}: no {split} slice has a dastgah ({', '.join(material.instruments)}); "
                "put recordings into <instrument>/<dastgah>/ folders"
            )

    def rows(self) -> tuple[list[dict], list[dict]]:
        count = self.params.train_mixtures if self.split == "train" else self.params.validation_mixtures
        mixture_rows, component_rows = [], []
        for index in range(count):
            drawn = self._ensemble(index)
            if drawn is None:
                self._refuse_unless_enough(index, count)
                break
            number = _SPLIT_NUMBERS[self.split]
            rng = generator(self.params.seed, Stream.MIX_SLICES, number, index, self.mode.number)
            selection = self._selection(drawn.instruments, rng)
            mixture, components = self._recipe(f"{self.split}-{index:06d}", selection, drawn, rng)
            mixture_rows.append(mixture)
            component_rows += components
        return mixture_rows, component_rows

    def _refuse_unless_enough(self, found: int, count: int) -> None:
        """Raise where fewer mixtures than asked for will not do."""
        if self.split == "train" or not found:
            slices = ", ".join(f"{len(self.material.by_instrument[name])} of {name}" for name in self.instruments)
            scarcest = Counter(supply.scarcest for supply in self._supply.values()).most_common(1)[0][0]
            raise TarkibError(
                f"augment.{self.split}_mixtures: only {found} of {count} distinct mixtures can be made in every mode "
                f"from these {self.split} slices ({slices}); mode {scarcest} allows the fewest. Ask for fewer, add "
                "recordings of the rarest instruments, widen augment.max_stretch or lower augment.tempo_tolerance"
            )

    def _ensemble(self, index: int) -> "_Ensemble | None":
        """Who plays mixture `index`, how loud and where, whatever the mode; None where no new mixture is left."""
        params = self.params
        rng = generator(params.seed, Stream.MIX_INSTRUMENTS, _SPLIT_NUMBERS[self.split], index)
        for _ in range(_ENSEMBLE_DRAWS):
            instruments = ensembles.draw(
                params.ensembles, self.instruments, params.min_instruments, params.max_instruments, rng
            )
            if self._suffices(instruments):
                self.drawn[instruments] += 1
                gains_db = rng.uniform(-params.gain_range_db, params.gain_range_db, len(instruments)).round(3)
                return _Ensemble(instruments, gains_db, Room.draw(rng) if params.reverb else None)
        return None

    def _suffices(self, instruments: tuple[str, ...]) -> bool:
        """Whether every mode can make one more mixture of these instruments."""
        needed = self.drawn[instruments] + 1
        supply = self._supply.get(instruments)
        if supply is None or (supply.least < needed and supply.more):
            supply = self._supply[instruments] = self._count(instruments, _MANY * needed)
        return supply.least >= needed

    def _count(self, instruments: tuple[str, ...], limit: int) -> "_Supply":
        """How many mixtures of these instruments every mode can make, counted up to a limit."""
        by_mode = {mode.name: self._count_in(mode, instruments, limit) for mode in MODES.values()}
        scarcest = min(by_mode, key=by_mode.__getitem__)
        return _Supply(by_mode[scarcest], by_mode[scarcest] == limit, scarcest)

    def _count_in(self, mode: Mode, instruments: tuple[str, ...], limit: int) -> int:
        count = self.material.count(instruments, mode)
        if count == 0:
            return 0
        key = [_SPLIT_NUMBERS[self.split], mode.number, *map(INSTRUMENTS.index, instruments)]
        rng = generator(self.params.seed, Stream.MIX_SUPPLY, *key)
        trials = fits = 0
        while fits < _ENOUGH_FITS and trials < min(_MOST_TRIALS, count):
            trials += 1
            # What was used before must have no say: it is another in each mode, and the ensembles are to be the same.
            fits += self._fits(self.material.draw(instruments, mode, rng, evenly=False), mode)
        estimate = count * fits / trials
        if estimate >= _MANY * limit or count > _MOST_ENUMERATED:
            return min(limit, int(estimate / _MANY))
        return sum(1 for _ in itertools.islice(self._fitting(instruments, mode), limit))

    def _fitting(self, instruments: tuple[str, ...], mode: Mode) -> Iterable[Selection]:
        """All selections that keep all of a mode's promises."""
        return (one for one in self.material.selections(instruments, mode) if self._fits(one, mode))

    def _fits(self, selection: Selection, mode: Mode) -> bool:
        params = self.params
        if params.align_tonic and not octaves.within_reach(_tonics(selection), _MAX_SHIFT):
            return False
        bpms = [one.bpm for one in selection if one.bpm is not None]
        return tempi_fit(mode, bpms, params.max_stretch, params.tempo_tolerance)

    def _selection(self, instruments: tuple[str, ...], rng: np.random.Generator) -> Selection:
        """New slices that keep the mode's promises."""
        selection = self._draw_new(instruments, rng, _SLICE_DRAWS, evenly=True)
        if selection is None and self.material.count(instruments, self.mode) > _MOST_ENUMERATED:
            # Where few slices fit they are the most used, which an even draw would pass over.
            selection = self._draw_new(instruments, rng, _LAST_DRAWS, evenly=False)
        elif selection is None:
            left = [one for one in self._fitting(instruments, self.mode) if self._is_new(one)]
            selection = left[rng.integers(len(left))] if left else None
        if selection is None:
            raise TarkibError(
                f"mode {self.mode.name}: no new {self.split} mixture of {' + '.join(instruments)} can be made; "
                "add recordings of them, or widen augment.max_stretch or lower augment.tempo_tolerance"
            )
        self.used.add(_key(selection))
        self.material.uses.update(source.slice_id for source in selection)
        return selection

    def _draw_new(
        self, instruments: tuple[str, ...], rng: np.random.Generator, tries: int, *, evenly: bool
    ) -> Selection | None:
        draws = (self.material.draw(instruments, self.mode, rng, evenly=evenly) for _ in range(tries))
        return next((one for one in draws if self._is_new(one) and self._fits(one, self.mode)), None)

    def _is_new(self, selection: Selection) -> bool:
        return _key(selection) not in self.used

    def _recipe(
        self, mixture_id: str, selection: Selection, drawn: "_Ensemble", rng: np.random.Generator
    ) -> tuple[dict, list[dict]]:
        """Rows of a mixture and its components."""
        bpms = [one.bpm for one in selection if one.bpm is not None]
        target_bpm = _meeting_point(bpms, self.params.max_stretch, rng) if self.mode.tempo == "same" else None
        target_hz = _meeting_point(_tonics(selection), _MAX_SHIFT, rng) if self.params.align_tonic else None
        # Rounded, so that what needs no change has factor 1 and shift 0 exactly and is left as it is.
        stretches = [
            round(octaves.ratio(one.bpm, target_bpm), 6) if one.bpm and target_bpm else 1.0 for one in selection
        ]
        shifts = [
            round(1200 * math.log2(octaves.ratio(one.tonic_hz, target_hz)), 3) if one.tonic_hz and target_hz else 0.0
            for one in selection
        ]
        if self.params.align_beats and target_bpm:
            begins = timing.aligned(selection, stretches)
        else:
            begins = [timing.begin(one, stretch) for one, stretch in zip(selection, stretches, strict=True)]
        dastgahs = {one.dastgah for one in selection if one.pitched} if self.mode.dastgah == "same" else set()
        mixture = {
            "mixture_id": mixture_id,
            "split": self.split,
            "mode": self.mode.name,
            "instruments": [one.instrument for one in selection],
            "target_bpm": target_bpm,
            "dastgah": next(iter(dastgahs), None),
            "room_rt60_s": drawn.room and drawn.room.rt60_s,
            "room_wet_db": drawn.room and drawn.room.wet_db,
        }
        components = [
            {
                "mixture_id": mixture_id,
                "slice_id": one.slice_id,
                "instrument": one.instrument,
                "dastgah": one.dastgah,
                "bpm": one.bpm,
                "offset_s": round(offset_s, 6) + 0.0,  # never -0.0
                "stretch": stretch,
                "shift_cents": shift_cents,
                "gain_db": float(gain_db),
                "metered": one.bpm is not None,
            }
            for one, offset_s, stretch, shift_cents, gain_db in zip(
                selection, begins, stretches, shifts, drawn.gains_db, strict=True
            )
        ]
        return mixture, components


@dataclass(frozen=True)
class _Ensemble:
    """What of a mixture is the same in all modes: who plays, the gains in dB, and the room, if any."""

    instruments: tuple[str, ...]
    gains_db: np.ndarray
    room: Room | None


@dataclass(frozen=True)
class _Supply:
    """Mixtures that can be made of an ensemble in every mode: at least so many, maybe more, fewest in `scarcest`."""

    least: int
    more: bool
    scarcest: str


def _meeting_point(values: list[float], most: float, rng: np.random.Generator) -> float | None:
    """One of the targets with the least change, or None; drawn, or the same instruments would always stay as they are.

    A classifier could then tell instruments by the traces of being stretched.
    """
    points = octaves.meeting_points(values, most) if values else []
    return points[rng.integers(len(points))] if points else None


def _key(selection: Selection) -> frozenset[str]:
    return frozenset(source.slice_id for source in selection)


def _tonics(selection: Selection) -> list[float]:
    return [one.tonic_hz for one in selection if one.tonic_hz is not None]
