"""The checker: whether a finished data set of mixtures keeps every promise; `listening` holds its sound against it.

It shares with what draws mixtures no more than the definitions of the modes: what is broken by a mistake there, or by
hand, is found here.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tarkib.annotation import octaves
from tarkib.audio import CLIP_SECONDS
from tarkib.errors import TarkibError
from tarkib.mixing.material import neighbour
from tarkib.mixing.modes import MODES, dastgahs_fit, differ
from tarkib.mixing.recipes import MAX_SHIFT_CENTS
from tarkib.mixing.rendering import by_mixture
from tarkib.mixing.room import RT60_S, WET_DB
from tarkib.params import Augment
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

_ROUNDING = 1e-5  # of stretches and shifts in the tables
_SAME_TEMPO = 1e-4  # octaves
_SAME_TONIC_CENTS = 0.1
_SAME_BEAT_S = 0.001
_TOLD = 10


class Defect(NamedTuple):
    """A promise that is broken: the mixture, the promise's name, and what was found."""

    mixture_id: str
    promise: str
    found: str


@dataclass(frozen=True)
class _Known:
    """What mixtures are held against, by slice_id."""

    slices: Mapping[str, Mapping]
    annotations: Mapping[str, Mapping]
    params: Augment
    ids: frozenset[str]
    """slices that are annotated"""
    playable: Mapping[str, int]
    """by split, the number of instruments that every mode can use: drums, and what has a slice with a dastgah"""


def verify(
    mixtures: Sequence[Mapping],
    components: Sequence[Mapping],
    annotations: Sequence[Mapping],
    slices: Sequence[Mapping],
    params: Augment,
) -> list[Defect]:
    """Every broken promise of a data set's tables; none where all are kept.

    Parameters
    ----------
    mixtures, components, annotations, slices : rows of the tables.
    params : what the mixtures were drawn with.
    """
    known = _known(annotations, slices, params)
    parts = by_mixture(components)
    found = [*_whole(mixtures, parts, params), *_apart(slices), *_distinct(mixtures, parts)]
    for mixture in mixtures:
        some = parts.get(mixture["mixture_id"], [])
        strangers = [row["slice_id"] for row in some if row["slice_id"] not in known.ids]
        if strangers:
            found.append(Defect(mixture["mixture_id"], "slices", f"unknown: {', '.join(strangers)}"))
        elif some:
            found += [
                Defect(mixture["mixture_id"], promise.__name__.strip("_"), sentence)
                for promise in _PROMISES
                for sentence in promise(mixture, some, known)
            ]
    return found


def _known(annotations: Sequence[Mapping], slices: Sequence[Mapping], params: Augment) -> _Known:
    by_id, about = {row["slice_id"]: row for row in slices}, {row["slice_id"]: row for row in annotations}
    ids = frozenset(by_id.keys() & about.keys())
    playable: dict[str, set[str]] = {}
    for row in slices:
        drum = row["instrument"] in PERCUSSION
        if drum or (row["slice_id"] in ids and about[row["slice_id"]]["dastgah"]):
            playable.setdefault(row["split"], set()).add(row["instrument"])
    return _Known(by_id, about, params, ids, {split: len(names) for split, names in playable.items()})


def _whole(mixtures: Sequence[Mapping], parts: Mapping[str, list], params: Augment) -> Iterator[Defect]:
    """Each mixture is there once, with its components, and there are as many as were asked for."""
    ids = Counter(row["mixture_id"] for row in mixtures)
    for one, count in ids.items():
        if count > 1:
            yield Defect(one, "whole", f"is there {count} times")
        if one not in parts:
            yield Defect(one, "whole", "has no components")
    for one in parts.keys() - ids.keys():
        yield Defect(one, "whole", "has components but is not in the table of mixtures")
    counts = Counter(row["split"] for row in mixtures)
    if counts["train"] != params.train_mixtures:
        yield Defect("", "whole", f"{counts['train']} train mixtures, {params.train_mixtures} were asked for")
    if not 0 < counts["validation"] <= params.validation_mixtures:
        yield Defect("", "whole", f"{counts['validation']} validation mixtures of {params.validation_mixtures}")


def _apart(slices: Sequence[Mapping]) -> Iterator[Defect]:
    """No recording has slices in two splits."""
    splits: dict[str, set[str]] = {}
    for row in slices:
        splits.setdefault(row["recording_id"], set()).add(row["split"])
    for one, names in splits.items():
        if len(names) > 1:
            yield Defect("", "split", f"recording {one} is in {' and '.join(sorted(names))}")


def _distinct(mixtures: Sequence[Mapping], parts: Mapping[str, list]) -> Iterator[Defect]:
    """No two mixtures use the same slices."""
    first: dict[frozenset[str], str] = {}
    for mixture_id in dict.fromkeys(row["mixture_id"] for row in mixtures):
        key = frozenset(row["slice_id"] for row in parts.get(mixture_id, ()))
        if key and first.setdefault(key, mixture_id) != mixture_id:
            yield Defect(mixture_id, "distinct", f"uses the slices of {first[key]}")


Sentences = Iterator[str]


def _labels(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """The mixture's labels are its components' instruments, each of which plays once."""
    labels, playing = mixture["instruments"], [row["instrument"] for row in parts]
    if labels != playing:
        yield f"labelled {', '.join(labels)}, but {', '.join(playing)} play"
    if len(set(playing)) < len(playing):
        yield f"one instrument plays twice: {', '.join(playing)}"
    if strangers := {*labels, *playing} - set(INSTRUMENTS):
        yield f"no known instrument: {', '.join(sorted(strangers))}"
    if len(playing) > known.params.max_instruments:
        yield f"{len(playing)} instruments, augment.max_instruments is {known.params.max_instruments}"
    if len(playing) < min(known.params.min_instruments, known.playable.get(mixture["split"], 0)):
        yield f"{len(playing)} instruments, augment.min_instruments is {known.params.min_instruments}"


def _source(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """A component says of its slice what the tables of slices and annotations say."""
    for row in parts:
        about = known.annotations[row["slice_id"]]
        expected = {
            "instrument": known.slices[row["slice_id"]]["instrument"],
            "dastgah": None if row["instrument"] in PERCUSSION else about["dastgah"],
            "bpm": about["bpm"],
            "metered": about["bpm"] is not None,
        }
        for column, value in expected.items():
            if row[column] != value:
                yield f"{row['slice_id']}: {column} is {row[column]}, its slice's is {value}"


def _split(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Components come from slices of the mixture's split."""
    for row in parts:
        split = known.slices[row["slice_id"]]["split"]
        if split != mixture["split"]:
            yield f"{row['slice_id']} is of {split}, the mixture of {mixture['split']}"


def _dastgah(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Dastgahs of the pitched components relate as the mode promises, and the mixture tells the one they share."""
    mode = MODES.get(mixture["mode"])
    if mode is None or mixture["mode"] != known.params.mode:
        yield f"mode {mixture['mode']}, augment.mode is {known.params.mode}"
        return
    found = [row["dastgah"] for row in parts if row["instrument"] not in PERCUSSION]
    if not dastgahs_fit(mode, found):
        yield f"mode {mode.name}, but the dastgahs are {', '.join(map(str, found))}"
    if strangers := {one for one in found if one} - set(DASTGAHS):
        yield f"no known dastgah: {', '.join(sorted(strangers))}"
    expected = found[0] if found and mode.dastgah == "same" else None
    if mixture["dastgah"] != expected:
        yield f"dastgah is {mixture['dastgah']}, its components' is {expected}"


def _tempo(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Metered components sound at tempi that relate as the mode promises."""
    mode, target = MODES.get(mixture["mode"], MODES["random"]), mixture["target_bpm"]
    heard = [row["bpm"] * row["stretch"] for row in parts if row["bpm"]]
    if (target is not None) != (mode.tempo == "same" and bool(heard)):
        yield f"target tempo is {target} in mode {mode.name} with {len(heard)} metered components"
    if target is not None and mode.tempo == "same":
        for bpm in heard:
            if octaves.apart(bpm, target) > _SAME_TEMPO:
                yield f"a component sounds at {bpm:.2f} BPM, the target is {target:.2f}"
    if mode.tempo == "different" and not differ(heard, known.params.tempo_tolerance):
        yield f"tempi {', '.join(f'{bpm:.1f}' for bpm in heard)} are not all different"


def _stretch(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Stretches stay in range; what is not metered, or in a mode without one tempo, is left as it was."""
    most, stretched = known.params.max_stretch, MODES.get(mixture["mode"], MODES["random"]).tempo == "same"
    for row in parts:
        factor = row["stretch"]
        if not 1 / most - _ROUNDING <= factor <= most + _ROUNDING:
            yield f"{row['slice_id']}: stretch {factor} is beyond augment.max_stretch {most}"
        if factor != 1.0 and not (stretched and row["metered"]):
            yield f"{row['slice_id']}: stretch {factor}, but {'it is not metered' if stretched else 'not in this mode'}"


def _shift(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Transpositions stay in range; where tonics are aligned they are one, else nothing is transposed."""
    tonics = []
    for row in parts:
        tonic_hz = None if row["instrument"] in PERCUSSION else known.annotations[row["slice_id"]]["tonic_hz"]
        if abs(row["shift_cents"]) > MAX_SHIFT_CENTS + _ROUNDING:
            yield f"{row['slice_id']}: transposed by {row['shift_cents']} cents, {MAX_SHIFT_CENTS:g} is the most"
        if row["shift_cents"] and not (known.params.align_tonic and tonic_hz):
            yield f"{row['slice_id']}: transposed by {row['shift_cents']} cents without a reason"
        if tonic_hz:
            tonics.append(tonic_hz * 2 ** (row["shift_cents"] / 1200))
    if known.params.align_tonic and any(1200 * octaves.apart(one, tonics[0]) > _SAME_TONIC_CENTS for one in tonics[1:]):
        yield f"tonics {', '.join(f'{one:.1f}' for one in tonics)} Hz are not one"


def _gain(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Gains stay in range."""
    for row in parts:
        if not abs(row["gain_db"]) <= known.params.gain_range_db:
            yield f"{row['slice_id']}: gain {row['gain_db']} dB, augment.gain_range_db is {known.params.gain_range_db}"


def _offset(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """A component begins where its recording has sound, and early enough not to outlast it."""
    for row in parts:
        before, after = (neighbour(row["slice_id"], step) in known.slices for step in (-1, 1))
        played = row["stretch"] * CLIP_SECONDS
        # Beats may be aligned by a little silence where the recording does not reach.
        slack = 60 / row["bpm"] if row["bpm"] and known.params.align_beats else 0.0
        earliest = -CLIP_SECONDS * before - slack - _ROUNDING
        latest = max(0.0, CLIP_SECONDS * (1 + after) - played) + slack + _ROUNDING
        if not earliest <= row["offset_s"] <= latest:
            yield f"{row['slice_id']}: begins at {row['offset_s']} s, outside of its recording"


def _beats(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """Where beats are aligned, each beat of the slowest component is one of every other's."""
    if not known.params.align_beats or mixture["target_bpm"] is None:
        return
    heard = []
    for row in parts:
        beat_s = known.annotations[row["slice_id"]]["beat_s"]
        if row["bpm"] and beat_s is not None:
            heard.append((60 / (row["bpm"] * row["stretch"]), (beat_s - row["offset_s"]) / row["stretch"], row))
    slowest_s = max(heard, key=lambda one: one[0])[1] if heard else 0.0
    for period_s, first_s, row in heard:
        beats = (first_s - slowest_s) / period_s
        if abs(beats - round(beats)) * period_s > _SAME_BEAT_S:
            yield f"{row['slice_id']}: its beats are {abs(beats - round(beats)):.2f} of a beat off the slowest's"


def _room(mixture: Mapping, parts: Sequence[Mapping], known: _Known) -> Sentences:
    """There is a room, within its ranges, where and only where one was asked for."""
    room = mixture["room_rt60_s"], mixture["room_wet_db"]
    if not known.params.reverb:
        if room != (None, None):
            yield f"room {room}, but augment.reverb is off"
    elif None in room or not (RT60_S[0] <= room[0] <= RT60_S[1] and WET_DB[0] <= room[1] <= WET_DB[1]):
        yield f"room {room} is outside of {RT60_S} s, {WET_DB} dB"


_PROMISES = (_labels, _source, _split, _dastgah, _tempo, _stretch, _shift, _gain, _offset, _beats, _room)


def refuse(defects: Sequence[Defect]) -> None:
    """Raise TarkibError that names the first defects and counts the others, if there are any."""
    if not defects:
        return
    lines = [f"{one.mixture_id or 'data set'}: {one.promise}: {one.found}" for one in defects[:_TOLD]]
    if len(defects) > _TOLD:
        counts = Counter(one.promise for one in defects)
        lines.append(f"... {', '.join(f'{count} of {promise}' for promise, count in counts.most_common())} in all")
    raise TarkibError("\n  ".join([f"the mixtures break {len(defects)} promise(s); nothing was kept:", *lines]))
