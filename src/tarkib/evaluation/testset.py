"""A hand-labelled test set: a folder of audio files with tables of labels.

A table has one row a clip (`tarkib.recordings.spreadsheets` reads it) and these columns:

* ``sample_id`` (or ``file``, or ``path``): the clip's file (`Library.find`): a path from the folder or a file name,
  with or without extension. With both ``sample_id`` and ``path`` or ``file``, the former is only the clip's name.
* ``recording``, optional: what the clip was cut from. Clips of one recording are resampled together.
* one column an instrument, in any spelling that `tarkib.vocabulary.instrument` knows: 1 (plays), 0 (does not), or how
  sure the labeller was. A class without a column is not labelled, which is not the same as absent.

A name in a table is only compared with names in the folder, so that it cannot reach a file outside.
"""

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.recordings import folders, spreadsheets
from tarkib.runtime.text import bounded, printable, shown, some
from tarkib.vocabulary import INSTRUMENTS, instrument

LABELS = "labels.csv"

_ID_COLUMNS = ("sample_id", "file", "path")  # the first names the clip, the last finds its file
_LONGEST_S = 3_600.0  # all excerpts are in memory at once
_LAYOUT = f"write a heading such as: sample_id,recording,{','.join(INSTRUMENTS[:3])},..."

# A number as spreadsheets and programs write it: 7, 007, 7.0.
_NUMBER = re.compile(r"0*([0-9]{1,18})(\.0+)?")


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


class Columns(NamedTuple):
    """Positions of the columns; `instruments` maps a position to a class's index, in the order of the classes."""

    id: int
    file: int
    recording: int | None
    instruments: dict[int, int]
    ignored: list[str]


class Row(NamedTuple):
    """A row of a table of labels, and the line it ends in; `values` are 0 to 1, in the order of the classes."""

    table: Path
    line: int
    id: str
    file: str
    recording: str
    values: tuple[float, ...]

    @property
    def where(self) -> str:
        return f"{self.table}, line {self.line}"


class Library:
    """The audio files in a folder and its subfolders, by the names that a table of labels may use.

    files : paths of the files that can be read.
    notes : sentences about files and links that cannot be read, or that DVC does not follow.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        listing = folders.listing(folder)
        self.files = [folder / entry.path for entry in listing.entries if entry.problem is None]
        problems = [f"{printable(entry.path)} {entry.problem}" for entry in listing.entries if entry.problem]
        self.notes = [f"{folder}: left out ({len(problems)}): {some(problems)}"] if problems else []
        self.notes += folders.remarks(folder, listing)
        # By path and by name, each with and without extension, and by number.
        by_path, by_name, by_number = self._indices = [defaultdict[str, list[Path]](list) for _ in range(3)]
        for file in self.files:
            path = folders.form(self._path(file))
            for index, name in ((by_path, path), (by_name, PurePosixPath(path).name)):
                index[name].append(file)
                index[name[: -len(file.suffix)]].append(file)
            if number := _NUMBER.fullmatch(file.stem):
                by_number[number[1]].append(file)

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def find(self, row: Row) -> Path | None:
        """The audio file of a row, None where there is none.

        Paths take precedence over file names, and these over equal numbers (7.0 and 007 are 7). Of names that differ
        only in Unicode form, the identical one is taken. Raises TarkibError for a name that leads out of the folder or
        is ambiguous.
        """
        name = folders.form(row.file)
        if ".." in name.split("/") or name.startswith("/") or PureWindowsPath(row.file).anchor:
            raise TarkibError(f"{row.where}: {shown(row.file)} leads out of the folder; name a file inside it")
        number = _NUMBER.fullmatch(name)
        keys = (name, name, number[1] if number else "")
        files = next((index[key] for index, key in zip(self._indices, keys, strict=True) if key in index), [])
        if len(files) > 1:
            exact = str(PurePosixPath(row.file))
            files = [file for file in files if exact in (self._path(file), self._path(file.with_suffix("")))] or files
        if len(files) > 1:
            names = some(printable(self._path(file)) for file in files)
            raise TarkibError(
                f"{row.where}: {shown(row.file)} may be any of {names}; write its path from the folder, with extension"
            )
        return files[0] if files else None


def load(folder: Path | str, *, label_threshold: float = 0.5) -> TestSet:
    """Read the test set in a folder; labels at or above `label_threshold` are present.

    Rows without an audio file, columns that are no instrument, and audio files without a row are left out with a note.
    Raises TarkibError for a missing, unreadable or contradictory table, and where no row has an audio file.
    """
    folder = Path(folder)
    if folder.is_file():
        raise TarkibError(f"{folder}: is a file; set data.test to its folder")
    tables, ignored = tables_in(folder)
    columns, rows = _rows(folder, tables)
    rows = [row._replace(values=tuple(float(value >= label_threshold) for value in row.values)) for row in rows]
    place = str(tables[0] if len(tables) == 1 else folder)
    if not rows:
        raise TarkibError(f"{place}: holds no clips; add one row for each audio file")
    library = Library(folder)
    by_file = match_files(rows, library)
    clips = list(by_file.values())
    absent = list({row.id: None for row in rows if library.find(row) is None})
    if not clips:
        raise TarkibError(
            f"{place}: not one of its clips ({some(map(bounded, absent))}) has an audio file in {folder}; "
            f"put the audio files there, ending in one of {', '.join(sorted(audio.SUFFIXES))}"
        )
    targets = np.full((len(clips), len(INSTRUMENTS)), np.nan)
    targets[:, list(columns.instruments.values())] = [row.values for row in clips]
    return TestSet(
        ids=[row.id for row in clips],
        paths=list(by_file),
        recordings=folders.one_spelling([row.recording for row in clips]),
        targets=targets,
        notes=[*_notes(place, tables, ignored, columns, absent, len(library.files) - len(clips)), *library.notes],
    )


def tables_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The tables of labels in a folder, and the CSV files beside them that are ignored.

    The table is `labels.csv`, else all CSV files together. Of `x.csv` and `x_bin.csv` the latter is taken: HamNava
    publishes soft and binary labels. Without any table, the first result is the missing `labels.csv`.
    Raises TarkibError for several `labels.csv`.
    """
    tables = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() == ".csv" and os.path.isfile(path))
    stems = {path.stem.lower() for path in tables}
    named = [path for path in tables if path.name.lower() == LABELS]
    if len(named) > 1:
        raise several_tables(folder, named)
    chosen = named or [path for path in tables if f"{path.stem.lower()}_bin" not in stems]
    return chosen or [folder / LABELS], [path for path in tables if path not in chosen]


def several_tables(folder: Path, tables: list[Path], why: str = "") -> TarkibError:
    """The error that one of several tables must be chosen."""
    names = some(printable(path.name) for path in tables)
    return TarkibError(f"{folder}: holds several tables, {names}; rename the one with the labels to {LABELS}{why}")


def _rows(folder: Path, tables: list[Path]) -> tuple[Columns, list[Row]]:
    """The columns and rows of tables, which must have the same columns, in any order."""
    rows: list[Row] = []
    headings: list[list[str]] = []
    for path in tables:
        sheet = spreadsheets.read(path)
        if not sheet.heading:
            missing = spreadsheets.content(path) is None
            reason = f"not there; a test set is a folder of audio files with a {LABELS}:" if missing else "is empty;"
            raise TarkibError(f"{path}: {reason} {_LAYOUT}")
        try:
            columns = columns_of(path, sheet.heading)
        except TarkibError as error:
            raise several_tables(folder, tables, f" ({error})") if len(tables) > 1 else error from error
        headings.append(sorted(map(str.casefold, sheet.heading)))
        if headings[-1] != headings[0]:
            raise several_tables(folder, tables, f" ({path.name} has other columns than {tables[0].name})")
        rows += [row_of(path, line, cells, columns, sheet.heading) for line, cells in sheet.rows]
    return columns, rows


def _notes(
    place: str, tables: list[Path], ignored: list[Path], columns: Columns, absent: list[str], unlabelled: int
) -> Iterator[str]:
    if len(tables) > 1:
        yield f"{place}: tables read together: {some(printable(path.name) for path in tables)}"
    if ignored:
        yield f"{place}: other tables in the folder, ignored: {some(printable(path.name) for path in ignored)}"
    if columns.ignored:
        yield f"{place}: columns that are none of the ten instruments, left out: {some(map(bounded, columns.ignored))}"
    missing = [name for k, name in enumerate(INSTRUMENTS) if k not in columns.instruments.values()]
    if missing:
        yield f"{place}: instruments without a column, not labelled and so not scored: {', '.join(missing)}"
    if absent:
        yield f"{place}: rows without an audio file, left out ({len(absent)}): {some(map(bounded, absent))}"
    if unlabelled:
        yield f"{place}: audio files without a row, left out: {unlabelled}"


def match_files(rows: list[Row], library: Library) -> dict[Path, Row]:
    """The rows whose audio file exists, by that file, in the order of the rows.

    A clip that several tables give the same labels counts once. Raises TarkibError for tables that contradict each
    other, a clip or file that is twice in one table, and names that are ambiguous or lead out of the folder.
    """
    by_id: dict[str, Row] = {}
    by_file: dict[Path, Row] = {}
    for row in rows:
        _check_repeated(by_id.setdefault(row.id, row), row, "is already")
    for row in by_id.values():
        if file := library.find(row):
            first = by_file.setdefault(file, row)
            _check_repeated(first, row, f"is the same file as {shown(first.id)} ({printable(file.name)})")
    return by_file


def _check_repeated(first: Row, row: Row, same: str) -> None:
    is_twice = first.table == row.table and first is not row
    if is_twice or first.values != row.values:
        place = f"line {first.line}" if is_twice else first.where
        remedy = "keep one of the two rows" if is_twice else "the labels differ, keep the correct ones"
        raise TarkibError(f"{row.where}: {shown(row.id)} {same} in {place}; {remedy}")


def columns_of(path: Path, heading: list[str]) -> Columns:
    """What the columns are; TarkibError where none names the clips or an instrument, or two the same instrument."""
    names = [name.casefold() for name in heading]
    ids = [name for name in _ID_COLUMNS if name in names]
    if not ids:
        raise TarkibError(f"{path}: no column sample_id (or file, or path); {_LAYOUT}")
    classes = [instrument(name) for name in heading]
    for canonical in INSTRUMENTS:
        if classes.count(canonical) > 1:
            spellings = (bounded(name) for name, known in zip(heading, classes, strict=True) if known == canonical)
            raise TarkibError(f"{path}: columns {some(spellings)} all mean {canonical}; keep one of them")
    instruments = {classes.index(name): k for k, name in enumerate(INSTRUMENTS) if name in classes}
    others = [k for k, known in enumerate(classes) if known is None and names[k] not in (*ids, "recording")]
    ignored = [heading[k] or f"column {k + 1} (without a name)" for k in others]
    if not instruments:
        raise TarkibError(f"{path}: no column is one of the instruments {', '.join(INSTRUMENTS)}; {_LAYOUT}")
    recording = names.index("recording") if "recording" in names else None
    return Columns(names.index(ids[0]), names.index(ids[-1]), recording, instruments, ignored)


def row_of(path: Path, line: int, cells: list[str], columns: Columns, heading: list[str]) -> Row:
    """A row from its cells; TarkibError for a blank name, and labels outside 0..1."""
    for position in (columns.id, columns.file):
        if not cells[position]:
            raise TarkibError(f"{path}, line {line}: {heading[position]} is blank; name the clip or remove the row")
    recording = cells[columns.recording] if columns.recording is not None else ""
    values = []
    for k in columns.instruments:
        try:
            value = float(cells[k])
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            problem = f"{bounded(heading[k], 60)} is {shown(cells[k]) if cells[k] else 'blank'}"
            raise TarkibError(f"{path}, line {line}: {problem}; write 1 (plays), 0 (does not) or a number between")
        values.append(value)
    return Row(path, line, cells[columns.id], cells[columns.file], recording or cells[columns.id], tuple(values))


def decode(test: TestSet) -> tuple[TestSet, list[np.ndarray]]:
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
    kept = replace(
        test,
        ids=[test.ids[k] for k in samples],
        paths=[test.paths[k] for k in samples],
        recordings=[test.recordings[k] for k in samples],
        targets=test.targets[list(samples)],
        notes=[*test.notes, *(f"{reason}; left out of the test set" for reason in failed), *remarks],
    )
    return kept, list(samples.values())
