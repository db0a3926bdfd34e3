"""The page of a data set: its distributions, and some of its mixtures or slices to look at and to listen to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from tarkib import audio, tables
from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.mixing.modes import MODES
from tarkib.mixing.rendering import Renderer
from tarkib.preview import spectrogram
from tarkib.preview.dataset import Mixtures, Slices
from tarkib.preview.distributions import distributions
from tarkib.runtime import pages
from tarkib.runtime.text import counted, note_name
from tarkib.vocabulary import PERCUSSION

_PACKAGE = "tarkib.preview"
_DASTGAH = {"free": "Any dastgah", "same": "One dastgah a mixture", "different": "A different dastgah each"}
_TEMPO = {"free": "any tempo", "same": "one tempo, compared modulo octave", "different": "different tempi"}
_MAX_DIFFERENCE_DB = -40.0  # far more than rounding to 16 bits, far less than another slice


def pieces(dataset: Mixtures | Slices, count: int) -> Iterator[str]:
    """Yield the page of a data set piece by piece, so that the whole page is never in memory.

    The first piece is all above the clips, then comes one for each of at most `count` evenly spread mixtures or slices,
    then the end.

    Raises TarkibError where a clip cannot be read or does not fit the tables.
    """
    rows = tables.spread(dataset.rows, count)
    templates = pages.environment(_PACKAGE)
    templates.filters["note_name"] = note_name
    article = templates.get_template("article.html")
    before, after = _page(dataset, len(rows), templates).split("\0")
    yield before
    for entry in _mixtures(dataset, rows) if isinstance(dataset, Mixtures) else _slices(dataset, rows):
        yield article.render(entry)
    yield after


def _page(dataset: Mixtures | Slices, shown: int, templates: jinja2.Environment) -> str:
    """Render the page with a null character in place of the articles."""
    total, noun = len(dataset.rows), "mixture" if isinstance(dataset, Mixtures) else "slice"
    splits = Counter(row["split"] for row in dataset.rows)
    title = counted(total, noun)
    subtitle = ", ".join(f"{splits[split]:,} {split}" for split in sorted(splits))
    if isinstance(dataset, Mixtures):
        names = sorted({row["mode"] for row in dataset.rows})
        title += f", mode {', '.join(names)}"
        if len(names) == 1 and (mode := MODES.get(names[0])):
            subtitle += f". {_DASTGAH[mode.dastgah]}, {_TEMPO[mode.tempo]}."
    return templates.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        css=pages.asset(_PACKAGE, "page.css"),
        script=pages.asset(_PACKAGE, "page.js"),
        distributions=distributions(dataset),
        heading=f"All {noun}s" if shown == total else f"{shown:,} of the {noun}s, evenly spread",
        noun=noun,
        low_hz=spectrogram.LOW_HZ,
        high_hz=spectrogram.HIGH_HZ,
        range_db=spectrogram.RANGE_DB,
        seconds=CLIP_SECONDS,
        palette=spectrogram.palette()[::8],
        articles="\0",
    )


def _mixtures(dataset: Mixtures, rows: Sequence[Mapping]) -> Iterator[dict[str, Any]]:
    with ClipStore(dataset.folder) as mixed, ClipStore(dataset.slices) as store:
        renderer = Renderer(store, dataset.places)
        for row in rows:
            mixture_id, components = row["mixture_id"], dataset.components[row["mixture_id"]]
            parts = renderer.parts(row, components)
            samples = mixed.read(Place.of(row))
            difference = audio.rms(np.sum(parts, axis=0, dtype=np.float32) - samples)
            if difference > max(audio.rms(samples) * audio.amplitude(_MAX_DIFFERENCE_DB), 1e-4):
                raise TarkibError(
                    f"{dataset.folder}: mixture {mixture_id} is not the sum of its components rendered from "
                    f"{dataset.slices}; they were made at different times: run dvc repro"
                )
            sounds = [(component, clips.encode(part)) for component, part in zip(components, parts, strict=True)]
            yield _entry(mixture_id, row, mixed, samples) | {
                "instruments": [component["instrument"] for component in components],
                "components": sounds,
            }


def _slices(dataset: Slices, rows: Sequence[Mapping]) -> Iterator[dict[str, Any]]:
    with ClipStore(dataset.folder) as store:
        for row in rows:
            yield _entry(row["slice_id"], row, store, store.read(Place.of(row))) | {
                "instruments": [row["instrument"]],
                "annotation": dataset.annotations.get(row["slice_id"]),
                "components": [],
            }


def _entry(title: str, row: Mapping, store: ClipStore, samples: np.ndarray) -> dict[str, Any]:
    seconds = len(samples) / SAMPLE_RATE
    return {
        "title": title,
        "row": row,
        "flac": store.read_bytes(Place.of(row)),
        "spectrogram": spectrogram.png(samples),
        "seconds": seconds,
        "width": round(seconds * spectrogram.WIDTH_PER_SECOND),
        "height": spectrogram.HEIGHT,
        "ticks": [(hz, spectrogram.height_of(hz)) for hz in spectrogram.TICKS_HZ],
        "percussion": PERCUSSION,
    }
