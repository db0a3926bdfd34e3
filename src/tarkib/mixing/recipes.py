"""What to mix: all mixtures of a mode, drawn as tables before any of them is rendered.

Ensemble, gains and room of mixture i come from a generator seeded by (seed, split, i), its slices from one seeded with
the mode too. All four modes are drawn side by side, and an ensemble counts only if each of them finds new slices for
it, so the mode is the only thing that differs between two modes. No two mixtures of a mode use the same slices.

A component lasts `CLIP_SECONDS` and plays its recording `stretch` times as fast, so it uses ``stretch * CLIP_SECONDS``
of it. Its `offset_s` is where it begins, in seconds of the recording from the slice's start; before 0 and after the
slice's end are the neighbouring slices, if there are any.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tarkib.annotation import octaves
from tarkib.audio import CLIP_SECONDS
from tarkib.errors import TarkibError
from tarkib.mixing import ensembles, room
from tarkib.mixing.material import Material, Selection, Source
from tarkib.mixing.modes import MODES, Mode, tempi_fit
from tarkib.params import Augment
from tarkib.runtime.streams import Stream, generator

MAX_SHIFT_CENTS = 250.0
"""Largest transposition by `augment.align_tonic`; beyond it an instrument no longer sounds like itself."""

_MAX_SHIFT = 2 ** (MAX_SHIFT_CENTS / 1200)
_SPLIT_NUMBERS = {"train": 0, "validation": 1}
_ENSEMBLE_DRAWS = 1_000
_EVEN_DRAWS, _UNEVEN_DRAWS = 200, 2_000  # of slices
_MAX_ENUMERATED = 20_000  # selections that are tried one by one if drawing finds none


def draw(split: str, sources: Iterable[Source], params: Augment) -> tuple[list[dict], list[dict]]:
    """Draw the mixtures of one split in the mode `params.mode`.

    As many as `params` says; validation mixtures, which only serve model selection, may be fewer if there are no more
    distinct ones.

    Returns
    -------
    Rows for the tables of mixtures (without the clips' places) and of components.

    Raises
    ------
    TarkibError if the material does not suffice; names the ensemble and the mode.
    """
    return _Drawing(split, Material(sources), params).rows()


def left_out(split: str, sources: Iterable[Source]) -> list[str]:
    """Sentences for the user on slices that are not mixed.

    An instrument that some mode cannot use is drawn in none, or the modes' ensembles would differ.
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
    """The mixtures of one split in all modes: earlier draws limit later ones."""

    def __init__(self, split: str, material: Material, params: Augment) -> None:
        self.split, self.material, self.params = split, material, params
        self.used: dict[str, set[frozenset[str]]] = {name: set() for name in MODES}
        self.uses: dict[str, Counter[str]] = {name: Counter() for name in MODES}
        self.exhausted: dict[tuple[str, ...], str] = {}  # ensembles, and a mode without a new mixture of them
        self.instruments = _playable(material)
        if not self.instruments:
            raise TarkibError(
                f"mode {params.mode}: no {split} slice has a dastgah ({', '.join(material.instruments)}); "
                "put recordings into <instrument>/<dastgah>/ folders"
            )

    def rows(self) -> tuple[list[dict], list[dict]]:
        params, number = self.params, _SPLIT_NUMBERS[self.split]
        count = params.train_mixtures if self.split == "train" else params.validation_mixtures
        mixtures: list[dict] = []
        components: list[dict] = []
        for index in range(count):
            rng = generator(params.seed, Stream.MIX_INSTRUMENTS, number, index)
            rngs = {
                name: generator(params.seed, Stream.MIX_SLICES, number, index, mode.number)
                for name, mode in MODES.items()
            }
            selection = self._draw_selection(rng, rngs)
            if selection is None:
                self._check_enough(index, count)
                break
            gains_db = rng.uniform(-params.gain_range_db, params.gain_range_db, len(selection)).round(3).tolist()
            place = room.draw(rng) if params.reverb else (None, None)
            mixture_id = f"{self.split}-{index:06d}"
            mixture, parts = self._recipe(mixture_id, selection, gains_db, place, rngs[params.mode])
            mixtures.append(mixture)
            components += parts
        return mixtures, components

    def _check_enough(self, made: int, count: int) -> None:
        """Raise TarkibError if fewer mixtures than asked for do not suffice."""
        if self.split == "train" or not made:
            slices = ", ".join(f"{len(self.material.by_instrument[name])} of {name}" for name in self.instruments)
            scarcest = Counter(self.exhausted.values()).most_common(1)[0][0]
            raise TarkibError(
                f"augment.{self.split}_mixtures: only {made} of {count} distinct mixtures can be made in every mode "
                f"from these {self.split} slices ({slices}); mode {scarcest} allows the fewest. Ask for fewer, add "
                "recordings of the rarest instruments, widen augment.max_stretch or lower augment.tempo_tolerance"
            )

    def _draw_selection(self, rng: np.random.Generator, rngs: dict[str, np.random.Generator]) -> Selection | None:
        """Slices of an ensemble of which every mode can make a new mixture; None if there is none left."""
        params = self.params
        for _ in range(_ENSEMBLE_DRAWS):
            instruments = ensembles.draw(
                params.ensembles, self.instruments, params.min_instruments, params.max_instruments, rng
            )
            if instruments in self.exhausted:
                continue
            selections: dict[str, Selection] = {}
            for name, mode in MODES.items():
                selection = self._select(instruments, mode, rngs[name])
                if selection is None:
                    self.exhausted[instruments] = name
                    break
                selections[name] = selection
            else:
                for name, selection in selections.items():
                    self.used[name].add(_key(selection))
                    self.uses[name].update(source.slice_id for source in selection)
                return selections[params.mode]
        return None

    def _select(self, instruments: tuple[str, ...], mode: Mode, rng: np.random.Generator) -> Selection | None:
        """New slices that keep the mode's promises, or None if there are none, or too few to be found."""
        count = self.material.count(instruments, mode)
        if count == 0:
            return None
        few = count <= _MAX_ENUMERATED
        # If few slices fit, they are the most used, and even draws avoid them.
        for i in range(_EVEN_DRAWS if few else _EVEN_DRAWS + _UNEVEN_DRAWS):
            uses = self.uses[mode.name] if i < _EVEN_DRAWS else None
            selection = self.material.draw(instruments, mode, rng, uses)
            if self._fits(selection, mode):
                return selection
        left = [new for new in self.material.selections(instruments, mode) if self._fits(new, mode)] if few else []
        return left[rng.integers(len(left))] if left else None

    def _fits(self, selection: Selection, mode: Mode) -> bool:
        """Whether a selection is new and keeps all of a mode's promises."""
        params = self.params
        if _key(selection) in self.used[mode.name]:
            return False
        if params.align_tonic and not octaves.within_reach(_tonics(selection), _MAX_SHIFT):
            return False
        return tempi_fit(mode, _bpms(selection), params.max_stretch, params.tempo_tolerance)

    def _recipe(
        self,
        mixture_id: str,
        selection: Selection,
        gains_db: list[float],
        place: tuple[float | None, float | None],
        rng: np.random.Generator,
    ) -> tuple[dict, list[dict]]:
        """Rows of a mixture and its components.

        All computed values are rounded here and only here, so that other processors store the same, and so that an
        unchanged component has exactly stretch 1 and shift 0.
        """
        params, mode = self.params, MODES[self.params.mode]
        target_bpm = _meeting_point(_bpms(selection), params.max_stretch, rng) if mode.tempo == "same" else None
        tonic_hz = _meeting_point(_tonics(selection), _MAX_SHIFT, rng) if params.align_tonic else None
        stretches = [
            round(octaves.ratio(source.bpm, target_bpm), 6) if source.bpm and target_bpm else 1.0
            for source in selection
        ]
        if params.align_beats and target_bpm:
            begins = aligned(selection, stretches)
        else:
            begins = [begin(source, stretch) for source, stretch in zip(selection, stretches, strict=True)]
        dastgahs = {source.dastgah for source in selection if source.pitched} if mode.dastgah == "same" else set()
        mixture = {
            "mixture_id": mixture_id,
            "split": self.split,
            "mode": mode.name,
            "instruments": [source.instrument for source in selection],
            "target_bpm": target_bpm,
            "dastgah": next(iter(dastgahs), None),
            "room_rt60_s": place[0],
            "room_wet_db": place[1],
        }
        components = [
            {
                "mixture_id": mixture_id,
                "slice_id": source.slice_id,
                "recording_id": source.recording_id,
                "instrument": source.instrument,
                "dastgah": source.dastgah,
                "bpm": source.bpm,
                "offset_s": round(offset_s, 6) + 0.0,  # never -0.0
                "stretch": stretch,
                "shift_cents": round(_cents(source.tonic_hz, tonic_hz), 3) + 0.0,
                "gain_db": gain_db,
                "metered": source.bpm is not None,
            }
            for source, offset_s, stretch, gain_db in zip(selection, begins, stretches, gains_db, strict=True)
        ]
        return mixture, components


def _meeting_point(values: list[float], most: float, rng: np.random.Generator) -> float | None:
    """A target of the least change, if any; drawn, or the same instruments would always stay unchanged.

    A classifier could then recognise instruments by the traces of stretching.
    """
    points = octaves.meeting_points(values, most) if values else []
    return round(points[rng.integers(len(points))], 6) if points else None


def _cents(tonic_hz: float | None, target_hz: float | None) -> float:
    """Transposition that brings a tonic to the target, if both are known."""
    return 1200 * math.log2(octaves.ratio(tonic_hz, target_hz)) if tonic_hz and target_hz else 0.0


def _key(selection: Selection) -> frozenset[str]:
    return frozenset(source.slice_id for source in selection)


def _bpms(selection: Selection) -> list[float]:
    return [source.bpm for source in selection if source.bpm is not None]


def _tonics(selection: Selection) -> list[float]:
    return [source.tonic_hz for source in selection if source.tonic_hz is not None]


def latest_begin(source: Source, stretch: float) -> float:
    """Latest begin of a component whose recording does not end before it does."""
    return source.sounding_s[1] - stretch * CLIP_SECONDS


def begin(source: Source, stretch: float) -> float:
    """Where a component begins: with its slice, or earlier if its recording would end too soon.

    If all of the recording is too short, the component falls silent at its end.
    """
    return max(source.sounding_s[0], min(0.0, latest_begin(source, stretch)))


def aligned(selection: Sequence[Source], stretches: Sequence[float]) -> list[float]:
    """Where each component begins so that beats coincide; without a known beat, as by `begin`.

    The beats of the slowest component stay where they are and the others move as little as they can. Tempi are equal
    modulo octave, so every slow beat meets a fast one, as exactly as `beat_s` and the tempi are.
    """
    begins = [begin(source, stretch) for source, stretch in zip(selection, stretches, strict=True)]
    beats = [
        (i, source.bpm, source.beat_s)
        for i, source in enumerate(selection)
        if source.bpm is not None and source.beat_s is not None
    ]
    if len(beats) < 2:
        return begins
    # Rounded, since the tempi are equal modulo octave: the first of the slowest counts.
    slowest, _, slowest_beat_s = min(beats, key=lambda beat: round(beat[1] * stretches[beat[0]], 2))
    sounds_at_s = (slowest_beat_s - begins[slowest]) / stretches[slowest]
    for i, bpm, beat_s in beats:
        if i != slowest:
            on_the_beat = beat_s - stretches[i] * sounds_at_s
            begins[i] = _nearest(selection[i], stretches[i], begins[i], on_the_beat, 60.0 / bpm)
    return begins


def _nearest(source: Source, stretch: float, natural: float, on_the_beat: float, period: float) -> float:
    """The begin nearest to `natural`, of those whole periods from `on_the_beat`, that loses the least sound."""
    earliest, latest = source.sounding_s[0], latest_begin(source, stretch)

    def silence(offset: float) -> float:
        return max(0.0, earliest - offset) + max(0.0, offset - latest)

    # Two steps either way: a begin that leaves no silence may lie on the far side of the nearest one.
    steps = math.floor((natural - on_the_beat) / period)
    offsets = [on_the_beat + step * period for step in range(steps - 1, steps + 3)]
    return min(offsets, key=lambda offset: (round(silence(offset), 6), round(abs(offset - natural), 6)))
