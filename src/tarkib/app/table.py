"""A labels.csv on the disk: read as the pipeline reads it, changed row by row, replaced as a whole.

A record that is not changed keeps its text: quotes, spaces, spelling of numbers, line end.
"""

import csv
import fcntl
import io
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.evaluation.testset import Library
from tarkib.recordings import spreadsheets
from tarkib.runtime import outputs
from tarkib.vocabulary import INSTRUMENTS

_HEADING = ("sample_id", "recording", *INSTRUMENTS)

# DVC's caches, wherever they are, name a file by its MD5; the first two digits are a folder.
_CACHED = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}")


@dataclass(frozen=True)
class Record:
    """A record of a CSV file: number of the line that it ends in, stripped cells, and its text as stored."""

    line: int
    cells: list[str]
    text: str

    @property
    def ending(self) -> str:
        """Its line end: nothing at the end of some files."""
        return self.text[len(self.text.rstrip("\r\n")) :]


class Table:
    """A labels.csv as it was read, or as it will be written: `rows` gives the record of each labelled file.

    Parameters
    ----------
    path, content : of the file; empty where it does not exist yet.
    library : the audio files that its rows name.

    Raises TarkibError for what the pipeline could not read.
    """

    def __init__(self, path: Path, content: bytes, library: Library) -> None:
        self.path, self.content, self._library = path, content, library
        self._stored = spreadsheets.decode(path, content)
        start, self._delimiter = spreadsheets.layout(self._stored.text)
        self._before, text = self._stored.text[:start], self._stored.text[start:]
        if not self._stored.text.strip():
            text = self._delimiter.join(_HEADING) + "\n"
        self.records = list(self._parsed(text))
        sheet = spreadsheets.checked(path, [(record.line, record.cells) for record in self.records])
        self.columns = testset.columns_of(path, sheet.heading)
        rows = [testset.row_of(path, line, cells, self.columns, sheet.heading) for line, cells in sheet.rows]
        filled = [record for record in self.records if any(record.cells)]
        self.heading = filled[0]
        self.ids = {record.cells[self.columns.id] for record in filled}
        by_line = {record.line: record for record in filled}
        self.rows = {file: by_line[row.line] for file, row in testset.matched(rows, library).items()}

    def _parsed(self, text: str) -> Iterator[Record]:
        lines, done = list(io.StringIO(text, newline="")), 0
        reader = csv.reader(lines, delimiter=self._delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                stored = "".join(lines[done : reader.line_num])
                done = reader.line_num
                yield Record(done, [cell.strip() for cell in cells], stored)
        except csv.Error as error:
            raise TarkibError(
                f"{self.path}, line {reader.line_num}: not valid CSV ({error}); correct it in an editor"
            ) from error

    def with_row(self, cells: Sequence[str], before: Record | None) -> "Table":
        """The table with a row in the place of another, or at the end."""
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter).writerow(cells)
        row = line.getvalue().removesuffix("\r\n")
        texts = [record.text for record in self.records]
        if before is not None:
            texts[self.records.index(before)] = row + before.ending
        else:
            ending = self.heading.ending or "\n"
            texts += ["" if self.records[-1].ending else ending, row + ending]
        text = self._before + "".join(texts)
        try:
            content = self._stored.mark + text.encode(self._stored.codec)
        except UnicodeEncodeError:
            content = text.encode("utf-8-sig")  # a name has a letter that the file's code page lacks
        return Table(self.path, content, self._library)


def put(path: Path, content: bytes) -> None:
    """Replace a labels.csv as a whole; its mode stays.

    The target of a link is written; but a link into a DVC cache, whose files other versions share, is replaced.
    """
    target = path.resolve()
    if _CACHED.fullmatch("/".join(target.parts[-2:])):
        target = path
    try:
        with outputs.atomic_file(target) as partial:
            partial.write_bytes(content)
            if target.is_file() and not target.is_symlink():
                # DVC makes files read-only that it links to its cache; this copy is the user's own.
                with suppress(OSError):
                    partial.chmod(stat.S_IMODE(target.stat().st_mode) | stat.S_IWUSR)
    except OSError as error:
        raise TarkibError(f"{path}: cannot be written ({error.strerror}); nothing was changed") from error


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Keep other threads and processes from writing the labels of a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot lock a folder: then nobody is kept out.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
