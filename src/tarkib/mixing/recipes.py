"""What to mix: all mixtures of a mode, drawn as tables before any of them is rendered.

The ensemble, gains and room of mixture i come from a generator seeded by (seed, split, i); its slices come from one
that is also seeded by the mode. All four modes are drawn together, and an ensemble is used only if each mode finds new
slices for it: so mixture i has the same ensemble, gains and room in all modes. (With `augment.comparable: false` only
the chosen mode is drawn.) No two mixtures of a mode use the same slices.

A component lasts `CLIP_SECONDS` and plays its recording `stretch` times as fast from `offset_s` on, in seconds of the
recording from the slice's start; before 0 and after the slice's end are the neighbouring slices, if there are any.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from tarkib.annotation import octaves
from tarkib.audio import CLIP_SECONDS
from tarkib.errors import TarkibError
from tarkib.mixing import ensembles
from tarkib.mixing.modes import MODES, Mode, dastgahs_fit, tempi_fit
from tarkib.mixing.rendering import RT60_S, WET_DB
from tarkib.params import Augment
from tarkib.runtime.streams import Stream, generator
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION

MAX_SHIFT_CENTS = 250.0
"""Largest transposition by `augment.align_tonic`; beyond it an instrument no longer sounds like itself."""

_MAX_SHIFT = 2 ** (MAX_SHIFT_CENTS / 1200)
_SPLIT_NUMBERS = {"train": 0, "validation": 1}
_ENSEMBLE_DRAWS = 1_000
_EVEN_DRAWS, _UNEVEN_DRAWS = 200, 2_000  # of slices
_EVEN_CHOICE = 3  # candidates of which an even draw takes the least used slice
_REMEDY = (
    "put their recordings into folders named after the dastgah (santur/shur/), or mix all without regard to it: "
    "augment.mode=random with augment.comparable=false"
)
_MAX_ENUMERATED = 20_000  # selections that are tried one by one if drawing finds none


@dataclass(frozen=True)
class Source:
    """A slice that a mixture may use; times in seconds from its start."""

    slice_id: str
    recording_id: str
    instrument: str
    dastgah: str | None
    bpm: float | None  # None, as its first beat, unless it is metered
    tonic_hz: float | None
    beat_s: float | None = None
    sounding_s: tuple[float, float] = (0.0, CLIP_SECONDS)  # where its recording sounds in it and in its neighbours
    origin: str = "own"

    @property
    def pitched(self) -> bool:
        return self.instrument not in PERCUSSION


Selection = tuple[Source, ...]
"""One slice for each instrument of an ensemble, in its order."""


def join(slices: Sequence[dict], annotations: Iterable[dict], recordings: Iterable[dict]) -> dict[str, list[Source]]:
    """The sources of each split, from rows of the three tables.

    The table of annotations has only trusted tempi, so a slice with a tempo is metered.
    """
    annotated = {row["slice_id"]: row for row in annotations}
    # A rejected copy of a recording has the same id, but no length.
    seconds = {row["recording_id"]: row["seconds"] for row in recordings if row["status"] == "ok"}
    positions = {(row["recording_id"], row["number"]) for row in slices}
    by_split = defaultdict(list)
    for row in slices:
        recording_id, instrument, annotation = row["recording_id"], row["instrument"], annotated[row["slice_id"]]
        dastgah, tonic_hz = annotation["dastgah"], annotation["tonic_hz"]
        if instrument in PERCUSSION:
            dastgah = tonic_hz = None
        before, after = ((recording_id, row["number"] + step) in positions for step in (-1, 1))
        # The last slice of a recording is padded: its sound ends before the slice does.
        sounding_s = -CLIP_SECONDS * before, min(CLIP_SECONDS * (1 + after), seconds[recording_id] - row["start_s"])
        bpm, beat_s = annotation["bpm"], annotation["beat_s"]
        heard = dastgah, bpm, tonic_hz, beat_s, sounding_s
        by_split[row["split"]].append(Source(row["slice_id"], recording_id, instrument, *heard, row["origin"]))
    return dict(by_split)


class _Pools:
    """The selections of an ensemble that keep a mode's promise on dastgahs; tempi are not considered.

    `ways` holds, for each allowed assignment of dastgahs, the list of sources of each instrument; `cumulative` are the
    cumulative probabilities of the ways (empty for a single one), `count` is the number of selections.
    """

    def __init__(self, material: "_Material", instruments: tuple[str, ...], mode: Mode) -> None:
        totals = [material.by_instrument[name] for name in instruments]
        self.ways, self.cumulative = [totals], np.zeros(0)
        if mode.dastgah != "free":
            ways: list[tuple[list[str], list[list[Source]]]] = [([], [])]
            for name in instruments:
                # Pruned at each instrument: dastgahs keep the promise only if all of their prefixes do.
                ways = [
                    (dastgahs, [*way, pool])
                    for earlier, way in ways
                    for dastgah, pool in material.by_dastgah[name].items()
                    if dastgahs_fit(mode, dastgahs := [*earlier, *filter(None, [dastgah])])
                ]
            self.ways = [way for _, way in ways]
            # Weights for an even use of slices. A share is the part of an instrument's slices that a dastgah has. If a
            # dastgah is the same for all, with probability p, an instrument's slices in it are used p / share times as
            # often as with an even use: the greatest of these is smallest if p is proportional to the smallest share.
            # If dastgahs differ, each instrument draws by its own shares, so the weight of a way is their product.
            combine = min if mode.dastgah == "same" else math.prod
            shares = ([len(pool) / len(total) for pool, total in zip(way, totals, strict=True)] for way in self.ways)
            weights = list(map(combine, shares))
            self.cumulative = np.cumsum(weights) / sum(weights)
            self.cumulative[-1:] = 1.0  # exactly, so that every number below 1 selects a way
        self.count = sum(math.prod(map(len, way)) for way in self.ways)

    def draw(self, rng: np.random.Generator, uses: Counter[str] | None) -> Selection:
        """A random selection. `uses` counts how often each slice was used: rarely used ones are preferred."""
        chosen = int(np.searchsorted(self.cumulative, rng.random(), side="right")) if self.cumulative.size else 0
        if uses is None:
            return tuple(pool[rng.integers(len(pool))] for pool in self.ways[chosen])
        drawn = ([pool[i] for i in rng.integers(len(pool), size=_EVEN_CHOICE)] for pool in self.ways[chosen])
        return tuple(min(sources, key=lambda source: uses[source.slice_id]) for sources in drawn)


class _Material:
    """The sources of one split, by instrument and dastgah.

    A mode that relates dastgahs cannot use pitched sources without one. An instrument that one of `modes` cannot use is
    not `playable`, for any of them: the modes' ensembles must not differ.
    """

    def __init__(self, sources: Iterable[Source], params: Augment) -> None:
        self.modes = MODES if params.comparable else {params.mode: MODES[params.mode]}
        self.by_instrument: dict[str, list[Source]] = defaultdict(list)
        self.by_dastgah: dict[str, dict[str | None, list[Source]]] = defaultdict(lambda: defaultdict(list))
        for source in sources:
            self.by_instrument[source.instrument].append(source)
            if source.dastgah or not source.pitched:
                self.by_dastgah[source.instrument][source.dastgah].append(source)
        self.instruments = tuple(name for name in INSTRUMENTS if name in self.by_instrument)
        needs_dastgah = any(mode.dastgah != "free" for mode in self.modes.values())
        self.playable = tuple(name for name in self.instruments if self.by_dastgah[name] or not needs_dastgah)
        self.pools = cache(lambda instruments, mode: _Pools(self, instruments, mode))


def left_out(sources: Mapping[str, Sequence[Source]], params: Augment) -> list[str]:
    """Sentences for the user on instruments and slices that are not mixed; `sources` by split."""
    sentences, lost = [], set[str]()
    for split, loss in (("train", "unknown to the model"), ("validation", "threshold 0.5")):
        material = _Material(sources[split], params)
        if names := [name for name in material.instruments if name not in {*material.playable, *lost}]:
            sentences.append(f"{', '.join(names)}: no {split} slice has a dastgah, so none is mixed; {loss}")
            lost |= {*names}
        mixed = [source for source in sources[split] if source.instrument in material.playable]
        without = sum(source.pitched and source.dastgah is None for source in mixed)
        if without and MODES[params.mode].dastgah != "free":
            sentences.append(f"{without} of {len(mixed)} {split} slices lack a dastgah, which mode {params.mode} needs")
    return sentences + ([f"to mix these instruments too, {_REMEDY}"] if lost else [])


def draw(split: str, sources: Iterable[Source], params: Augment) -> tuple[list[dict], list[dict]]:
    """Draw the mixtures of one split in the mode `params.mode`: rows of mixtures (without clips) and of components.

    As many as `params` says; validation mixtures, which only serve model selection, may be fewer if there are no more
    distinct ones. Raises TarkibError if the material does not suffice; names the instruments and the mode.
    """
    material, number = _Material(sources, params), _SPLIT_NUMBERS[split]
    if not material.playable:
        raise TarkibError(
            f"mode {params.mode}: no {split} slice has a dastgah ({', '.join(material.instruments)}); {_REMEDY}"
        )
    drawing = _Drawing(material, params)
    count = params.train_mixtures if split == "train" else params.validation_mixtures
    mixtures, components = list[dict](), list[dict]()
    for index in range(count):
        rng = generator(params.seed, Stream.MIX_INSTRUMENTS, number, index)
        rngs = {
            name: generator(params.seed, Stream.MIX_SLICES, number, index, mode.number)
            for name, mode in material.modes.items()
        }
        if (selection := drawing.select(rng, rngs)) is None:
            if split == "train" or not index:
                slices = ", ".join(f"{len(material.by_instrument[name])} of {name}" for name in material.playable)
                scarcest = Counter(drawing.exhausted.values()).most_common(1)[0][0]
                where = "every mode" if params.comparable else f"mode {params.mode}"
                raise TarkibError(
                    f"augment.{split}_mixtures: only {index} of {count} distinct mixtures can be made in {where} "
                    f"from these {split} slices ({slices}); mode {scarcest} allows the fewest. Ask for fewer, add "
                    "recordings of the rarest instruments, widen augment.max_stretch or lower augment.tempo_tolerance"
                )
            break
        gains_db = rng.uniform(-params.gain_range_db, params.gain_range_db, len(selection)).round(3).tolist()
        mixture, parts = _recipe(f"{split}-{index:06d}", selection, gains_db, params, rngs[params.mode])
        rt60_s = round(math.exp(rng.uniform(*np.log(RT60_S))), 3) if params.reverb else None
        wet_db = round(rng.uniform(*WET_DB), 3) if params.reverb else None
        mixtures.append({**mixture, "split": split, "room_rt60_s": rt60_s, "room_wet_db": wet_db})
        components += parts
    return mixtures, components


class _Drawing:
    """Draws selections of one split in all modes, none of them twice."""

    def __init__(self, material: _Material, params: Augment) -> None:
        self.params, self.material = params, material
        self.used: dict[str, set[frozenset[str]]] = {name: set() for name in MODES}
        self.uses: dict[str, Counter[str]] = {name: Counter() for name in MODES}
        self.exhausted: dict[tuple[str, ...], str] = {}  # ensembles, each with a mode that has no new selection for it

    def select(self, rng: np.random.Generator, rngs: dict[str, np.random.Generator]) -> Selection | None:
        """Slices of an ensemble of which every mode can make a new mixture; None if there is none left."""
        params = self.params
        for _ in range(_ENSEMBLE_DRAWS):
            limits = params.min_instruments, params.max_instruments
            instruments = ensembles.draw(params.ensembles, self.material.playable, *limits, rng)
            if instruments in self.exhausted:
                continue
            selections: dict[str, Selection] = {}
            for name, mode in self.material.modes.items():
                if (selection := self._of_mode(instruments, mode, rngs[name])) is None:
                    self.exhausted[instruments] = name
                    break
                selections[name] = selection
            else:
                for name, selection in selections.items():
                    self.used[name].add(_key(selection))
                    self.uses[name].update(source.slice_id for source in selection)
                return selections[params.mode]
        return None

    def _of_mode(self, instruments: tuple[str, ...], mode: Mode, rng: np.random.Generator) -> Selection | None:
        """New slices that keep the mode's promises, or None if there are none, or too few to be found."""
        pools = self.material.pools(instruments, mode)
        if not pools.count:
            return None
        few = pools.count <= _MAX_ENUMERATED
        # If few slices fit, they are used most, and even draws avoid them: so uneven draws follow.
        for i in range(_EVEN_DRAWS if few else _EVEN_DRAWS + _UNEVEN_DRAWS):
            selection = pools.draw(rng, self.uses[mode.name] if i < _EVEN_DRAWS else None)
            if self._fits(selection, mode):
                return selection
        all_of_them = itertools.chain.from_iterable(itertools.product(*way) for way in pools.ways) if few else ()
        left = [selection for selection in all_of_them if self._fits(selection, mode)]
        return left[rng.integers(len(left))] if left else None

    def _fits(self, selection: Selection, mode: Mode) -> bool:
        """Whether a selection is new and keeps all of a mode's promises."""
        params = self.params
        return (
            _key(selection) not in self.used[mode.name]
            and (not params.align_tonic or octaves.within_reach(_known(selection, "tonic_hz"), _MAX_SHIFT))
            and tempi_fit(mode, _known(selection, "bpm"), params.max_stretch, params.tempo_tolerance)
        )


def _key(selection: Selection) -> frozenset[str]:
    return frozenset(source.slice_id for source in selection)


def _known(selection: Selection, name: Literal["bpm", "tonic_hz"]) -> list[float]:
    return [value for source in selection if (value := getattr(source, name)) is not None]


def _recipe(
    mixture_id: str, selection: Selection, gains_db: list[float], params: Augment, rng: np.random.Generator
) -> tuple[dict, list[dict]]:
    """Rows of a mixture, without split and room, and of its components.

    All computed values are rounded here and only here, so that other processors store the same, and so that an
    unchanged component has exactly stretch 1 and shift 0.
    """
    mode = MODES[params.mode]
    target_bpm = _meeting_point(_known(selection, "bpm"), params.max_stretch, rng) if mode.tempo == "same" else None
    tonic_hz = _meeting_point(_known(selection, "tonic_hz"), _MAX_SHIFT, rng) if params.align_tonic else None
    stretches = [
        round(octaves.ratio(source.bpm, target_bpm), 6) if source.bpm and target_bpm else 1.0 for source in selection
    ]
    offsets_s = offsets(selection, stretches, params.align_beats and target_bpm is not None)
    dastgahs = {source.dastgah for source in selection if source.pitched} if mode.dastgah == "same" else set()
    mixture = {
        "mixture_id": mixture_id,
        "mode": mode.name,
        "instruments": [source.instrument for source in selection],
        "target_bpm": target_bpm,
        "dastgah": next(iter(dastgahs), None),
    }
    components = []
    for source, offset_s, stretch, gain_db in zip(selection, offsets_s, stretches, gains_db, strict=True):
        shift = octaves.ratio(source.tonic_hz, tonic_hz) if source.tonic_hz and tonic_hz else 1.0
        components.append(
            {
                "mixture_id": mixture_id,
                "slice_id": source.slice_id,
                "recording_id": source.recording_id,
                "origin": source.origin,
                "instrument": source.instrument,
                "dastgah": source.dastgah,
                "bpm": source.bpm,
                "offset_s": round(offset_s, 6) + 0.0,  # never -0.0
                "stretch": stretch,
                "shift_cents": round(1200 * math.log2(shift), 3) + 0.0,
                "gain_db": gain_db,
                "metered": source.bpm is not None,
            }
        )
    return mixture, components


def _meeting_point(values: list[float], most: float, rng: np.random.Generator) -> float | None:
    """A target that changes the values least, if any; one of several at random, or some would never be changed."""
    points = octaves.meeting_points(values, most) if values else []
    return round(points[rng.integers(len(points))], 6) if points else None


def offsets(selection: Sequence[Source], stretches: Sequence[float], align_beats: bool) -> list[float]:
    """Each component's offset (see the module): 0, or less if its recording would end too soon.

    If the whole recording is too short, the component ends with silence. With `align_beats` the slowest component keeps
    its offset, and the others move by at most a beat: tempi are equal modulo octave, so every beat of the slowest then
    coincides with one of each other component.
    """
    latest = [source.sounding_s[1] - factor * CLIP_SECONDS for source, factor in zip(selection, stretches, strict=True)]
    natural = [max(source.sounding_s[0], min(0.0, end)) for source, end in zip(selection, latest, strict=True)]
    beats = [(i, one.bpm, one.beat_s) for i, one in enumerate(selection) if one.bpm and one.beat_s is not None]
    if not align_beats or len(beats) < 2:
        return natural
    # Rounded, so that of equal tempi the first component is taken.
    slowest, _, slowest_beat_s = min(beats, key=lambda beat: round(beat[1] * stretches[beat[0]], 2))
    sounds_at_s = (slowest_beat_s - natural[slowest]) / stretches[slowest]
    offsets_s = [*natural]
    for i, bpm, beat_s in beats:
        if i != slowest:
            on_the_beat, period = beat_s - stretches[i] * sounds_at_s, 60.0 / bpm
            steps = math.floor((natural[i] - on_the_beat) / period)
            # The nearer one may leave silence that the other does not.
            choices = np.array([on_the_beat + step * period for step in (steps, steps + 1)])
            silence = np.maximum(0, selection[i].sounding_s[0] - choices) + np.maximum(0, choices - latest[i])
            best = np.lexsort((np.abs(choices - natural[i]).round(6), silence.round(6)))[0]
            offsets_s[i] = float(choices[best])
    return offsets_s
