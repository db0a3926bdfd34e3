"""Solo recordings in a folder, hashed and labelled. One bad recording is a `Recording` with a reason, no exception.

Folders are ``<root>/<instrument>/<dastgah>/.../<file>`` or ``<root>/<instrument>/<file>``, in any spelling that
`tarkib.vocabulary` knows; a file directly under an instrument has no dastgah, and percussion never has one. An avaz in
place of a dastgah, or in the folder directly below it, gives both labels. Folders above the first that names an
instrument, as those of collections, say nothing. An optional ``recordings.csv`` in any folder (columns ``path``, from
that folder, and any of ``instrument``, ``dastgah``, ``tonic_hz``, ``bpm``, ``performer``; blank means unknown)
overrides the folders and, later on, every estimate.
"""

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from tarkib import audio, vocabulary
from tarkib.errors import TarkibError
from tarkib.recordings import folders, spreadsheets
from tarkib.runtime.text import bounded, printable, shown, some
from tarkib.tables import RECORDINGS, Roots

_TABLE = "recordings.csv"
_RANGES = {"tonic_hz": (20.0, 5_000.0), "bpm": (20.0, 400.0)}
_COLUMNS = ("instrument", "dastgah", *_RANGES, "performer")


@dataclass(frozen=True)
class Recording:
    """A file that may be sliced; `reason` says why it will not be (or what is odd), `usable` which of the two.

    `path` is relative to the root of its origin (`tables.Roots`), with forward slashes. `version` is the file's size in
    bytes and time of change in ns when it was hashed.
    """

    path: str
    instrument: str | None = None
    dastgah: str | None = None
    avaz: str | None = None
    tonic_hz: float | None = None
    bpm: float | None = None
    performer: str | None = None
    sha256: str = ""
    seconds: float | None = None
    sample_rate: int | None = None
    usable: bool = True
    reason: str | None = None
    version: tuple[int, int] | None = None
    origin: str = "own"

    @property
    def recording_id(self) -> str:
        """Follows the content, so that adding or renaming files changes no other recording's id."""
        return f"{self.instrument or 'unknown'}-{self.sha256[:12]}"

    @property
    def row(self) -> dict:
        """The row in the table of recordings."""
        fields = {"recording_id": self.recording_id, "status": "ok" if self.usable else "rejected", **vars(self)}
        return {name: fields[name] for name in RECORDINGS.schema.names}

    def rejected(self, reason: str) -> "Recording":
        """The same recording, not to be used, and why."""
        return replace(self, usable=False, reason=reason)


def find_all(roots: Roots, content: folders.Listing, *, fill: bool) -> list[Recording]:
    """The recordings in `roots.own`, listed in `content`, and with `fill` the orchestra's of missing instruments.

    An instrument is missing where no recording is labelled with it, usable or not: synthetic recordings in place of
    unusable ones would hide what can be put right. Raises TarkibError as `find` does, or where the orchestra is needed
    and not there.
    """
    is_orchestra = roots.own.resolve() == roots.demo.resolve()
    recordings = find(roots.own, content, "demo" if is_orchestra else "own")
    missing = set(vocabulary.INSTRUMENTS) - {recording.instrument for recording in recordings}
    if not fill or is_orchestra or not missing:
        return recordings
    if not roots.demo.is_dir():
        remedy = "run dvc repro demo, or set data.fill to false"
        raise TarkibError(f"{roots.demo}: no such folder, from which data.fill takes {some(sorted(missing))}; {remedy}")
    others = [recording for recording in find(roots.demo, origin="demo") if recording.instrument in missing]
    return _without_twins([*recordings, *others])


def find(root: Path, content: folders.Listing | None = None, origin: str = "own") -> list[Recording]:
    """Find every audio file below a folder but hidden ones, in the order of their paths, hashed and labelled.

    `content` is the folder's listing where the caller has it. What cannot be followed or read is a `Recording` too.
    Raises TarkibError where the folder is missing or holds no audio file, or where a recordings.csv is wrong.
    """
    if not root.is_dir():
        raise TarkibError(f"{root}: no such folder; put recordings there or point data.raw to them")
    content = content or folders.listing(root)
    entries = content.entries
    rows: dict[str, dict[str, Any]] = {}
    # Deepest first: a row in a folder above replaces those below.
    for table in sorted(_tables(content), key=lambda path: -path.count("/")):
        above = table[: table.rfind("/") + 1]
        inside = [entry.path.removeprefix(above) for entry in entries if entry.path.startswith(above)]
        rows |= {above + path: row for path, row in _table(root / table, inside).items()}
    if not entries:
        endings = " ".join(sorted(audio.SUFFIXES))
        raise TarkibError(f"{root}: no recordings ({endings}); they belong in <instrument>/<dastgah>/ folders")
    found = [_examined(root, entry, rows.get(entry.path, {})) for entry in entries]
    return _without_twins([replace(recording, origin=origin) for recording in found])


def remarks(root: Path, content: folders.Listing) -> list[str]:
    """Warnings about the rest of a folder: files that are not read, and links that DVC does not follow."""
    tables = _tables(content)
    others = [bounded(path, 60) for path in content.others if path not in tables]
    kinds = f"neither recordings by their endings nor {_TABLE}"
    lines = [f"{printable(root)}: {kinds}, not read: {some(others)}"] if others else []
    return lines + folders.remarks(root, content)


def check_unchanged(roots: Roots, recordings: Iterable[Recording]) -> None:
    """Raise TarkibError where files have changed since they were hashed: their ids and labels would be wrong.

    An error of the whole stage, since DVC would take the changed files for those that were read.
    """
    changed = []
    for recording in recordings:
        path = roots.file(recording.row)
        if recording.usable and (not path.exists() or _version(path.stat()) != recording.version):
            changed.append(printable(path))
    if changed:
        raise TarkibError(
            f"recordings changed while they were read: {some(changed)}; run dvc repro again once nothing writes there"
        )


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _examined(root: Path, entry: folders.Entry, row: dict[str, Any]) -> Recording:
    """A file labelled and hashed, or the reason why it is not used."""
    fields, problem = _labels(entry.path, row)
    recording = Recording(entry.path, **fields)
    if entry.problem:
        # Its path is never opened again, and must be printable.
        return replace(recording.rejected(entry.problem), path=printable(entry.path))
    try:
        with (root / entry.path).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size == 0:
                return recording.rejected("the file is empty")
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return recording.rejected(f"cannot be opened ({error.strerror}); no permission?")
    recording = replace(recording, sha256=sha256, version=_version(status))
    return recording.rejected(problem) if problem else recording


def _without_twins(recordings: list[Recording]) -> list[Recording]:
    """Reject recordings with another's bytes: all but the first, or all of them where their labels contradict."""
    # The first with these bytes and labels.
    firsts: dict[str, dict[tuple, Recording]] = defaultdict(dict)

    def label(recording: Recording) -> tuple:
        return recording.instrument, recording.dastgah, recording.avaz

    for recording in recordings:
        if recording.usable:
            firsts[recording.sha256].setdefault(label(recording), recording)

    def judged(recording: Recording) -> Recording:
        alike = dict(firsts[recording.sha256])
        same = alike.pop(label(recording), None)
        if not recording.usable or (not alike and same is recording):
            return recording
        if alike:
            path = printable(next(iter(alike.values())).path)
            return recording.rejected(f"the same bytes as {path}, but labelled differently; keep the right one")
        return recording.rejected(f"the same bytes as {printable(same.path)}, which is used")

    return [judged(recording) for recording in recordings]


def _tables(content: folders.Listing) -> list[str]:
    """Paths of the tables, one a folder: recordings.csv, in other letters where only such a file is there."""
    # One that cannot be opened is refused when it is read, not left out.
    closed = [entry.path for entry in content.entries if entry.problem]
    found = [path for path in (*content.others, *closed) if PurePosixPath(path).name.casefold() == _TABLE]
    return list({PurePosixPath(path).parent: path for path in found}.values())


def _table(path: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Rows of recordings.csv by the path of the file that each means, one of `files`."""
    heading, rows = spreadsheets.read(path, padded=True)
    columns = [name.casefold() for name in heading]
    if "path" not in columns or not {*columns} <= {"path", *_COLUMNS}:
        names = some(map(shown, heading)) or "nothing"
        remedy = "; an avaz goes into the column dastgah" if "avaz" in columns else ""
        raise TarkibError(f"{path}: columns must be path and any of {', '.join(_COLUMNS)}; it has {names}{remedy}")
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
    low, high = _RANGES[column]
    try:
        number = float(folders.form(text)) if text else None
    except ValueError:
        number = math.nan
    if number is not None and not low <= number <= high:
        remedy = f"give a number between {low:g} and {high:g}, or leave it blank"
        raise TarkibError(f"{where}: {column} is {shown(text)}; {remedy}")
    return number


def _labels(path: str, row: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A recording's labels by its row of recordings.csv, else by its folders; and why they cannot be used, or None."""
    labels = {column: row.get(column) or None for column in _COLUMNS}
    above = path.split("/")[:-1]
    at = next((i for i, folder in enumerate(above) if vocabulary.instrument(folder)), 0)
    instrument_folder, dastgah_folder, inner_folder, *_ = [*above[at:], "", "", ""]
    name = labels["instrument"] or instrument_folder
    labels["instrument"] = instrument = vocabulary.instrument(name)
    if at and not row.get("instrument") and (other := _doubt(above, at)):
        return labels, f"folders {shown(other)} and {shown(name)} contradict each other; label it in recordings.csv"
    if instrument is None:
        cell = row.get("instrument")
        where = _where(cell, cell or "/".join(above)) if name else "file outside any folder"
        return labels, f"unknown instrument ({where}); known are {', '.join(vocabulary.INSTRUMENTS)}"
    if instrument in vocabulary.PERCUSSION:
        return labels | {"dastgah": None, "tonic_hz": None}, None
    name = labels["dastgah"] or dastgah_folder
    labels["dastgah"], labels["avaz"] = vocabulary.dastgah(name or ""), vocabulary.avaz(name or "")
    if not row.get("dastgah") and labels["dastgah"] and vocabulary.dastgah(inner_folder) == labels["dastgah"]:
        labels["avaz"] = labels["avaz"] or vocabulary.avaz(inner_folder)
    if not name or labels["dastgah"]:
        return labels, None
    remedy = "leave it blank" if row.get("dastgah") else f"put the file directly in {instrument_folder}/"
    where, known = _where(row.get("dastgah"), name), ", ".join((*vocabulary.DASTGAHS, *vocabulary.AVAZES))
    return labels, f"unknown dastgah ({where}); known are {known}; where it is not known, {remedy}"


def _doubt(folders_above: list[str], at: int) -> str | None:
    """A folder that makes another doubtful: a dastgah above the instrument, or a second instrument in a collection."""
    outer = (folder for folder in folders_above[:at] if vocabulary.dastgah(folder))
    known = vocabulary.instrument(folders_above[at])
    inner = (folder for folder in folders_above[at + 1 :] if vocabulary.instrument(folder) not in (None, known))
    return next(chain(outer, inner), None)


def _where(cell: str | None, name: str) -> str:
    return f"{'in recordings.csv' if cell else 'folder'} {shown(name)}"
