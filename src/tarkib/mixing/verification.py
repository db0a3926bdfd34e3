"""Checks that the tables of a data set of mixtures keep every promise; `measurement` checks the sound.

Only the definitions of the modes are shared with the code that draws mixtures, so that a mistake there, or an edit by
hand, is noticed here.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tarkib.annotation import octaves
from tarkib.audio import CLIP_SECONDS
from tarkib.errors import TarkibError
from tarkib.mixing.modes import MODES, dastgahs_fit, differ
from tarkib.mixing.recipes import MAX_SHIFT_CENTS
from tarkib.mixing.rendering import RT60_S, WET_DB, by_mixture
from tarkib.params import Augment
from tarkib.runtime.text import counted, some
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

_ROUNDING = 1e-5  # of stretches and shifts in the tables
_SAME_TEMPO = 1e-4  # octaves
_SAME_TONIC_CENTS = 0.1
_SAME_BEAT_S = 0.001
_PRINTED = 10  # defects


class Defect(NamedTuple):
    """A broken promise: the mixture (empty: the data set), the promise's name, and a sentence."""

    mixture_id: str
    promise: str
    sentence: str


class _Part(NamedTuple):
    """A component's row with the rows of its slice."""

    row: Mapping
    slice: Mapping
    annotation: Mapping

    @property
    def tonic_hz(self) -> float | None:
        return None if self.row["instrument"] in PERCUSSION else self.annotation["tonic_hz"]


Checks = Iterator[tuple[str, bool, str]]
"""For each check: name of the promise, whether it is broken, and a sentence for the user."""


def verify(
    mixtures: Sequence[Mapping],
    components: Sequence[dict],
    annotations: Sequence[Mapping],
    slices: Sequence[Mapping],
    params: Augment,
) -> list[Defect]:
    """Every broken promise in these rows of a data set's tables; `params` is what it was drawn with."""
    annotated, by_id = ({row["slice_id"]: row for row in rows} for rows in (annotations, slices))
    known, parts_of = annotated.keys() & by_id.keys(), by_mixture(components)
    positions = {(row["recording_id"], row["number"]) for row in slices}
    # Instruments that every mode can use: drums, and those that have a slice with a dastgah.
    free = not params.comparable and params.mode == "random"
    playable = defaultdict(set)
    for row in slices:
        if (
            free
            or row["instrument"] in PERCUSSION
            or (row["slice_id"] in known and annotated[row["slice_id"]]["dastgah"])
        ):
            playable[row["split"]].add(row["instrument"])
    checks = {"": list(_check_data_set(mixtures, parts_of, slices, params))}
    for mixture in mixtures:
        mixture_id, rows = mixture["mixture_id"], parts_of.get(mixture["mixture_id"], [])
        unknown = [row["slice_id"] for row in rows if row["slice_id"] not in known]
        checks[mixture_id] = [("slices", bool(unknown), f"unknown: {', '.join(unknown)}")]
        if rows and not unknown:
            parts = [_Part(row, by_id[row["slice_id"]], annotated[row["slice_id"]]) for row in rows]
            least = min(params.min_instruments, len(playable[mixture["split"]]))
            checks[mixture_id] += _check_mixture(mixture, parts, least, params)
            checks[mixture_id] += _check_beats(mixture, parts, params)
            for part in parts:
                checks[mixture_id] += _check_component(mixture, part, positions, params)
    return [Defect(name, *check[::2]) for name, all_of in checks.items() for check in all_of if check[1]]


def _check_data_set(
    mixtures: Sequence[Mapping], parts_of: Mapping[str, list], slices: Sequence[Mapping], params: Augment
) -> Checks:
    """Mixtures are complete and distinct, and no recording has slices in two splits."""
    ids = Counter(row["mixture_id"] for row in mixtures)
    wrong = [name for name in ids.keys() | parts_of.keys() if ids[name] != 1 or name not in parts_of]
    yield "whole", bool(wrong), f"not once in each of the two tables: {some(sorted(wrong))}"
    made = Counter(row["split"] for row in mixtures)
    wanted = params.train_mixtures, params.validation_mixtures
    incomplete = made["train"] != wanted[0] or not 0 < made["validation"] <= wanted[1]
    yield "whole", incomplete, f"has {dict(made)} mixtures, augment asks for {wanted}"
    first: dict[frozenset[str], str] = {}
    for mixture_id, rows in parts_of.items():
        earlier = first.setdefault(frozenset(row["slice_id"] for row in rows), mixture_id)
        yield "distinct", earlier != mixture_id, f"{mixture_id} uses the slices of {earlier}"
    splits = {row["recording_id"]: row["split"] for row in slices}
    both = {row["recording_id"] for row in slices if splits[row["recording_id"]] != row["split"]}
    yield "split", bool(both), f"recordings in both splits: {some(sorted(both))}"


def _check_mixture(mixture: Mapping, parts: Sequence[_Part], least: int, params: Augment) -> Checks:
    """Labels, dastgahs, tempi, tonics and room of a mixture."""
    labels, playing, most = mixture["instruments"], [part.row["instrument"] for part in parts], params.max_instruments
    listed = ", ".join(playing)
    yield "labels", labels != playing, f"labelled {', '.join(labels)}, but {listed} play"
    wrong = len(set(playing)) < len(playing) or not {*labels, *playing} <= {*INSTRUMENTS}
    yield "labels", wrong, f"an instrument plays twice or is unknown: {listed}"
    count, wrong = counted(len(playing), "instrument"), not least <= len(playing) <= most
    yield "labels", wrong, f"{count}, augment.min_instruments to max_instruments is {least} to {most}"

    mode = MODES.get(mixture["mode"], MODES["random"])
    yield "mode", mixture["mode"] != params.mode, f"mode {mixture['mode']}, augment.mode is {params.mode}"
    dastgahs = [part.row["dastgah"] for part in parts if part.row["instrument"] not in PERCUSSION]
    wrong = not dastgahs_fit(mode, dastgahs) or not {*dastgahs} <= {*DASTGAHS, None}
    yield "dastgah", wrong, f"mode {mode.name}, but the dastgahs are {', '.join(map(str, dastgahs))}"
    shared = dastgahs[0] if dastgahs and mode.dastgah == "same" else None
    yield "dastgah", mixture["dastgah"] != shared, f"dastgah is {mixture['dastgah']}, its components' is {shared}"

    target = mixture["target_bpm"]
    tempi = [part.row["bpm"] * part.row["stretch"] for part in parts if part.row["bpm"]]
    wrong = (target is not None) != (mode.tempo == "same" and bool(tempi))
    wrong |= target is not None and any(octaves.apart(bpm, target) > _SAME_TEMPO for bpm in tempi)
    wrong |= mode.tempo == "different" and not differ(tempi, params.tempo_tolerance)
    listed = ", ".join(f"{bpm:.2f}" for bpm in tempi)
    yield "tempo", wrong, f"tempi are {listed or None} BPM, the target is {target}, in mode {mode.name}"

    tonics = [hz * 2 ** (part.row["shift_cents"] / 1200) for part in parts if (hz := part.tonic_hz)]
    wrong = params.align_tonic and any(1200 * octaves.apart(hz, tonics[0]) > _SAME_TONIC_CENTS for hz in tonics)
    yield "tonic", wrong, f"tonics {', '.join(f'{hz:.1f}' for hz in tonics)} Hz differ"
    for name, (low, high) in (("room_rt60_s", RT60_S), ("room_wet_db", WET_DB)):
        value = mixture[name]
        kept = value is not None and low <= value <= high if params.reverb else value is None
        yield "room", not kept, f"{name} is {value}; with augment.reverb it is {low} to {high}, else none"


def _check_beats(mixture: Mapping, parts: Sequence[_Part], params: Augment) -> Checks:
    """If beats are aligned, each beat of the slowest component coincides with one of every other component."""
    beats = []
    for row, _, annotation in parts:
        if params.align_beats and mixture["target_bpm"] and row["bpm"] and annotation["beat_s"] is not None:
            first_s = (annotation["beat_s"] - row["offset_s"]) / row["stretch"]
            beats.append((60 / (row["bpm"] * row["stretch"]), first_s, row["slice_id"]))
    for period_s, first_s, slice_id in beats:
        off = (first_s - max(beats)[1]) / period_s
        off = abs(off - round(off))
        yield "beats", off * period_s > _SAME_BEAT_S, f"{slice_id}: its beats are {off:.2f} of a beat off the slowest's"


def _check_component(mixture: Mapping, part: _Part, positions: set[tuple[str, int]], params: Augment) -> Checks:
    """A component agrees with its slice, and its stretch, shift, gain and offset are allowed."""
    row, slice_row, annotation = part
    name, recording_id = row["slice_id"], slice_row["recording_id"]
    expected = {
        "recording_id": recording_id,
        "origin": slice_row["origin"],
        "instrument": slice_row["instrument"],
        "dastgah": None if row["instrument"] in PERCUSSION else annotation["dastgah"],
        "bpm": annotation["bpm"],
        "metered": annotation["bpm"] is not None,
    }
    for column, value in expected.items():
        yield "source", row[column] != value, f"{name}: {column} is {row[column]}, its slice's is {value}"
    split = slice_row["split"]
    yield "split", split != mixture["split"], f"{name} is of {split}, the mixture of {mixture['split']}"

    factor, most = row["stretch"], params.max_stretch
    inside = 1 / most - _ROUNDING <= factor <= most + _ROUNDING
    yield "stretch", not inside, f"{name}: stretch {factor} is beyond augment.max_stretch {most}"
    allowed = row["metered"] and MODES.get(mixture["mode"], MODES["random"]).tempo == "same"
    wrong = factor != 1.0 and not allowed
    yield "stretch", wrong, f"{name}: stretch {factor} in mode {mixture['mode']}, metered {row['metered']}"

    cents, gain_db = row["shift_cents"], row["gain_db"]
    most = MAX_SHIFT_CENTS if params.align_tonic and part.tonic_hz else 0.0
    yield "shift", abs(cents) > most + _ROUNDING, f"{name}: transposed by {cents} cents, {most:g} is the most"
    inside = abs(gain_db) <= params.gain_range_db
    yield "gain", not inside, f"{name}: gain {gain_db} dB, augment.gain_range_db is {params.gain_range_db}"

    before, after = ((recording_id, slice_row["number"] + step) in positions for step in (-1, 1))
    # Aligning beats may cost a little silence where the recording does not reach.
    slack = _ROUNDING + (60 / row["bpm"] if row["bpm"] and params.align_beats else 0.0)
    latest = max(0.0, CLIP_SECONDS * (1 + after) - factor * CLIP_SECONDS) + slack
    inside = -CLIP_SECONDS * before - slack <= row["offset_s"] <= latest
    yield "offset", not inside, f"{name}: begins at {row['offset_s']} s, outside of its recording"


def raise_if_any(defects: Sequence[Defect]) -> None:
    """Raise TarkibError that names the first defects and counts the others, if there are any."""
    lines = [f"{defect.mixture_id or 'data set'}: {defect.promise}: {defect.sentence}" for defect in defects[:_PRINTED]]
    if len(defects) > _PRINTED:
        counts = Counter(defect.promise for defect in defects)
        lines.append(f"... {', '.join(f'{count} of {promise}' for promise, count in counts.most_common())} in all")
    if defects:
        broken = counted(len(defects), "promise")
        raise TarkibError("\n  ".join([f"the mixtures break {broken}; nothing was kept:", *lines]))
