"""A hand-labelled test set: a folder of audio files with a table of labels, `labels.csv`.

Conventions
-----------
The table may have another name where it is the only CSV file (`library.table_in`). It is UTF-8, separated by commas (or
by semicolons, where its heading has no comma), with one row a clip:

* ``sample_id`` (or ``file``, or ``path``): the clip's name. It is looked for among the audio files of the folder and
  its sub-folders: a path from the folder or a bare file name, with or without its ending, or an equal number.
* ``recording``, optional: what the clip was cut from. Clips of one recording are resampled together.
* one column an instrument, in any spelling that `tarkib.vocabulary.instrument` knows, holding 1 (plays), 0 (does not)
  or how sure the labeller was, in between.

Columns of anything else are named once and left out; a class without a column is not labelled, which is not the same as
absent. Where both ``sample_id`` and ``path`` or ``file`` are there, the former names the clip and the latter finds it.
"""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.evaluation.library import LABELS, Library, Row, table_in
from tarkib.text import printable, some
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
    """Positions of the columns in a row; `instruments` maps a position to the number of a class."""

    id: int
    file: int
    recording: int | None
    instruments: dict[int, int]
    ignored: list[str]


def load(place: Path | str, *, label_threshold: float = 0.5) -> TestSet:
    """Read the test set in a folder, or the one whose table this is; labels at or above `label_threshold` are present.

    Rows whose audio file is absent, columns that are no instrument, and audio files without a row are left out, which
    the notes say.
    Raises TarkibError for a missing, unreadable or ambiguous table, headings without an instrument or with one twice,
    labels outside 0..1, ids that are repeated, ambiguous or lead out of the folder, and where no row's audio file is
    there.
    """
    if not 0 < label_threshold <= 1:
        raise TarkibError(
            f"label_threshold is {label_threshold}; it must be above 0 (where all is present) and at most 1"
        )
    place = Path(place)
    path, others = (place, []) if place.is_file() else table_in(place)
    folder = place.parent if place.is_file() else place
    heading, lines = _read(path)
    columns = columns_of(path, heading)
    rows = [row_of(path, line, cells, columns, heading) for line, cells in lines]
    if not rows:
        raise TarkibError(f"{path}: holds no clips; add one row for each audio file")
    library = Library(folder)
    found = matched(path, rows, library)
    there = {row.id for row in found.values()}
    absent = [row.id for row in rows if row.id not in there]
    if not found:
        raise TarkibError(
            f"{path}: not one of its clips ({some(absent)}) has an audio file in {folder}; "
            f"put the audio files there, ending in one of {', '.join(sorted(audio.SUFFIXES))}"
        )
    return TestSet(
        ids=[row.id for row in found.values()],
        paths=list(found),
        recordings=[row.recording for row in found.values()],
        targets=_targets(list(found.values()), columns, label_threshold),
        notes=[*_remarks(place, path, others), *_notes(path, columns, absent, len(library.files) - len(found))],
    )


def matched(path: Path, rows: list[Row], library: Library) -> dict[Path, Row]:
    """The rows of a table of labels whose audio file is there, by that file, in the order of the rows.

    Raises TarkibError for ids that are repeated, ambiguous or lead out of the folder, and two rows with one file.
    """
    _check_unique(path, rows)
    found: dict[Path, Row] = {}
    for row in rows:
        file = library.find(path, row)
        if file is None:
            continue
        if file in found:
            raise TarkibError(
                f"{path}, line {row.line}: {row.id!r} is the same file as {found[file].id!r} in line "
                f"{found[file].line} ({file.name}); keep one of the two rows"
            )
        found[file] = row
    return found


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


def _targets(rows: list[Row], columns: Columns, label_threshold: float) -> np.ndarray:
    targets = np.full((len(rows), len(INSTRUMENTS)), np.nan)
    labels = np.array([row.values for row in rows])
    targets[:, list(columns.instruments.values())] = labels >= label_threshold
    return targets


def _remarks(place: Path, path: Path, others: list[Path]) -> Iterator[str]:
    if place == path:
        yield f"{path}: DVC sees changes of this file, not of the audio files; let data.test be its folder"
    if others:
        yield f"{path}: other tables that are there, not read: {some([other.name for other in others])}"


def _notes(path: Path, columns: Columns, absent: list[str], unlabelled_files: int) -> Iterator[str]:
    if columns.ignored:
        yield f"{path}: columns that are none of the ten instruments, left out: {', '.join(columns.ignored)}"
    missing = [name for k, name in enumerate(INSTRUMENTS) if k not in columns.instruments.values()]
    if missing:
        yield f"{path}: instruments without a column, not labelled and so not scored: {', '.join(missing)}"
    if absent:
        yield f"{path}: rows without an audio file, left out ({len(absent)}): {some(absent)}"
    if unlabelled_files:
        yield f"{path}: audio files without a row, left out: {unlabelled_files}"


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Heading and non-empty rows, each with the number of its line, of a labels.csv."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        remedy = f"a test set is a folder of audio files with a {LABELS}: {_LAYOUT}"
        raise TarkibError(f"{path}: not there; {remedy}") from error
    except UnicodeDecodeError as error:
        raise TarkibError(f"{path}: not UTF-8 text (byte {error.start}); save it as CSV UTF-8") from error
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror})") from error
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise TarkibError(f"{path}: is empty; {_LAYOUT}")
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter_of(first), skipinitialspace=True, strict=True
    )
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise TarkibError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    lines = [(line, cells) for line, cells in lines if any(cells)]
    return lines[0][1], lines[1:]


def delimiter_of(heading: str) -> str:
    """What separates the cells of a labels.csv whose first line with text is this."""
    return ";" if ";" in heading and "," not in heading else ","


def columns_of(path: Path, heading: list[str]) -> Columns:
    """What the columns are. Raises TarkibError where none names the clips or an instrument, or one is there twice."""
    names = [name.casefold() for name in heading]
    ids = [name for name in _ID_COLUMNS if name in names]
    if not ids:
        raise TarkibError(f"{path}: no column sample_id (or file, or path); {_LAYOUT}")
    known = {*ids, _RECORDING}
    if twice := sorted({name for name in known if names.count(name) > 1}):
        raise TarkibError(f"{path}: column {', '.join(twice)} is there more than once; keep one")
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
            spelt = ", ".join(heading[k] for k in positions)
            raise TarkibError(f"{path}: columns {spelt} all mean {canonical}; keep one of them")
    if not by_class:
        raise TarkibError(f"{path}: no column is one of the instruments {', '.join(INSTRUMENTS)}; {_LAYOUT}")
    return Columns(
        id=names.index(ids[0]),
        file=names.index(next(name for name in _FILE_COLUMNS if name in ids)),
        recording=names.index(_RECORDING) if _RECORDING in names else None,
        instruments={positions[0]: INSTRUMENTS.index(name) for name, positions in by_class.items()},
        ignored=ignored,
    )


def row_of(path: Path, line: int, cells: list[str], columns: Columns, heading: list[str]) -> Row:
    """A row's cells read. Raises TarkibError for too few or many, a blank name, and labels outside 0..1."""
    if len(cells) != len(heading):
        raise TarkibError(f"{path}, line {line}: {len(cells)} values where the heading has {len(heading)} columns")
    name, file = cells[columns.id], cells[columns.file]
    for cell, position in ((name, columns.id), (file, columns.file)):
        if not cell:
            raise TarkibError(f"{path}, line {line}: {heading[position]} is blank; name the clip or remove the row")
    recording = cells[columns.recording] if columns.recording is not None else ""
    values = [_label(path, line, heading[k], cells[k]) for k in columns.instruments]
    return Row(line, name, file, recording or name, values)


def _label(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        remedy = "write 1 (plays), 0 (does not) or a number between"
        raise TarkibError(f"{path}, line {line}: {column} is {repr(cell) if cell else 'blank'}; {remedy}")
    return value


def _check_unique(path: Path, rows: list[Row]) -> None:
    first: dict[str, int] = {}
    for row in rows:
        if row.id in first:
            raise TarkibError(
                f"{path}, line {row.line}: {row.id!r} is already in line {first[row.id]}; keep one of the two rows"
            )
        first[row.id] = row.line
