"""A hand-labelled test set: a folder of audio files with a table of labels, `labels.csv`, or several that agree.

Conventions
-----------
The tables may have other names where none is called `labels.csv` (`library.tables_in`): they are then read together if
they have the same columns. `tarkib.recordings.spreadsheets` reads each; it has one row a clip:

* ``sample_id`` (or ``file``, or ``path``): the clip's name. It is looked for among the audio files of the folder and
  its sub-folders: a path from the folder or a bare file name, with or without its ending, or an equal number.
* ``recording``, optional: what the clip was cut from. Clips of one recording are resampled together.
* one column an instrument, in any spelling that `tarkib.vocabulary.instrument` knows, holding 1 (plays), 0 (does not)
  or how sure the labeller was, in between.

Columns of anything else are named once and left out; a class without a column is not labelled, which is not the same as
absent. Where both ``sample_id`` and ``path`` or ``file`` are there, the former names the clip and the latter finds it.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.evaluation.library import LABELS, Library, Row, several, tables_in
from tarkib.recordings import spreadsheets
from tarkib.recordings.folders import one_spelling
from tarkib.recordings.spreadsheets import Sheet
from tarkib.runtime.text import bounded, printable, shown, some
from tarkib.vocabulary import INSTRUMENTS, instrument

_ID_COLUMNS = ("sample_id", "file", "path")
_FILE_COLUMNS = ("path", "file", "sample_id")
_RECORDING = "recording"
_LONGEST_S = 3_600.0  # all excerpts are in memory at once
_LAYOUT = f"write a heading such as: sample_id,recording,{','.join(INSTRUMENTS[:3])},..."


@dataclass(frozen=True)
class TestSet:
    """A test set of n clips, in the order of its labels.csv.

    targets : shape (n, 10), the classes in the order of `INSTRUMENTS`: 1 plays, 0 does not, NaN not labelled.
    recordings : what each clip was cut from; the clip's own id where that is not known.
    notes : what was left out and why, each a sentence for the reader.
    """

    __test__ = False  # pytest would take the class for a test

    ids: list[str]
    paths: list[Path]
    recordings: list[str]
    targets: np.ndarray
    notes: list[str]


@dataclass(frozen=True)
class Columns:
    """Positions of the columns in a row; `instruments` maps a position to the number of a class, in their order."""

    id: int
    file: int
    recording: int | None
    instruments: dict[int, int]
    ignored: list[str]


def load(place: Path | str, *, label_threshold: float = 0.5) -> TestSet:
    """Read the test set in a folder, or the one whose table this is; labels at or above `label_threshold` are present.

    Rows whose audio file is absent, columns that are no instrument, and audio files without a row are left out, which
    the notes say.
    Raises TarkibError for a missing or unreadable table, several that do not agree, headings without an instrument or
    with one twice, labels outside 0..1, ids that are repeated, ambiguous or lead out of the folder, and where no row's
    audio file is there.
    """
    if not 0 < label_threshold <= 1:
        raise TarkibError(
            f"label_threshold is {label_threshold}; it must be above 0 (where all is present) and at most 1"
        )
    place = Path(place)
    tables, others = ([place], []) if place.is_file() else tables_in(place)
    folder = place.parent if place.is_file() else place
    sheets = [_read(path) for path in tables]
    columns = _common_columns(folder, tables, sheets)
    rows = [
        _cut(row_of(path, line, cells, these, sheet.heading), label_threshold)
        for path, sheet, these in zip(tables, sheets, columns, strict=True)
        for line, cells in sheet.rows
    ]
    where = str(tables[0] if len(tables) == 1 else folder)
    if not rows:
        raise TarkibError(f"{where}: holds no clips; add one row for each audio file")
    library = Library(folder)
    found = matched(rows, library)
    there = {row.id for row in found.values()}
    absent = list(dict.fromkeys(row.id for row in rows if row.id not in there))
    if not found:
        raise TarkibError(
            f"{where}: not one of its clips ({_named(absent)}) has an audio file in {folder}; "
            f"put the audio files there, ending in one of {', '.join(sorted(audio.SUFFIXES))}"
        )
    return TestSet(
        ids=[row.id for row in found.values()],
        paths=list(found),
        recordings=one_spelling([row.recording for row in found.values()]),
        targets=_targets(list(found.values()), columns[0]),
        notes=[*_remarks(place, tables, others), *_notes(where, columns[0], absent, library, len(found))],
    )


def _read(path: Path) -> Sheet:
    """A table of labels; an error where there is none."""
    sheet = spreadsheets.read(path)
    if not sheet.heading:
        missing = spreadsheets.content(path) is None
        reason = f"not there; a test set is a folder of audio files with a {LABELS}:" if missing else "is empty;"
        raise TarkibError(f"{path}: {reason} {_LAYOUT}")
    return sheet


def _common_columns(folder: Path, tables: list[Path], sheets: list[Sheet]) -> list[Columns]:
    """What the columns of each table are; several must have the same, in whatever order."""
    if len(tables) == 1:
        return [columns_of(tables[0], sheets[0].heading)]
    try:
        columns = [columns_of(path, sheet.heading) for path, sheet in zip(tables, sheets, strict=True)]
    except TarkibError as error:
        raise several(folder, tables, f" ({error})") from error
    names = [sorted(map(str.casefold, sheet.heading)) for sheet in sheets]
    if odd := next((path for path, these in zip(tables, names, strict=True) if these != names[0]), None):
        raise several(folder, tables, f" ({odd.name} has other columns than {tables[0].name})")
    return columns


def matched(rows: list[Row], library: Library) -> dict[Path, Row]:
    """The rows of tables of labels whose audio file is there, by that file, in the order of the rows.

    A clip that stands in several tables with the same labels counts once.
    Raises TarkibError for clips that stand in two tables with different labels, ids that are repeated in one, ambiguous
    or lead out of the folder, and two rows with one file.
    """
    by_id: dict[str, Row] = {}
    found: dict[Path, Row] = {}
    for row in rows:
        before = by_id.setdefault(row.id, row)
        if before is not row and not row.repeats(before):
            raise TarkibError(
                f"{row.where}: {shown(row.id)} is already in {_place(before, row)}; {_contradiction(before, row)}"
            )
    for row in by_id.values():
        file = library.find(row)
        if file is None:
            continue
        before = found.setdefault(file, row)
        if before is not row and not row.repeats(before):
            raise TarkibError(
                f"{row.where}: {shown(row.id)} is the same file as {shown(before.id)} in {_place(before, row)} "
                f"({printable(file.name)}); {_contradiction(before, row)}"
            )
    return found


def _place(row: Row, seen_from: Row) -> str:
    return f"line {row.line}" if row.table == seen_from.table else row.where


def _contradiction(before: Row, row: Row) -> str:
    if before.table == row.table:
        return "keep one of the two rows"
    return "the labels of the two rows differ; keep the right one"


def decoded(test: TestSet) -> tuple[TestSet, list[np.ndarray]]:
    """Decode every clip: float32, shape (samples,), mono at 24 kHz. Returns the test set of those and their samples.

    A file that cannot be decoded, or lasts longer than an hour, is left out, and a note says why; another one says what
    is odd about a file that is used. Raises TarkibError where all are left out.
    """
    samples: dict[int, np.ndarray] = {}
    spoilt, odd = [], []
    for k, path in enumerate(test.paths):
        try:
            sound = audio.load(path, _LONGEST_S)
        except TarkibError as error:
            spoilt.append(f"{printable(path)}: {error}")
            continue
        samples[k] = sound.samples
        odd += [f"{printable(path)}: {remark}" for remark in sound.remarks]
    if not samples:
        raise TarkibError(f"not one of the test set's {len(spoilt)} audio files can be used, such as {spoilt[0]}")
    kept = replace(
        test,
        ids=[test.ids[k] for k in samples],
        paths=[test.paths[k] for k in samples],
        recordings=[test.recordings[k] for k in samples],
        targets=test.targets[list(samples)],
        notes=[*test.notes, *(f"{reason}; left out of the test set" for reason in spoilt), *odd],
    )
    return kept, list(samples.values())


def _cut(row: Row, label_threshold: float) -> Row:
    return replace(row, values=tuple(float(value >= label_threshold) for value in row.values))


def _targets(rows: list[Row], columns: Columns) -> np.ndarray:
    targets = np.full((len(rows), len(INSTRUMENTS)), np.nan)
    targets[:, list(columns.instruments.values())] = [row.values for row in rows]
    return targets


def _remarks(place: Path, tables: list[Path], others: list[Path]) -> Iterator[str]:
    if tables == [place]:
        yield f"{place}: DVC sees changes of this file, not of the audio files; let data.test be its folder"
    unread = some(printable(other.name) for other in others)
    if len(tables) > 1:
        read = some(printable(table.name) for table in tables)
        yield f"{place}: tables read together: {read}" + (f"; not read: {unread}" if others else "")
    elif others:
        yield f"{tables[0]}: other tables that are there, not read: {unread}"


def _named(names: list[str], most: int = 10) -> str:
    return some((bounded(one, 60) for one in names), most)


def _notes(where: str, columns: Columns, absent: list[str], library: Library, used: int) -> Iterator[str]:
    if columns.ignored:
        ignored = _named(columns.ignored, 20)
        yield f"{where}: columns that are none of the ten instruments, left out: {ignored}"
    missing = [name for k, name in enumerate(INSTRUMENTS) if k not in columns.instruments.values()]
    if missing:
        yield f"{where}: instruments without a column, not labelled and so not scored: {', '.join(missing)}"
    if absent:
        yield f"{where}: rows without an audio file, left out ({len(absent)}): {_named(absent)}"
    if unlabelled := len(library.files) - used:
        yield f"{where}: audio files without a row, left out: {unlabelled}"
    if library.problems:
        yield f"{library.folder}: left out ({len(library.problems)}): {some(library.problems)}"
    yield from library.remarks


def columns_of(path: Path, heading: list[str]) -> Columns:
    """What the columns are. Raises TarkibError where none names the clips or an instrument, or one is there twice."""
    names = [name.casefold() for name in heading]
    ids = [name for name in _ID_COLUMNS if name in names]
    if not ids:
        raise TarkibError(f"{path}: no column sample_id (or file, or path); {_LAYOUT}")
    known = {*ids, _RECORDING}
    by_class: dict[str, list[int]] = defaultdict(list)
    ignored = []
    for k, name in enumerate(heading):
        if names[k] in known:
            continue
        if canonical := instrument(name):
            by_class[canonical].append(k)
        else:
            ignored.append(name or f"column {k + 1} (without a name)")
    for canonical, positions in by_class.items():
        if len(positions) > 1:
            spelt = some(bounded(heading[k], 60) for k in positions)
            raise TarkibError(f"{path}: columns {spelt} all mean {canonical}; keep one of them")
    if not by_class:
        raise TarkibError(f"{path}: no column is one of the instruments {', '.join(INSTRUMENTS)}; {_LAYOUT}")
    return Columns(
        id=names.index(ids[0]),
        file=names.index(next(name for name in _FILE_COLUMNS if name in ids)),
        recording=names.index(_RECORDING) if _RECORDING in names else None,
        instruments={by_class[name][0]: k for k, name in enumerate(INSTRUMENTS) if name in by_class},
        ignored=ignored,
    )


def row_of(path: Path, line: int, cells: list[str], columns: Columns, heading: list[str]) -> Row:
    """A row's cells read. Raises TarkibError for a blank name, and labels outside 0..1."""
    name, file = cells[columns.id], cells[columns.file]
    for cell, position in ((name, columns.id), (file, columns.file)):
        if not cell:
            raise TarkibError(f"{path}, line {line}: {heading[position]} is blank; name the clip or remove the row")
    recording = cells[columns.recording] if columns.recording is not None else ""
    values = tuple(_label(path, line, heading[k], cells[k]) for k in columns.instruments)
    return Row(path, line, name, file, recording or name, values)


def _label(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        remedy = "write 1 (plays), 0 (does not) or a number between"
        raise TarkibError(f"{path}, line {line}: {bounded(column, 60)} is {shown(cell) if cell else 'blank'}; {remedy}")
    return value
