"""The page of a data set: its distributions, and some of its mixtures or slices to look at and to listen to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from tarkib import audio, tables
from tarkib.audio import CLIP_SECONDS, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.mixing.modes import MODES
from tarkib.mixing.rendering import Renderer
from tarkib.preview import spectrogram
from tarkib.preview.dataset import Mixtures, Slices
from tarkib.preview.distributions import distributions
from tarkib.runtime import pages
from tarkib.runtime.pages import name, number
from tarkib.runtime.text import note_name
from tarkib.vocabulary import PERCUSSION

_PACKAGE = "tarkib.preview"
_DASTGAH = {"free": "Any dastgah", "same": "One dastgah a mixture", "different": "A different dastgah each"}
_TEMPO = {
    "free": "any tempo",
    "same": "one tempo, compared modulo octave",
    "different": "different tempi",
}
_NO_COMMON_VALUE = {"same": "none", "free": "free", "different": "none, all different"}
"""What a mixture without a common dastgah or tempo shows, by the relation that its mode asks for."""
_COLUMNS = ("Instrument", "Dastgah", "BPM", "Stretch", "Shift", "Gain", "Slice", "As mixed")
_MAX_DIFFERENCE_DB = -40.0  # far more than rounding to 16 bits, far less than another slice


def pieces(dataset: Mixtures | Slices, count: int) -> Iterator[str]:
    """Yield the page of a data set piece by piece, so that the whole page is never in memory.

    The first piece is all above the clips, then comes one for each of at most `count` evenly spread mixtures or slices,
    then the end.

    Raises TarkibError where a clip cannot be read or does not fit the tables.
    """
    rows = tables.spread(dataset.rows, count)
    templates = pages.environment(_PACKAGE)
    article = templates.get_template("article.html")
    before, after = _page(dataset, len(rows), templates).split("\0")
    yield before
    entries = _mixtures(dataset, rows) if isinstance(dataset, Mixtures) else _slices(dataset, rows)
    for entry in entries:
        yield article.render(entry)
    yield after


def _page(dataset: Mixtures | Slices, shown: int, templates: Any) -> str:
    """Render the page with a null character in place of the articles."""
    noun = "mixture" if isinstance(dataset, Mixtures) else "slice"
    title, explanation = _counted(len(dataset.rows), noun), ""
    if isinstance(dataset, Mixtures):
        modes = sorted({row["mode"] for row in dataset.rows})
        title += f", mode {', '.join(modes)}"
        if len(modes) == 1 and modes[0] in MODES:
            mode = MODES[modes[0]]
            explanation = f". {_DASTGAH[mode.dastgah]}, {_TEMPO[mode.tempo]}."
    splits = Counter(row["split"] for row in dataset.rows)
    everything = shown == len(dataset.rows)
    return templates.get_template("page.html").render(
        title=title,
        subtitle=", ".join(f"{splits[split]:,} {split}" for split in sorted(splits)) + explanation,
        css=pages.asset(_PACKAGE, "page.css"),
        script=pages.asset(_PACKAGE, "page.js"),
        distributions=distributions(dataset),
        heading=f"All {_counted(shown, noun)}" if everything else f"{_counted(shown, noun)}, evenly spread",
        noun=noun,
        low_hz=spectrogram.LOW_HZ,
        high_hz=spectrogram.HIGH_HZ,
        range_db=spectrogram.RANGE_DB,
        seconds=CLIP_SECONDS,
        palette=spectrogram.palette()[::8],
        articles="\0",
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _mixtures(dataset: Mixtures, rows: Sequence[Mapping]) -> Iterator[dict[str, Any]]:
    with ClipStore(dataset.folder) as mixed, ClipStore(dataset.slices) as store:
        renderer = Renderer(store, dataset.places)
        for row in rows:
            mixture_id, components = row["mixture_id"], dataset.components[row["mixture_id"]]
            parts = renderer.parts(row, components)
            flac = mixed.read_bytes(Place.of(row))
            samples = clips.decode(flac)
            difference = audio.rms(np.sum(parts, axis=0, dtype=np.float32) - samples)
            if difference > max(audio.rms(samples) * audio.amplitude(_MAX_DIFFERENCE_DB), 1e-4):
                raise TarkibError(
                    f"{dataset.folder}: mixture {mixture_id} is not the sum of its components rendered from "
                    f"{dataset.slices}; they were made at different times: run dvc repro, or name the right slices "
                    "with --slices"
                )
            yield _entry(mixture_id, [part["instrument"] for part in components], row["split"], flac, samples) | {
                "facts": list(_mixture_facts(row, components)),
                "columns": _COLUMNS,
                "components": [
                    (component["instrument"], list(_cells(component)), _flac_url(clips.encode(part)))
                    for component, part in zip(components, parts, strict=True)
                ],
            }


def _slices(dataset: Slices, rows: Sequence[Mapping]) -> Iterator[dict[str, Any]]:
    with ClipStore(dataset.folder) as store:
        for row in rows:
            annotation = dataset.annotations[row["slice_id"]] if dataset.annotations is not None else None
            flac = store.read_bytes(Place.of(row))
            samples = store.read(Place.of(row))  # an error for a damaged clip names its place
            yield _entry(row["slice_id"], [row["instrument"]], row["split"], flac, samples) | {
                "facts": list(_slice_facts(row, annotation)),
                "components": [],
            }


def _entry(title: str, instruments: Sequence[str], split: str, flac: bytes, samples: np.ndarray) -> dict[str, Any]:
    return {
        "title": title,
        "instruments": instruments,
        "split": split,
        "sound": _flac_url(flac),
        "spectrogram": pages.data_url(spectrogram.png(samples), "image/png"),
        "seconds": len(samples) / spectrogram.SAMPLE_RATE,
        "width": round(len(samples) / spectrogram.SAMPLE_RATE * spectrogram.WIDTH_PER_SECOND),
        "height": spectrogram.HEIGHT,
        "ticks": [
            (f"{hz}" if hz < 1_000 else f"{hz // 1_000}k", 100 * spectrogram.height_of(hz))
            for hz in spectrogram.TICKS_HZ
        ],
    }


def _flac_url(flac: bytes) -> str:
    return pages.data_url(flac, "audio/flac")


def _none(text: str) -> Markup:
    return Markup('<span class="none">{}</span>').format(text)


def _mixture_facts(row: Mapping, components: Sequence[Mapping]) -> Iterator[tuple[str, str]]:
    mode = MODES.get(row["mode"])
    dastgahs = [component["dastgah"] for component in components if component["dastgah"]]
    dastgah = row["dastgah"] or (dastgahs[0] if len(dastgahs) == 1 else None)
    yield (
        "Dastgah",
        name(dastgah) if dastgah else _none(_NO_COMMON_VALUE[mode.dastgah] if mode and dastgahs else "none"),
    )
    if row["target_bpm"] is not None:
        yield "Target tempo", f"{number(row['target_bpm'], 1)} BPM"
    else:
        several = sum(component["metered"] for component in components) > 1
        yield "Target tempo", _none(_NO_COMMON_VALUE[mode.tempo] if mode and several else "none")
    if row["room_rt60_s"] is not None:
        wet = "" if row["room_wet_db"] is None else f", {number(row['room_wet_db'], 1)} dB wet"
        yield "Room", f"RT60 {number(row['room_rt60_s'], 2)} s{wet}"


def _cells(row: Mapping) -> Iterator[str]:
    """Yield the cells of a component between its instrument and its player."""
    unknown = "none" if row["instrument"] in PERCUSSION else "unknown"
    yield _none(unknown) if row["dastgah"] is None else name(row["dastgah"])
    if row["bpm"] is None:
        yield _none("free")
    else:
        mixed = "" if row["stretch"] == 1.0 else f" → {number(row['bpm'] * row['stretch'], 1)}"
        yield number(row["bpm"], 1) + mixed
    yield _none("none") if row["stretch"] == 1.0 else f"×{number(row['stretch'], 3)}"
    yield _none("none") if row["shift_cents"] == 0.0 else f"{number(row['shift_cents'], 0, signed=True)} ¢"
    yield f"{number(row['gain_db'], 1, signed=True)} dB"
    offset = "" if row["offset_s"] == 0.0 else f"from {number(row['offset_s'], 2, signed=True)} s"
    yield Markup('<span class="id">{}</span> <span>{}</span>').format(row["slice_id"], offset)


def _slice_facts(row: Mapping, annotation: Mapping | None) -> Iterator[tuple[str, str]]:
    pitched = row["instrument"] not in PERCUSSION
    if annotation is None:
        if pitched:
            label = row["dastgah"]
            yield "Dastgah", _none("no label") if label is None else Markup("{} (label)").format(name(label))
    else:
        if pitched:
            dastgah, family, hz = annotation["dastgah"], annotation["family"], annotation["tonic_hz"]
            yield "Dastgah", _annotated(annotation, "dastgah", name(dastgah) if dastgah else _none("unknown"))
            if family:
                yield "Family", _with_confidence(name(family), "", annotation["family_confidence"])
            tonic = f"{number(hz, 1)} Hz, {note_name(hz)}" if hz else _none("unknown")
            yield "Tonic", _annotated(annotation, "tonic", tonic)
        bpm = annotation["bpm"]
        yield "Tempo", _annotated(annotation, "bpm", f"{number(bpm, 1)} BPM" if bpm else _none("free"))
        if bpm and annotation["bpm_octaves"]:
            yield "Or", " or ".join(f"{number(octave, 1)} BPM" for octave in annotation["bpm_octaves"])
    yield "Level", f"{number(row['rms_dbfs'], 1)} dBFS"
    yield "Starts at", f"{number(row['start_s'], 1)} s of {row['recording_id']}"


def _annotated(annotation: Mapping, what: str, value: str) -> Markup:
    """Return a value with its source and confidence; without a value, the confidence is that of the best guess."""
    source = annotation[f"{what}_source"]
    return _with_confidence(value, "" if source == "none" else f"{source} ", annotation[f"{what}_confidence"])


def _with_confidence(value: str, source: str, confidence: float) -> Markup:
    text = Markup('{} <span class="confidence">{}{:.2f}</span>')
    return text.format(value, source, confidence)
