"""Labels made by hand: the excerpts of a folder and its labels.csv, the one that `tarkib.evaluation.testset` reads.

Conventions
-----------
An excerpt is labelled when it has a row. The first instrument that is set, or `confirm`, adds one with 0 for all the
others; so a row of zeros says that nothing plays, and no row that nobody has said anything. Every change is written at
once.

What is in a labels.csv stays: other columns, spellings of headings, soft labels, order, rows without an audio file,
quotes and line ends. A change touches the cells that it is about. A file that another program has changed is read anew
before anything is written, and one that the pipeline could not read is never written.

An excerpt is called by its key, which is made from its name: no name and no path ever comes back from a browser.
"""

import hashlib
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tarkib import audio
from tarkib.app import records, table
from tarkib.app.records import Record
from tarkib.errors import TarkibError
from tarkib.evaluation.library import LABELS, Library, Row, several, tables_in
from tarkib.vocabulary import INSTRUMENTS

_RECORDING = "recording"
_RECORDING_CHARACTERS = 200


@dataclass(frozen=True)
class Excerpt:
    """An excerpt and what is said of it.

    key : what it is called from outside.
    name : its path from the folder.
    place : from 0, in the order of the folder.
    values : label of each instrument, 0 (does not play) to 1 (plays), None where labels.csv has no such column or the
        excerpt is not labelled.
    recording : what it was cut from, as the file says; may be blank.
    """

    key: str
    name: str
    place: int
    path: Path
    labelled: bool
    values: tuple[float | None, ...]
    recording: str


class Labels:
    """The labels of a folder of excerpts; several threads may use one.

    Parameters
    ----------
    folder : with excerpts, in sub-folders too, and a table of labels or none yet; `path` is that table.

    Raises TarkibError for a folder that is not there or holds no audio, and a labels.csv that the pipeline cannot read.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self._lock = threading.RLock()
        if not self.folder.is_dir():
            raise TarkibError(f"{self.folder}: no such folder; make it and put five-second excerpts into it")
        self._library = Library(self.folder)
        files = self._library.files
        if not files:
            raise TarkibError(
                f"{self.folder}: holds no audio; put five-second excerpts into it, ending in one of "
                f"{', '.join(sorted(audio.SUFFIXES))}"
            )
        self._names = [file.relative_to(self.folder).as_posix() for file in files]
        self._place = {_key(name): place for place, name in enumerate(self._names)}
        self._keys = list(self._place)
        self.path, self._table = self._opened()

    def __len__(self) -> int:
        """Number of excerpts."""
        return len(self._names)

    @property
    def labelled(self) -> int:
        """How many excerpts are labelled."""
        with self._lock:
            return len(self._table.rows)

    @property
    def columns(self) -> frozenset[str]:
        """The instruments that labels.csv has a column for."""
        with self._lock:
            return frozenset(INSTRUMENTS[k] for k in self._table.columns.instruments.values())

    @property
    def recordings(self) -> list[str]:
        """What excerpts were cut from, each once, in the order of the file."""
        with self._lock:
            column = self._table.columns.recording
            if column is None:
                return []
            rows = (record for record in self._table.records if not record.blank and record is not self._table.heading)
            return list(dict.fromkeys(filter(None, (record.values[column] for record in rows))))

    def key(self, place: int) -> str:
        """Key of the excerpt in a place."""
        return self._keys[place]

    def excerpt(self, key: str) -> Excerpt:
        """An excerpt. Raises TarkibError for a key that none has."""
        place = self._place.get(key)
        if place is None:
            raise TarkibError(f"{self.folder}: that excerpt is not there; reload the page")
        file = self._library.files[place]
        values: list[float | None] = [None] * len(INSTRUMENTS)
        recording = ""
        with self._lock:
            record = self._table.rows.get(file)
            if record is not None:
                said = record.values
                for position, k in self._table.columns.instruments.items():
                    values[k] = float(said[position])
                if self._table.columns.recording is not None:
                    recording = said[self._table.columns.recording]
        return Excerpt(key, self._names[place], place, file, record is not None, tuple(values), recording)

    def first_unlabelled(self) -> int | None:
        """Place of the first excerpt without labels, None where all have some."""
        with self._lock:
            return next((k for k, file in enumerate(self._library.files) if file not in self._table.rows), None)

    def refresh(self) -> bool:
        """Read labels.csv anew if another program has changed it; whether that was so.

        Raises TarkibError where it can no longer be read; what was known before stays.
        """
        with self._lock:
            return self._refreshed()

    def set(self, key: str, instrument: str, plays: bool) -> None:
        """Say that an instrument plays in an excerpt, or does not.

        Raises TarkibError for an instrument without a column, and where the file cannot be read or written.
        """
        with self._held():
            column = self._column(instrument)
            self._row(key).cells[column] = str(int(plays))
            self._write()

    def confirm(self, key: str) -> None:
        """Say that the labels of an excerpt are as they should be: one without any has nothing that plays."""
        with self._held():
            if not self.excerpt(key).labelled:
                self._row(key)
                self._write()

    def set_recording(self, key: str, recording: str) -> None:
        """Say what a labelled excerpt was cut from; a labels.csv without such a column is given one.

        Space is made single and characters that control are dropped. Raises TarkibError for an excerpt without labels
        and a text of more than 200 characters.
        """
        recording = " ".join("".join(c for c in recording if c.isspace() or unicodedata.category(c) != "Cc").split())
        if len(recording) > _RECORDING_CHARACTERS:
            raise TarkibError(f"recording: {len(recording)} characters; write at most {_RECORDING_CHARACTERS}")
        with self._held():
            excerpt = self.excerpt(key)
            if not excerpt.labelled:
                raise TarkibError(f"{excerpt.name}: label it first, then say what it was cut from")
            if recording == excerpt.recording:
                return
            if self._table.columns.recording is None:
                self._add_column(_RECORDING)
            record = self._table.rows[excerpt.path]
            record.cells[self._table.columns.recording] = records.quoted(recording, self._table.delimiter)
            self._write()

    def remove(self, key: str) -> None:
        """Make an excerpt one without labels: its row goes.

        Raises TarkibError where that row also says something in a column that is none of ours.
        """
        with self._held():
            excerpt = self.excerpt(key)
            record = self._table.rows.get(excerpt.path)
            if record is None:
                return
            columns = self._table.columns
            ours = {columns.id, columns.file, columns.recording, *columns.instruments}
            others = [k for k, value in enumerate(record.values) if k not in ours and value]
            if others:
                named = ", ".join(self._table.heading.values[k] or f"column {k + 1}" for k in others)
                raise TarkibError(
                    f"{self.path}, line {record.line}: the row also holds {named}, which would be lost; "
                    "remove it by hand"
                )
            self._table.records.remove(record)
            self._write()

    def _opened(self) -> tuple[Path, table.Table]:
        """The path of the table of labels, and the table."""
        path = self.folder / LABELS
        try:
            tables, _ = tables_in(self.folder)
            if len(tables) > 1:
                raise several(self.folder, tables)
            path = tables[0]
            return path, table.read(path, self._library)
        except TarkibError as error:
            if path.name.lower() == LABELS and path.exists():
                raise
            # A table that is not called so may be anything.
            raise TarkibError(
                f"{error}; or, if this is not the table of labels, make an empty {self.folder / LABELS}"
            ) from error

    def _refreshed(self) -> bool:
        content = table.content(self.path)
        if content == self._table.content:
            return False
        self._table = table.from_bytes(self.path, content, self._library)
        return True

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other threads, and other processes that label here, from writing; what they wrote is read first."""
        # In this order, so that those who only read wait for no other process.
        with table.held(self.folder), self._lock:
            self._refreshed()
            yield

    def _column(self, instrument: str) -> int:
        for position, k in self._table.columns.instruments.items():
            if INSTRUMENTS[k] == instrument:
                return position
        raise TarkibError(
            f"{self.path}: has no column {instrument}; add one with a value in every row to label that instrument"
        )

    def _row(self, key: str) -> Record:
        """The record of an excerpt, added at the end where there is none."""
        excerpt = self.excerpt(key)
        record = self._table.rows.get(excerpt.path)
        if record is not None:
            return record
        if not excerpt.path.is_file():
            raise TarkibError(f"{excerpt.name}: the file is no longer there; bring it back or reload the page")
        columns, last = self._table.columns, self._table.records[-1]
        name = records.quoted(self._sample_id(excerpt), self._table.delimiter)
        record = Record(last.line + 1, [""] * len(self._table.heading.cells), self._table.heading.ending or "\n")
        for position in columns.instruments:
            record.cells[position] = "0"
        record.cells[columns.id] = record.cells[columns.file] = name
        last.ending = last.ending or record.ending
        self._table.records.append(record)
        return record

    def _sample_id(self, excerpt: Excerpt) -> str:
        """What labels.csv calls an excerpt: its path from the folder, without the ending where that is clear too."""
        whole = excerpt.name
        taken = {record.values[self._table.columns.id] for record in self._table.records if not record.blank}
        for name in (whole[: -len(excerpt.path.suffix)], whole, f"./{whole}"):
            row = Row(self.path, 0, name.strip(), name.strip(), "", ())
            try:
                name.encode()
                if name.strip() not in taken and self._library.find(row) == excerpt.path:
                    return name
            except (TarkibError, UnicodeEncodeError):
                continue
        raise TarkibError(f"{whole!a}: {self.path.name} cannot name this file among the others; rename it")

    def _add_column(self, name: str) -> None:
        for record in self._table.records:
            if not record.blank:
                record.cells.append(name if record is self._table.heading else "")
        before = self._table.content
        changed = table.from_bytes(self.path, self._table.written(), self._library)
        self._table = replace(changed, content=before)

    def _write(self) -> None:
        """Put the file in place, after seeing that the pipeline will read it."""
        before = self._table.content
        try:
            content = self._table.written()
            self._table = table.from_bytes(self.path, content, self._library)
            table.put(self.path, content)
        except BaseException as error:
            # What is in memory must not run ahead of what is on the disk.
            self._table = table.from_bytes(self.path, before, self._library)
            if isinstance(error, OSError):
                raise TarkibError(f"{self.path}: cannot be written ({error.strerror}); nothing was changed") from error
            raise


def _key(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
