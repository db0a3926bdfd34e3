"""A hand-labelled test set: a folder of audio files with tables of labels (`library.tables_in`).

A table has one row a clip (`tarkib.recordings.spreadsheets` reads it) and these columns:

* ``sample_id`` (or ``file``, or ``path``): the clip's file (`library.Library.find`): a path from the folder or a file
  name, with or without extension. With both ``sample_id`` and ``path`` or ``file``, the former is only the clip's name.
* ``recording``, optional: what the clip was cut from. Clips of one recording are resampled together.
* one column an instrument, in any spelling that `tarkib.vocabulary.instrument` knows: 1 (plays), 0 (does not), or how
  sure the labeller was. A class without a column is not labelled, which is not the same as absent.
"""

import math
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

_ID_COLUMNS = ("sample_id", "file", "path")  # the first names the clip, the last finds its file
_RECORDING = "recording"
_LONGEST_S = 3_600.0  # all excerpts are in memory at once
_LAYOUT = f"write a heading such as: sample_id,recording,{','.join(INSTRUMENTS[:3])},..."


@dataclass(frozen=True)
class TestSet:
    """A test set of n clips, in the order of its table.

    targets : shape (n, 10), the classes in the order of `INSTRUMENTS`: 1 plays, 0 does not, NaN not labelled.
    recordings : what each clip was cut from; the clip's id where that is unknown.
    notes : sentences about what was left out.
    """

    __test__ = False  # pytest would take the class for a test

    ids: list[str]
    paths: list[Path]
    recordings: list[str]
    targets: np.ndarray
    notes: list[str]


@dataclass(frozen=True)
class Columns:
    """Positions of the columns; `instruments` maps a position to a class's index, in the order of the classes."""

    id: int
    file: int
    recording: int | None
    instruments: dict[int, int]
    ignored: list[str]


def load(folder: Path | str, *, label_threshold: float = 0.5) -> TestSet:
    """Read the test set in a folder; labels at or above `label_threshold` are present.

    Rows without an audio file, columns that are no instrument, and audio files without a row are left out with a note.
    Raises TarkibError for a missing, unreadable or contradictory table, and where no row has an audio file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise TarkibError(f"{folder}: is a file; set data.test to its folder")
    tables, ignored = tables_in(folder)
    sheets = [_read(path) for path in tables]
    columns = _columns(folder, tables, sheets)
    rows = [
        row_of(path, line, cells, these, sheet.heading)
        for path, sheet, these in zip(tables, sheets, columns, strict=True)
        for line, cells in sheet.rows
    ]
    rows = [replace(row, values=tuple(float(value >= label_threshold) for value in row.values)) for row in rows]
    place = str(tables[0] if len(tables) == 1 else folder)
    if not rows:
        raise TarkibError(f"{place}: holds no clips; add one row for each audio file")
    library = Library(folder)
    by_file = matched(rows, library)
    present = {row.id for row in by_file.values()}
    absent = list(dict.fromkeys(row.id for row in rows if row.id not in present))
    if not by_file:
        raise TarkibError(
            f"{place}: not one of its clips ({_names(absent)}) has an audio file in {folder}; "
            f"put the audio files there, ending in one of {', '.join(sorted(audio.SUFFIXES))}"
        )
    targets = np.full((len(by_file), len(INSTRUMENTS)), np.nan)
    targets[:, list(columns[0].instruments.values())] = [row.values for row in by_file.values()]
    unlabelled = len(library.files) - len(by_file)
    return TestSet(
        ids=[row.id for row in by_file.values()],
        paths=list(by_file),
        recordings=one_spelling([row.recording for row in by_file.values()]),
        targets=targets,
        notes=[*_notes(place, tables, ignored, columns[0], absent, unlabelled), *library.notes],
    )


def _read(path: Path) -> Sheet:
    sheet = spreadsheets.read(path)
    if not sheet.heading:
        missing = spreadsheets.content(path) is None
        reason = f"not there; a test set is a folder of audio files with a {LABELS}:" if missing else "is empty;"
        raise TarkibError(f"{path}: {reason} {_LAYOUT}")
    return sheet


def _columns(folder: Path, tables: list[Path], sheets: list[Sheet]) -> list[Columns]:
    """The columns of each table; several tables must have the same names, in any order."""
    try:
        columns = [columns_of(path, sheet.heading) for path, sheet in zip(tables, sheets, strict=True)]
    except TarkibError as error:
        raise several(folder, tables, f" ({error})") if len(tables) > 1 else error from error
    names = [sorted(map(str.casefold, sheet.heading)) for sheet in sheets]
    for path, these in zip(tables, names, strict=True):
        if these != names[0]:
            raise several(folder, tables, f" ({path.name} has other columns than {tables[0].name})")
    return columns


def _names(names: list[str], most: int = 10) -> str:
    return some((bounded(name, 60) for name in names), most)


def _notes(
    place: str, tables: list[Path], ignored: list[Path], columns: Columns, absent: list[str], unlabelled: int
) -> Iterator[str]:
    others = some(printable(path.name) for path in ignored)
    if len(tables) > 1:
        names = some(printable(path.name) for path in tables)
        yield f"{place}: tables read together: {names}" + (f"; ignored: {others}" if ignored else "")
    elif ignored:
        yield f"{place}: other tables in the folder, ignored: {others}"
    if columns.ignored:
        yield f"{place}: columns that are none of the ten instruments, left out: {_names(columns.ignored, 20)}"
    missing = [name for k, name in enumerate(INSTRUMENTS) if k not in columns.instruments.values()]
    if missing:
        yield f"{place}: instruments without a column, not labelled and so not scored: {', '.join(missing)}"
    if absent:
        yield f"{place}: rows without an audio file, left out ({len(absent)}): {_names(absent)}"
    if unlabelled:
        yield f"{place}: audio files without a row, left out: {unlabelled}"


def matched(rows: list[Row], library: Library) -> dict[Path, Row]:
    """The rows whose audio file exists, by that file, in the order of the rows.

    A clip that several tables give the same labels counts once. Raises TarkibError for tables that contradict each
    other, a clip or file that is twice in one table, and ids that are ambiguous or lead out of the folder.
    """
    by_id: dict[str, Row] = {}
    by_file: dict[Path, Row] = {}
    for row in rows:
        first = by_id.setdefault(row.id, row)
        _check_repeated(first, row, f"is already in {_place(first, row)}")
    for row in by_id.values():
        if file := library.find(row):
            first = by_file.setdefault(file, row)
            where = f"{_place(first, row)} ({printable(file.name)})"
            _check_repeated(first, row, f"is the same file as {shown(first.id)} in {where}")
    return by_file


def _place(row: Row, other: Row) -> str:
    return f"line {row.line}" if row.table == other.table else row.where


def _check_repeated(first: Row, row: Row, problem: str) -> None:
    if first.table == row.table and first is not row:
        raise TarkibError(f"{row.where}: {shown(row.id)} {problem}; keep one of the two rows")
    if first.values != row.values:
        raise TarkibError(f"{row.where}: {shown(row.id)} {problem}; the labels differ, keep the correct ones")


def columns_of(path: Path, heading: list[str]) -> Columns:
    """What the columns are; TarkibError where none names the clips or an instrument, or two the same instrument."""
    names = [name.casefold() for name in heading]
    ids = [name for name in _ID_COLUMNS if name in names]
    if not ids:
        raise TarkibError(f"{path}: no column sample_id (or file, or path); {_LAYOUT}")
    by_class: dict[str, list[int]] = {name: [] for name in INSTRUMENTS}
    ignored = []
    for position, name in enumerate(heading):
        if canonical := instrument(name):
            by_class[canonical].append(position)
        elif names[position] not in (*ids, _RECORDING):
            ignored.append(name or f"column {position + 1} (without a name)")
    for canonical, positions in by_class.items():
        if len(positions) > 1:
            spellings = _names([heading[position] for position in positions])
            raise TarkibError(f"{path}: columns {spellings} all mean {canonical}; keep one of them")
    instruments = {positions[0]: k for k, positions in enumerate(by_class.values()) if positions}
    if not instruments:
        raise TarkibError(f"{path}: no column is one of the instruments {', '.join(INSTRUMENTS)}; {_LAYOUT}")
    return Columns(
        id=names.index(ids[0]),
        file=names.index(ids[-1]),
        recording=names.index(_RECORDING) if _RECORDING in names else None,
        instruments=instruments,
        ignored=ignored,
    )


def row_of(path: Path, line: int, cells: list[str], columns: Columns, heading: list[str]) -> Row:
    """A row from its cells; TarkibError for a blank name, and labels outside 0..1."""
    for position in (columns.id, columns.file):
        if not cells[position]:
            raise TarkibError(f"{path}, line {line}: {heading[position]} is blank; name the clip or remove the row")
    recording = cells[columns.recording] if columns.recording is not None else ""
    values = tuple(_label(path, line, heading[k], cells[k]) for k in columns.instruments)
    return Row(path, line, cells[columns.id], cells[columns.file], recording or cells[columns.id], values)


def _label(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        remedy = "write 1 (plays), 0 (does not) or a number between"
        raise TarkibError(f"{path}, line {line}: {bounded(column, 60)} is {shown(cell) if cell else 'blank'}; {remedy}")
    return value


def decoded(test: TestSet) -> tuple[TestSet, list[np.ndarray]]:
    """Decode every clip; the test set of those that can be, and their samples: float32, shape (n,), mono at 24 kHz.

    Files that cannot be decoded or last longer than an hour are left out with a note; TarkibError where all are.
    """
    samples: dict[int, np.ndarray] = {}
    failed, remarks = [], []
    for k, path in enumerate(test.paths):
        try:
            sound = audio.load(path, _LONGEST_S)
        except TarkibError as error:
            failed.append(f"{printable(path)}: {error}")
            continue
        samples[k] = sound.samples
        remarks += [f"{printable(path)}: {remark}" for remark in sound.remarks]
    if not samples:
        raise TarkibError(f"not one of the test set's {len(failed)} audio files can be used, such as {failed[0]}")
    kept = TestSet(
        ids=[test.ids[k] for k in samples],
        paths=[test.paths[k] for k in samples],
        recordings=[test.recordings[k] for k in samples],
        targets=test.targets[list(samples)],
        notes=[*test.notes, *(f"{reason}; left out of the test set" for reason in failed), *remarks],
    )
    return kept, list(samples.values())
