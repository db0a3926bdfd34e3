"""The whole page: head, what the data set is, its distributions, and some of its mixtures or slices."""

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources

from tarkib.preview import distributions, entries
from tarkib.preview.dataset import Mixtures, Slices, spread
from tarkib.preview.markup import bars, escaped, key


def pieces(dataset: Mixtures | Slices, count: int) -> Iterator[str]:
    """The page of a data set with at most `count` of its mixtures or slices, piece by piece.

    The first piece is all that stands above them, then comes one for each, then the end. Each is made when it is asked
    for, so that a page with many clips is never in memory whole.

    Raises TarkibError where a clip cannot be read or does not fit the tables.
    """
    rows = spread(dataset.rows, count)
    mixtures = isinstance(dataset, Mixtures)
    yield _top(dataset, len(rows))
    yield from entries.of_mixtures(dataset, rows) if mixtures else entries.of_slices(dataset, rows)
    yield f"</section></main><script>{_file('page.js')}</script></body></html>\n"


def _top(dataset: Mixtures | Slices, shown: int) -> str:
    what = _what(dataset)
    splits = sorted({row["split"] for row in dataset.rows})
    counts = ", ".join(f"{sum(row['split'] == one for row in dataset.rows):,} {escaped(one)}" for one in splits)
    tables = "".join(map(bars, distributions.of(dataset)))
    kind = "mixtures" if isinstance(dataset, Mixtures) else "slices"
    chosen = f"All {shown:,}" if shown == len(dataset.rows) else f"{shown:,} of them, evenly spread"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        # Nothing but what stands in the page itself may be loaded or run, whatever a table's text says.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
        f"style-src 'unsafe-inline'; script-src '{_hash('page.js')}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{what} – Tarkib</title><style>{_file('page.css')}</style></head><body>"
        '<header class="top"><p class="brand">Tarkib <span lang="fa" dir="rtl">ترکیب</span></p>'
        f"<h1>{what}</h1><p>{counts}</p></header>"
        f'<main><section aria-labelledby="all"><h2 id="all">The whole data set</h2><div class="all">{tables}</div>'
        f'</section><section aria-labelledby="some"><h2 id="some">{chosen}</h2>{key()}'
        f'<p class="key" id="keys">Click a spectrogram to hear the {kind[:-1]} from there. With the keyboard: arrows '
        "move, Home and End jump, space plays and stops.</p>"
    )


def _what(dataset: Mixtures | Slices) -> str:
    if isinstance(dataset, Slices):
        return f"{len(dataset.rows):,} slices"
    modes = ", ".join(sorted({row["mode"] for row in dataset.rows}))
    return f"{len(dataset.rows):,} mixtures, mode {escaped(modes)}"


def _file(name: str) -> str:
    return resources.files("tarkib.preview").joinpath(name).read_text("utf-8")


def _hash(name: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(_file(name).encode()).digest()).decode()
