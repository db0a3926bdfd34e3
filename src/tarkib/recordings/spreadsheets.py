"""CSV tables that people write, `recordings.csv` and `labels.csv`, as spreadsheets and editors store them.

Text is UTF-8, UTF-16 with its byte order mark, or cp1256, the Windows code page of Arabic script. Cells are separated
by commas, or by semicolons or tabs where the heading has no comma. Blank lines are passed over, cells are stripped.
"""

import csv
import io
import os
import re
import string
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tarkib.errors import TarkibError
from tarkib.runtime.text import bounded, printable, some

_MOST_BYTES = 2**24  # some 200,000 rows; a larger file is no table that somebody wrote
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_WORD = re.compile(r"[^\W\d_]+")
_ARABIC_WORD = re.compile("[\u0600-\u06ff]+")
# What Excel understands as the first line of a table, and writes into some.
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[ \t]*(?=\r|\n)', re.IGNORECASE)
# Spaces, and marks that nobody sees, which come along when text is copied.
_UNSEEN = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070))
_BLANK = string.whitespace + "\xa0\ufeff" + "".join(map(chr, _UNSEEN))
_REMEDY = "save it as CSV UTF-8"


class Sheet(NamedTuple):
    """A table: its heading, and its rows, each as long as the heading and with the number of the line it ends in."""

    heading: list[str]
    rows: list[tuple[int, list[str]]]


class Text(NamedTuple):
    """The text of a file, and how it is stored: `mark` and `codec`, so that it can be stored alike."""

    text: str
    mark: bytes
    codec: str


def read(path: Path, *, padded: bool = False) -> Sheet:
    """The table in a file; without heading and rows where the file is not there or blank.

    Raises TarkibError, which names the line, for what is no text, no CSV, or no table (see `checked`).
    """
    text = decode(path, content(path) or b"").text
    csv.field_size_limit(_MOST_BYTES)
    start, delimiter = layout(text)
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise TarkibError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    heading, rows = checked(path, rows, padded=padded)
    # Spreadsheets store columns that hold nothing where something once was.
    width = max((k for _, cells in [(0, heading), *rows] for k, cell in enumerate(cells, start=1) if cell), default=0)
    return Sheet(heading[:width], [(line, cells[:width]) for line, cells in rows])


def content(path: Path) -> bytes | None:
    """The bytes of a table's file, None where it is not there.

    Raises TarkibError where it cannot be read, is no file, or is larger than such a table can be.
    """
    try:
        # Before it is opened: to open a pipe is to wait for who writes into it.
        if os.path.exists(path) and not os.path.isfile(path):
            raise TarkibError(f"{path}: is a folder or a pipe where a CSV file belongs; rename it")
        if os.path.exists(path) and (size := os.path.getsize(path)) > _MOST_BYTES:
            raise TarkibError(
                f"{path}: {size >> 20} MiB; a table of at most {_MOST_BYTES >> 20} MiB is read. Is it another file?"
            )
        return path.read_bytes()
    except FileNotFoundError:
        if not path.is_symlink():
            return None
        raise TarkibError(f"{path}: a link to {printable(path.readlink())}, which is not there") from None
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror})") from error


def decode(path: Path, content: bytes) -> Text:
    """The text of a table's file.

    What is neither marked nor UTF-8 is taken for cp1256 where that makes words of Arabic script of it, of no other
    letters. Which of the Western code pages a file is in cannot be seen, so that those are refused and not guessed.
    Raises TarkibError, which names the line and the byte.
    """
    mark, codec = next(((mark, codec) for mark, codec in _MARKS if content.startswith(mark)), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(codec)
    except UnicodeDecodeError as error:
        text = content.decode("cp1256")
        if mark or not _is_persian(text):
            at = len(mark) + error.start
            line = content.count(b"\n", 0, at) + 1
            raise TarkibError(
                f"{path}, line {line}: not {codec.upper()} text (byte {at} is 0x{content[at]:02x}); {_REMEDY}"
            ) from error
        codec = "cp1256"
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TarkibError(f"{path}, line {line}: holds characters of value 0, which are no text; {_REMEDY}")
    return Text(text, mark, codec)


def _is_persian(text: str) -> bool:
    """Whether what is not ASCII in a text are words of Arabic script, and no word mixes scripts."""
    foreign = [word for word in _WORD.findall(text) if not word.isascii()]
    return any(len(word) > 1 for word in foreign) and all(map(_ARABIC_WORD.fullmatch, foreign))


def layout(text: str) -> tuple[int, str]:
    """Where a table starts in its text, and its delimiter: as a line such as sep=; says, else by the heading."""
    if separator := _SEPARATOR.match(text):
        return separator.end(), separator[1]  # the line end stays, so that lines keep their numbers
    heading = next(filter(str.strip, text.splitlines()), "")
    return 0, next((mark for mark in ",;\t" if mark in heading), ",")


def checked(path: Path, rows: list[tuple[int, list[str]]], *, padded: bool = False) -> Sheet:
    """A table of these rows, the first of which that is not blank is the heading.

    padded : whether blank cells at the end of a row may be left out; too many of them always may be there.
    Raises TarkibError where a heading is there twice, or a row is longer or shorter than the heading.
    """
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        return Sheet([], [])
    (at, heading), *rows = rows
    heading = [name.strip(_BLANK) for name in heading]
    names = [name.casefold() for name in heading if name]
    if len(set(names)) < len(names):
        twice = some(bounded(name, 60) for name, count in Counter(names).items() if count > 1)
        raise TarkibError(f"{path}, line {at}: column {twice} is there more than once; keep one")
    width = len(heading)
    for line, cells in rows:
        if any(cells[width:]) or (len(cells) < width and not padded):
            raise TarkibError(
                f"{path}, line {line}: {len(cells)} values where the heading has {width} columns; "
                "put a value that holds a comma in quotes, and leave no cell out"
            )
    return Sheet(heading, [(line, cells[:width] + [""] * (width - len(cells))) for line, cells in rows])
