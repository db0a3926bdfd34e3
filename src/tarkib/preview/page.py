"""The whole page: head, what the data set is, its distributions, and some of its mixtures or slices."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator
from importlib import resources

from tarkib import tables
from tarkib.mixing.modes import MODES
from tarkib.preview import distributions, entries
from tarkib.preview.dataset import Mixtures, Slices
from tarkib.preview.markup import bars, escaped, key

_DASTGAH = {"free": "Any dastgah", "same": "One dastgah a mixture", "different": "A different dastgah each"}
_TEMPO = {"free": "any tempo", "same": "one tempo", "different": "different tempi"}


def pieces(dataset: Mixtures | Slices, count: int) -> Iterator[str]:
    """The page of a data set with at most `count` of its mixtures or slices, piece by piece.

    The first piece is all that stands above them, then comes one for each, then the end. Each is made when it is asked
    for, so that a page with many clips is never in memory whole.

    Raises TarkibError where a clip cannot be read or does not fit the tables.
    """
    rows = tables.spread(dataset.rows, count)
    mixtures = isinstance(dataset, Mixtures)
    yield _top(dataset, len(rows))
    yield from entries.of_mixtures(dataset, rows) if mixtures else entries.of_slices(dataset, rows)
    yield f"</section></main><script>{_file('page.js')}</script></body></html>\n"


def _top(dataset: Mixtures | Slices, shown: int) -> str:
    noun = "mixture" if isinstance(dataset, Mixtures) else "slice"
    title, explained = _title(dataset)
    splits = Counter(row["split"] for row in dataset.rows)
    counts = ", ".join(f"{splits[one]:,} {escaped(one)}" for one in sorted(splits))
    tables = "".join(map(bars, distributions.of(dataset)))
    chosen = f"{_counted(shown, noun)}, evenly spread" if shown < len(dataset.rows) else f"All {_counted(shown, noun)}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        # Nothing but what stands in the page itself may be loaded or run, whatever a table's text says.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
        f"style-src 'unsafe-inline'; script-src '{_hash('page.js')}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{title} – Tarkib</title><style>{_file('base.css', 'runtime.pages')}{_file('page.css')}</style></head><body>"
        '<header class="top"><p class="brand">Tarkib <span lang="fa" dir="rtl">ترکیب</span></p>'
        f"<h1>{title}</h1><p>{counts}{explained}</p></header>"
        '<main><section aria-labelledby="all"><h2 id="all">Distributions</h2>'
        f'<div class="all">{tables}</div></section>'
        f'<section aria-labelledby="some"><h2 id="some">{chosen}</h2>{key()}'
        f'<p class="key" id="keys">Click a spectrogram to hear the {noun} from there. With the keyboard: arrows move, '
        "Home and End jump, space plays and stops.</p>"
    )


def _title(dataset: Mixtures | Slices) -> tuple[str, str]:
    """What the data set is, and a sentence about its mode."""
    if isinstance(dataset, Slices):
        return _counted(len(dataset.rows), "slice"), ""
    names = sorted({row["mode"] for row in dataset.rows})
    title = f"{_counted(len(dataset.rows), 'mixture')}, mode {escaped(', '.join(names))}"
    if len(names) > 1 or names[0] not in MODES:
        return title, ""
    mode = MODES[names[0]]
    half = ", half or double counting as the same" if mode.tempo == "same" else ""
    return title, f". {_DASTGAH[mode.dastgah]}, {_TEMPO[mode.tempo]}{half}."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _file(name: str, package: str = "preview") -> str:
    return resources.files(f"tarkib.{package}").joinpath(name).read_text("utf-8")


def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_file(name).encode()).digest()).decode()
