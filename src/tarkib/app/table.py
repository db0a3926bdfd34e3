"""A labels.csv on the disk: read as the pipeline reads it, put in place whole, kept from others meanwhile."""

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tarkib.app import records
from tarkib.app.records import Record
from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.evaluation.library import Library
from tarkib.recordings import spreadsheets
from tarkib.runtime import outputs
from tarkib.runtime.text import shown
from tarkib.vocabulary import INSTRUMENTS

_HEADING = ("sample_id", "recording", *INSTRUMENTS)
_WAIT_S = 5.0
_ASK_EVERY_S = 0.01

# DVC's caches, wherever they lie, call a file by its MD5: the first two digits are a folder's name.
_CACHED = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}")


@dataclass(frozen=True)
class Table:
    """A labels.csv as it was last read or written: `rows` gives each labelled file its record."""

    path: Path
    content: bytes | None
    stored: spreadsheets.Text
    delimiter: str
    records: list[Record]
    heading: Record
    columns: testset.Columns
    rows: dict[Path, Record]

    def written(self) -> bytes:
        """Its bytes, with what was changed in its records; raises TarkibError for what its code page lacks."""
        text = records.written(self.records, self.delimiter)
        try:
            return self.stored.mark + text.encode(self.stored.codec)
        except UnicodeEncodeError as error:
            lacking = shown(text[error.start : error.end])
            raise TarkibError(
                f"{self.path}: is stored in {self.stored.codec}, which has no {lacking}; save it as CSV UTF-8"
            ) from error


def read(path: Path, library: Library) -> Table:
    """The table at `path`, a new one where there is none. Raises TarkibError where the pipeline could not read it."""
    return from_bytes(path, content(path), library)


def from_bytes(path: Path, content: bytes | None, library: Library) -> Table:
    """The table that is made of these bytes, None for a new one; errors as in `read`."""
    decoded = spreadsheets.decode(path, content or b"")
    text, delimiter = decoded.text, spreadsheets.delimiter_of(decoded.text)
    if not text.strip():
        text = delimiter.join(_HEADING) + "\n"
    try:
        found = records.parse(text, delimiter)
    except TarkibError as error:
        raise TarkibError(f"{path}, {error}; put it right in an editor, nothing was changed") from error
    sheet = spreadsheets.checked(path, [(record.line, record.values) for record in found])
    columns = testset.columns_of(path, sheet.heading)
    rows = [testset.row_of(path, line, cells, columns, sheet.heading) for line, cells in sheet.rows]
    by_line = {record.line: record for record in found if not record.blank}
    labelled = {file: by_line[row.line] for file, row in testset.matched(rows, library).items()}
    heading = next(record for record in found if not record.blank)
    return Table(path, content, decoded, delimiter, found, heading, columns, labelled)


def content(path: Path) -> bytes | None:
    """Bytes of a labels.csv, None where there is none. Raises TarkibError where its folder is gone too."""
    content = spreadsheets.content(path)
    if content is None and not path.parent.is_dir():
        raise TarkibError(f"{path}: cannot be read, for its folder is gone; is its disk still there?")
    return content


def put(path: Path, content: bytes) -> None:
    """Put a labels.csv in place whole, with the mode that it had.

    Of a link the file is written that it leads to; but one into a cache of DVC, which other versions share, becomes a
    file of its own.
    """
    target = path.resolve()
    if _CACHED.fullmatch("/".join(target.parts[-2:])):
        target = path
    with outputs.atomic_file(target) as partial:
        partial.write_bytes(content)
        if target.is_file() and not target.is_symlink():
            # Read-only is what DVC makes of a file that it links to its cache; this one is the reader's own. Some file
            # systems have no modes.
            with suppress(OSError):
                partial.chmod(stat.S_IMODE(target.stat().st_mode) | stat.S_IWUSR)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep others that label in a folder, threads and processes, from writing.

    Raises TarkibError where the folder is gone, and where another keeps it for more than a few seconds.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise TarkibError(f"{folder}: cannot be opened ({error.strerror}); is its disk still there?") from error
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    end = time.monotonic() + _WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise TarkibError(
                    f"{folder}: another tarkib app keeps this folder and does not go on; end it or let it go on "
                    "(fg in its terminal), then say it again; nothing was changed"
                ) from error
            time.sleep(_ASK_EVERY_S)
        except OSError:
            # A network's file system may have no locks for folders: only other processes are not kept out then.
            return
        else:
            return
