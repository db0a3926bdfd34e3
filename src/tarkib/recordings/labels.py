"""Labels of recordings by their folders and by recordings.csv.

Folders are ``<root>/<instrument>/<dastgah>/.../<file>`` or ``<root>/<instrument>/<file>``, in any spelling that
`tarkib.vocabulary` knows; a file directly under an instrument has no dastgah, and percussion never has one. An optional
``<root>/recordings.csv`` (columns ``path`` and any of ``instrument``, ``dastgah``, ``tonic_hz``, ``bpm``,
``performer``; blank means unknown) overrides the folders and, later on, every estimate. A path in it matches a file
whose path differs only in how letters are stored (Unicode normalisation).
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tarkib import vocabulary
from tarkib.errors import TarkibError
from tarkib.recordings import folders, spreadsheets
from tarkib.runtime.text import printable, shown, some

_RANGES = {"tonic_hz": (20.0, 5_000.0), "bpm": (20.0, 400.0)}
_COLUMNS = ("instrument", "dastgah", *_RANGES, "performer")


def table_path(root: Path) -> Path:
    """The path of recordings.csv, in capitals where only such a file is there."""
    tables = sorted(path for path in root.iterdir() if path.name.casefold() == "recordings.csv")
    return tables[-1] if tables else root / "recordings.csv"


def read(path: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Rows of recordings.csv by the path of the file that each means, one of `files`; empty where there is no table."""
    heading, rows = spreadsheets.read(path, padded=True)
    columns = [name.casefold() for name in heading]
    if not heading and spreadsheets.content(path) is None:
        return {}
    if "path" not in columns or not {*columns} <= {"path", *_COLUMNS}:
        names = some([shown(name) for name in heading] or ["nothing"])
        raise TarkibError(f"{path}: columns must be path and any of {', '.join(_COLUMNS)}; it has {names}")
    files_by_form = defaultdict(list)
    for file in files:
        files_by_form[folders.form(file)].append(file)
    labels: dict[str, dict[str, Any]] = {}
    absent = []
    for line, cells in rows:
        row: dict[str, Any] = dict(zip(columns, cells, strict=True))
        where, name = f"{path}, line {line}", row.pop("path")
        if not name:
            raise TarkibError(f"{where}: path is blank; name the recording or remove the row")
        alike = files_by_form[folders.form(name)]
        matches = [name] if name in alike else alike
        if len(matches) > 1:
            raise TarkibError(f"{where}: {shown(name)} may be any of {some(map(printable, alike))}; rename one of them")
        if not matches:
            absent.append(shown(name))
        elif matches[0] in labels:
            raise TarkibError(f"{where}: a second row for {shown(name)}; keep one of the two")
        else:
            numbers = {column: _number(row[column], column, where) for column in _RANGES.keys() & row.keys()}
            labels[matches[0]] = row | numbers
    if absent:
        raise TarkibError(f"{path}: names files that are not there: {some(absent)}")
    return labels


def _number(text: str, column: str, where: str) -> float | None:
    if not text:
        return None
    low, high = _RANGES[column]
    try:
        number = float(folders.form(text))
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise TarkibError(
            f"{where}: {column} is {shown(text)}; give a number between {low:g} and {high:g}, or leave it blank"
        )
    return number


def combined(path: str, row: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A recording's labels by its row of recordings.csv, else by its folders; and why they cannot be used, or None."""
    labels = {column: row.get(column) or None for column in _COLUMNS}
    instrument_folder, dastgah_folder, *_ = [*path.split("/")[:-1], "", ""]
    name = labels["instrument"] or instrument_folder
    labels["instrument"] = instrument = vocabulary.instrument(name)
    if instrument is None:
        where = _origin(row.get("instrument"), name) if name else "file outside any folder"
        return labels, f"unknown instrument ({where}); known are {', '.join(vocabulary.INSTRUMENTS)}"
    if instrument in vocabulary.PERCUSSION:
        return labels | {"dastgah": None, "tonic_hz": None}, None
    name = labels["dastgah"] or dastgah_folder
    labels["dastgah"] = vocabulary.dastgah(name) if name else None
    if name and labels["dastgah"] is None:
        remedy = "leave it blank" if row.get("dastgah") else f"put the file directly in {instrument_folder}/"
        return labels, (
            f"unknown dastgah ({_origin(row.get('dastgah'), name)}); known are {', '.join(vocabulary.DASTGAHS)}; "
            f"where it is not known, {remedy}"
        )
    return labels, None


def _origin(cell: str | None, name: str) -> str:
    return f"{'in recordings.csv' if cell else 'folder'} {shown(name)}"
