"""Labels made by hand: the excerpts of a folder and its labels.csv, which `tarkib.evaluation.testset` reads.

An excerpt is labelled when it has a row. The first instrument that is pressed, or Enter, adds one with 0 for all other
instruments: a row of zeros says that nothing plays. A change reads the file again, is checked as the pipeline checks
it, and is written at once. A browser names an excerpt by a key, never by a path.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from tarkib import audio
from tarkib.app.table import Table, exclusively, put
from tarkib.audio import decoding
from tarkib.errors import TarkibError
from tarkib.evaluation.testset import LABELS, Library, Row, several, tables_in
from tarkib.recordings import spreadsheets
from tarkib.runtime.text import clock, printable
from tarkib.vocabulary import INSTRUMENTS

_LONGER_BY_S = 0.5


class Change(BaseModel):
    """What a person says about an excerpt: whether an instrument plays, and what it was cut from.

    A change that says nothing confirms the labels.
    """

    instrument: str | None = Field(None, max_length=20)
    plays: bool = False
    recording: str | None = Field(None, max_length=200)


class Labels:
    """The labels of a folder of excerpts; several threads may use one.

    Parameters
    ----------
    folder : with excerpts, also in sub-folders, and a table of labels or none yet.

    Raises TarkibError for a folder that does not exist or has no audio, and a table that the pipeline cannot read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise TarkibError(f"{folder}: no such folder; make it and put five-second excerpts into it")
        self._library = Library(folder)
        if not self._library.files:
            endings = ", ".join(sorted(audio.SUFFIXES))
            raise TarkibError(f"{folder}: holds no audio; put five-second excerpts into it, ending in one of {endings}")
        self._files = {_key(self._name(file)): file for file in self._library.files}
        tables, _ = tables_in(folder)
        if len(tables) > 1:
            raise several(folder, tables)
        self.path = tables[0]
        self._last: Table | None = None
        self._table()

    def file(self, key: str) -> Path:
        """The file of an excerpt. Raises TarkibError for a key that no excerpt has."""
        if key not in self._files:
            raise TarkibError(f"{self.folder}: has no such excerpt any more; reload the page")
        return self._files[key]

    def state(self, key: str | None = None) -> dict[str, Any]:
        """All that the page shows about an excerpt, by default the first one without labels."""
        table, keys = self._table(), list(self._files)
        unlabelled = next((key for key, file in self._files.items() if file not in table.rows), None)
        key = key or unlabelled or keys[0]
        file, place, columns = self.file(key), keys.index(key), table.columns
        row = table.rows.get(file)
        labels = {k: float(row.cells[position]) for position, k in columns.instruments.items()} if row else {}
        recordings = None
        if columns.recording is not None:
            recordings = sorted({record.cells[columns.recording] for record in table.rows.values()} - {""})
        return {
            "key": key,
            "name": printable(self._name(file)),
            "place": place + 1,
            "count": len(keys),
            "labelled_count": len(table.rows),
            "labelled": row is not None,
            "values": [labels.get(k) for k in range(len(INSTRUMENTS))],
            "columns": [k in columns.instruments.values() for k in range(len(INSTRUMENTS))],
            "recording": row.cells[columns.recording] if row and columns.recording is not None else "",
            "recordings": recordings,
            "back": keys[place - 1] if place > 0 else None,
            "next": keys[place + 1] if place + 1 < len(keys) else None,
            "first_unlabelled": unlabelled,
            "remark": _remark(file),
            "file": printable(self.path),
        }

    def change(self, key: str, change: Change) -> dict[str, Any]:
        """Write a change; returns the excerpt's state after it. Raises TarkibError where it cannot be written."""
        file = self.file(key)
        with exclusively(self.folder):
            table = self._table()
            row = table.rows.get(file)
            cells = list(row.cells) if row else self._new_cells(table, file)
            self._fill(cells, table, change)
            if row is None or cells != row.cells:
                changed = table.with_row(cells, row)
                put(self.path, changed.content)
                self._last = changed
        return self.state(key)

    def _table(self) -> Table:
        """The table as it is on the disk now."""
        content = spreadsheets.content(self.path)
        if content is None and not self.folder.is_dir():
            raise TarkibError(f"{self.path}: cannot be read, its folder is gone; is its disk still there?")
        content, table = content or b"", self._last
        if table is None or table.content != content:
            try:
                table = self._last = Table(self.path, content, self._library)
            except TarkibError as error:
                if self.path.name.lower() == LABELS:
                    raise
                raise TarkibError(
                    f"{error}; or, if this is not the table of labels, make an empty {self.folder / LABELS}"
                ) from error
        return table

    def _fill(self, cells: list[str], table: Table, change: Change) -> None:
        if change.instrument is not None:
            columns = {INSTRUMENTS[k]: position for position, k in table.columns.instruments.items()}
            if change.instrument not in columns:
                raise TarkibError(
                    f"{self.path}: has no column {change.instrument}; add one with a value in every row to label that "
                    "instrument"
                )
            cells[columns[change.instrument]] = str(int(change.plays))
        if change.recording is not None:
            if table.columns.recording is None:
                raise TarkibError(f"{self.path}: has no column recording; add one to say what excerpts were cut from")
            cells[table.columns.recording] = " ".join(change.recording.split())

    def _new_cells(self, table: Table, file: Path) -> list[str]:
        if not file.is_file():
            raise TarkibError(f"{self._name(file)}: the file is gone; bring it back or reload the page")
        columns = table.columns
        cells = ["0" if k in columns.instruments else "" for k in range(len(table.heading.cells))]
        cells[columns.id] = cells[columns.file] = self._sample_id(table, file)
        return cells

    def _sample_id(self, table: Table, file: Path) -> str:
        """What labels.csv calls an excerpt: its path from the folder, without its ending where that is unambiguous."""
        whole = self._name(file)
        for name in (whole.removesuffix(file.suffix), whole, f"./{whole}"):
            row = Row(self.path, 0, name.strip(), name.strip(), "", ())
            with suppress(TarkibError, UnicodeEncodeError):
                name.encode()
                if row.id not in table.ids and self._library.find(row) == file:
                    return name
        raise TarkibError(f"{printable(whole)}: {self.path.name} cannot name this file unambiguously; rename it")

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()


def _key(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _remark(file: Path) -> str:
    """What the pipeline does with an excerpt that is not a sound of five seconds."""
    try:
        decoding.check_file(file)
    except (TarkibError, OSError) as error:
        return f"The pipeline leaves this file out: {error}."
    seconds = audio.seconds(file)
    if seconds == 0:
        return "This file cannot be read as sound; the pipeline leaves it out."
    if seconds > audio.CLIP_SECONDS + _LONGER_BY_S:
        length = f"{seconds:.1f} s" if seconds < 60 else clock(seconds)
        return (
            f"This excerpt is {length} long; the pipeline averages over its five-second windows, so an instrument "
            "that plays in any part of it counts as playing."
        )
    return ""
