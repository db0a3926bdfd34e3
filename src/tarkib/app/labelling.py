"""Labels made by hand: the excerpts of a folder and its labels.csv, which `tarkib.evaluation.testset` reads.

An excerpt is labelled if it has a row. The first click on an instrument, or Enter, adds a row with 0 for all other
instruments; a row of zeros means that nothing plays. Each change reads the file again, checks it as the pipeline does,
and writes it at once. The browser refers to excerpts by keys, never by paths.
"""

import codecs
import csv
import hashlib
import io
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.evaluation.testset import LABELS, Library, Row, several_tables, tables_in
from tarkib.recordings import spreadsheets
from tarkib.runtime import outputs, project
from tarkib.runtime.locks import file_lock
from tarkib.runtime.text import clock, printable
from tarkib.vocabulary import INSTRUMENTS

_LONGER_BY_S = 0.5

# DVC's caches, wherever they are, name a file by its MD5; the first two digits are a folder.
_CACHED = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}")


class Change(BaseModel):
    """What a person says about an excerpt: whether an instrument plays, and what it was cut from.

    A change that says nothing confirms the labels.
    """

    instrument: str | None = Field(None, max_length=20)
    plays: bool = False
    recording: str | None = Field(None, max_length=200, pattern=r"^[^\x00]*$")


class Table(NamedTuple):
    """A table of labels: all rows, the places of the columns, and the row of each labelled file."""

    heading: list[str]
    rows: list[list[str]]
    columns: testset.Columns
    by_file: dict[Path, list[str]]


class Labels:
    """The labels of a folder of excerpts, in the table there or one that will be made; several threads may use one.

    Raises TarkibError for a folder that does not exist or has no audio, and a table that the pipeline cannot read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        project.check_folder(folder, "make it and put five-second excerpts into it")
        self._library = Library(folder)
        if not self._library.files:
            endings = ", ".join(sorted(audio.SUFFIXES))
            raise TarkibError(f"{folder}: holds no audio; put five-second excerpts into it, ending in one of {endings}")
        self._files = {_key(self._name(file)): file for file in self._library.files}
        tables, _ = tables_in(folder)
        if len(tables) > 1:
            raise several_tables(folder, tables)
        self.path = tables[0]
        self._table()

    def file(self, key: str) -> Path:
        """The file of an excerpt. Raises TarkibError for a key that no excerpt has."""
        if not self.folder.is_dir():
            raise TarkibError(f"{self.folder}: the folder is gone; is its disk still there?")
        if key not in self._files:
            raise TarkibError(f"{self.folder}: has no such excerpt any more; reload the page")
        return self._files[key]

    def state(self, key: str | None = None) -> dict[str, Any]:
        """All that the page shows about an excerpt, by default the first one without labels."""
        table, keys = self._table(), list(self._files)
        unlabelled = next((key for key, file in self._files.items() if file not in table.by_file), None)
        key = key or unlabelled or keys[0]
        file, place, columns = self.file(key), keys.index(key), table.columns
        row, cut_from = table.by_file.get(file), columns.recording
        recordings = {other[cut_from] for other in table.by_file.values()} if cut_from is not None else set()
        place_of = {k: position for position, k in columns.instruments.items()}
        return {
            "key": key,
            "name": printable(self._name(file)),
            "place": place + 1,
            "count": len(keys),
            "labelled_count": len(table.by_file),
            "labelled": row is not None,
            "values": [float(row[place_of[k]]) if row and k in place_of else None for k in range(len(INSTRUMENTS))],
            "columns": [k in place_of for k in range(len(INSTRUMENTS))],
            "recording": row[cut_from] if row and cut_from is not None else "",
            "recordings": None if cut_from is None else sorted(recordings - {""}),
            "back": keys[place - 1] if place > 0 else None,
            "next": keys[place + 1] if place + 1 < len(keys) else None,
            "first_unlabelled": unlabelled,
            "remark": _remark(file),
            "file": printable(self.path),
        }

    def change(self, key: str, change: Change) -> dict[str, Any]:
        """Write a change; returns the excerpt's state after it. Raises TarkibError where it cannot be written."""
        file = self.file(key)
        with file_lock(self.path.resolve().parent / ".labels.tarkib.lock"):
            table = self._table()
            row = table.by_file.get(file)
            cells = list(row or self._new_cells(table, file))
            columns = {INSTRUMENTS[k]: position for position, k in table.columns.instruments.items()}
            columns |= {"recording": table.columns.recording} if table.columns.recording is not None else {}
            changes = {change.instrument: str(int(change.plays))} if change.instrument is not None else {}
            changes |= {"recording": " ".join(change.recording.split())} if change.recording is not None else {}
            for name, cell in changes.items():
                if name not in columns:
                    raise TarkibError(f"{self.path}: has no column {name}; add one, with a value in every row")
                cells[columns[name]] = cell
            if cells != row:
                rows = [cells if other is row else other for other in table.rows]
                self._write([table.heading, *rows, *([cells] if row is None else [])])
        return self.state(key)

    def _table(self) -> Table:
        """The table as it is on the disk now."""
        try:
            heading, lines = spreadsheets.read(self.path)
            heading = heading or ["sample_id", "recording", *INSTRUMENTS]
            columns = testset.columns_of(self.path, heading)
            rows = [testset.row_of(self.path, line, cells, columns, heading) for line, cells in lines]
            matched = testset.match_files(rows, self._library)
        except TarkibError as error:
            if self.path.name.lower() == LABELS:
                raise
            raise TarkibError(f"{error}; or, if this is no table of labels, make an empty {LABELS}") from error
        cells_of = dict(lines)
        by_file = {file: cells_of[row.line] for file, row in matched.items()}
        return Table(heading, list(cells_of.values()), columns, by_file)

    def _new_cells(self, table: Table, file: Path) -> list[str]:
        if not file.is_file():
            raise TarkibError(f"{self._name(file)}: the file is gone; bring it back or reload the page")
        cells = ["0" if k in table.columns.instruments else "" for k in range(len(table.heading))]
        cells[table.columns.id] = cells[table.columns.file] = self._sample_id(table, file)
        return cells

    def _sample_id(self, table: Table, file: Path) -> str:
        """What labels.csv calls an excerpt: its path from the folder, without its ending where that is unambiguous."""
        whole = self._name(file)
        taken = {row[table.columns.id] for row in table.rows}
        for name in (whole.removesuffix(file.suffix), whole, f"./{whole}"):
            row = Row(self.path, 0, name.strip(), name.strip(), "", ())
            with suppress(TarkibError, UnicodeEncodeError):
                name.encode()
                if row.id not in taken and self._library.find(row) == file:
                    return name
        raise TarkibError(f"{printable(whole)}: {self.path.name} cannot name this file unambiguously; rename it")

    def _write(self, rows: list[list[str]]) -> None:
        """Replace the table as a whole; its delimiter, line ends and mode stay.

        It is written as UTF-8, with a mark unless it was UTF-8 without one. The target of a link is written; but a link
        into a DVC cache, whose files other versions share, is replaced.
        """
        content = spreadsheets.content(self.path) or b""
        text = spreadsheets.decode(self.path, content)
        start, delimiter = spreadsheets.layout(text)
        line_end = "\r\n" if "\r\n" in text else "\n"
        table = io.StringIO(f"{text[:start]}{line_end}" if start else "", newline="")
        table.seek(0, io.SEEK_END)
        csv.writer(table, delimiter=delimiter, lineterminator=line_end).writerows(rows)
        mark = b"" if content == text.encode() else codecs.BOM_UTF8
        target = self.path.resolve()
        if _CACHED.fullmatch("/".join(target.parts[-2:])):
            target = self.path
        try:
            with outputs.atomic_file(target) as partial:
                partial.write_bytes(mark + table.getvalue().encode())
                if target.is_file() and not target.is_symlink():
                    # DVC makes files read-only that it links to its cache; this copy is the user's own.
                    with suppress(OSError):
                        partial.chmod(stat.S_IMODE(target.stat().st_mode) | stat.S_IWUSR)
        except OSError as error:
            raise TarkibError(f"{self.path}: cannot be written ({error.strerror}); nothing was changed") from error

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def _key(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _remark(file: Path) -> str:
    """What the pipeline does with an excerpt that is not a sound of five seconds."""
    seconds = audio.seconds(file)
    if seconds == 0:
        return "This file cannot be read as sound; the pipeline leaves it out."
    if seconds > audio.CLIP_SECONDS + _LONGER_BY_S:
        length = f"{seconds:.1f} s" if seconds < 60 else clock(seconds)
        return f"This excerpt lasts {length}; an instrument that plays in any part of it counts as playing."
    return ""
