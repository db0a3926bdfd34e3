"""One mixture or one slice as a part of the page: what it is, how it looks, how it sounds, what it was made of."""

from collections.abc import Iterator, Sequence

import numpy as np

from tarkib import audio
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.mixing.modes import MODES
from tarkib.mixing.rendering import Renderer
from tarkib.preview.dataset import Mixtures, Slices
from tarkib.preview.markup import ARROW, TIMES, escaped, facts, figure, name, number, player
from tarkib.runtime.text import note_name
from tarkib.vocabulary import PERCUSSION

_UNBOUND = {"same": "none", "free": "free", "different": "none, all different"}
"""What is said where several components share no dastgah or tempo, by the relation that their mode asks for."""

_MOST_DIFFERENCE_DB = -40.0  # far more than rounding to 16 bits, far less than another slice


def of_mixtures(dataset: Mixtures, rows: Sequence[dict]) -> Iterator[str]:
    """An article of HTML for each of some mixtures of a data set.

    Raises TarkibError where a shard is missing or damaged, or where the components do not add up to the mixture.
    """
    with ClipStore(dataset.folder) as mixed, ClipStore(dataset.slices) as store:
        renderer = Renderer(store, dataset.places)
        for row in rows:
            components = dataset.components[row["mixture_id"]]
            place = Place.of(row)
            parts = renderer.parts(row, components)
            _check_sum(mixed.read(place), parts, dataset, row["mixture_id"])
            yield _mixture(row, components, mixed.read_bytes(place), parts)


def of_slices(dataset: Slices, rows: Sequence[dict]) -> Iterator[str]:
    """An article of HTML for each of some slices of a data set. Raises TarkibError for a missing or damaged shard."""
    with ClipStore(dataset.folder) as store:
        for row in rows:
            about = dataset.annotations[row["slice_id"]] if dataset.annotations is not None else None
            place = Place.of(row)
            store.read(place)  # a damaged one is an error that names it
            yield _slice(row, about, store.read_bytes(place))


def _check_sum(whole: np.ndarray, parts: Sequence[np.ndarray], dataset: Mixtures, mixture_id: str) -> None:
    """Refuse to play as components what the mixture was not made of."""
    difference = audio.rms(np.sum(parts, axis=0, dtype=np.float32) - whole)
    if difference > max(audio.rms(whole) * audio.amplitude(_MOST_DIFFERENCE_DB), 1e-4):
        raise TarkibError(
            f"{dataset.folder}: mixture {mixture_id} is not the sum of its components rendered from {dataset.slices}; "
            "they were made at different times: run dvc repro, or name the right slices with --slices"
        )


def _article(title: str, names: Sequence[str], split: str, rest: str) -> str:
    heading = ' <span class="plus">+</span> '.join(map(name, names))
    return (
        f'<article id="{escaped(title)}" aria-label="{escaped(title)}"><header><h3>{heading}</h3>'
        f'<p class="id">{escaped(title)} <span class="split">{escaped(split)}</span></p></header>{rest}</article>'
    )


def _sound(flac: bytes, title: str) -> str:
    return f'<div class="sound">{figure(clips.decode(flac), title)}{player(flac, title)}</div>'


def _mixture(row: dict, components: Sequence[dict], flac: bytes, parts: Sequence[np.ndarray]) -> str:
    title = row["mixture_id"]
    table = _components(components, parts, title)
    return _article(
        title,
        [one["instrument"] for one in components],
        row["split"],
        facts(_mixture_facts(row, components)) + _sound(flac, title) + table,
    )


def _mixture_facts(row: dict, components: Sequence[dict]) -> Iterator[tuple[str, str]]:
    mode = MODES.get(row["mode"])
    dastgahs = [one["dastgah"] for one in components if one["dastgah"]]
    if row["dastgah"] is not None:
        yield "Dastgah", name(row["dastgah"])
    elif len(dastgahs) == 1:
        yield "Dastgah", name(dastgahs[0])
    else:
        yield "Dastgah", _none(_UNBOUND[mode.dastgah] if mode and dastgahs else "none")
    tempi = sum(one["metered"] for one in components)
    if row["target_bpm"] is not None:
        yield "Target tempo", f"{number(row['target_bpm'], 1)} BPM"
    else:
        yield "Target tempo", _none(_UNBOUND[mode.tempo] if mode and tempi > 1 else "none")
    if row["room_rt60_s"] is not None:
        wet = "" if row["room_wet_db"] is None else f", {number(row['room_wet_db'], 1)} dB wet"
        yield "Room", f"RT60 {number(row['room_rt60_s'], 2)} s{wet}"


def _none(text: str) -> str:
    return f'<span class="none">{text}</span>'


def _components(rows: Sequence[dict], parts: Sequence[np.ndarray], title: str) -> str:
    """A table; its roles are spelt out because a phone shows its rows as cards, which would take them away."""
    columns = ("Instrument", "Dastgah", "BPM", "Stretch", "Shift", "Gain", "Slice", "As mixed")
    head = "".join(f'<th role="columnheader" scope="col">{one}</th>' for one in columns)
    body = "".join(
        '<tr role="row">'
        + f'<th role="rowheader" scope="row">{name(row["instrument"])}</th>'
        + "".join(
            f'<td role="cell" data-column="{column}">{text}</td>'
            for column, text in zip(columns[1:], _cells(row, part, title), strict=True)
        )
        + "</tr>"
        for row, part in zip(rows, parts, strict=True)
    )
    return (
        f'<table class="components" role="table" aria-label="Components of {escaped(title)}">'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{body}</tbody></table>'
    )


def _cells(row: dict, part: np.ndarray, title: str) -> Iterator[str]:
    if row["dastgah"] is not None:
        yield name(row["dastgah"])
    else:
        yield _none("none" if row["instrument"] in PERCUSSION else "unknown")
    yield _tempo(row)
    yield _none("none") if row["stretch"] == 1.0 else f"{TIMES}{number(row['stretch'], 3)}"
    yield _none("none") if row["shift_cents"] == 0.0 else f"{number(row['shift_cents'], 0, signed=True)} ¢"
    yield f"{number(row['gain_db'], 1, signed=True)} dB"
    offset = "" if row["offset_s"] == 0.0 else f" <span>from {number(row['offset_s'], 2, signed=True)} s</span>"
    yield f'<span class="id">{escaped(row["slice_id"])}</span>{offset}'
    yield player(clips.encode(part), f"{row['instrument']} as mixed in {title}")


def _tempo(row: dict) -> str:
    if row["bpm"] is None:
        return _none("free")
    before, heard = number(row["bpm"], 1), number(row["bpm"] * row["stretch"], 1)
    return before if row["stretch"] == 1.0 else f"{before} {ARROW} {heard}"


def _slice(row: dict, about: dict | None, flac: bytes) -> str:
    title = row["slice_id"]
    told = facts(_slice_facts(row, about))
    return _article(title, [row["instrument"]], row["split"], told + _sound(flac, title))


def _slice_facts(row: dict, about: dict | None) -> Iterator[tuple[str, str]]:
    pitched = row["instrument"] not in PERCUSSION
    if about is None:
        if pitched:
            yield "Dastgah", _none("no label") if row["dastgah"] is None else f"{name(row['dastgah'])} (label)"
    else:
        if pitched:
            yield "Dastgah", _annotated(about, "dastgah", about["dastgah"] and name(about["dastgah"]), "unknown")
            if about["family"]:
                yield "Family", f"{name(about['family'])} {_confidence(about['family_confidence'])}"
            hz = about["tonic_hz"]
            yield "Tonic", _annotated(about, "tonic", hz and f"{number(hz, 1)} Hz, {note_name(hz)}", "unknown")
        bpm = about["bpm"]
        yield "Tempo", _annotated(about, "bpm", bpm and f"{number(bpm, 1)} BPM", "free")
        if bpm and about["bpm_octaves"]:
            yield "Or", " or ".join(f"{number(one, 1)} BPM" for one in about["bpm_octaves"])
    yield "Level", f"{number(row['rms_dbfs'], 1)} dBFS"
    yield "Starts at", f"{number(row['start_s'], 1)} s of {escaped(row['recording_id'])}"


def _annotated(about: dict, what: str, value: str | None, otherwise: str) -> str:
    """A value with where it came from and how likely it is right; without one, how likely the best guess was."""
    source, confidence = about[f"{what}_source"], about[f"{what}_confidence"]
    told = _confidence(confidence, "" if source == "none" else source)
    return f"{_none(otherwise) if value is None else value} {told}"


def _confidence(confidence: float, source: str = "") -> str:
    return f'<span class="confidence">{escaped(source)} {confidence:.2f}</span>'
