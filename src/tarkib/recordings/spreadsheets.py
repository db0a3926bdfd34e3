"""CSV tables that people write, `recordings.csv` and `labels.csv`, as spreadsheets and editors store them.

Text is UTF-8, UTF-16 with its byte order mark, or cp1256, the Windows code page of Arabic script. Cells are separated
by commas, or by semicolons or tabs where the heading has no comma. Blank lines are skipped, cells are stripped.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tarkib.errors import TarkibError
from tarkib.runtime.text import bounded, counted, some

_MARKS = {"utf-8": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
_WORD = re.compile(r"[^\W\d_]+")
_ARABIC_WORD = re.compile("[\u0600-\u06ff]+")
# What Excel understands as the first line of a table, and writes into some.
_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[ \t]*(?=\r|\n)', re.IGNORECASE)
# Spaces and marks that come along when text is copied; inside a name, a mark may be the half space of Persian script.
_BLANK = r"[\s\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]+"
_BLANK_ENDS = re.compile(f"^{_BLANK}|{_BLANK}$")
_REMEDY = "save it as CSV UTF-8 (in Excel: Save As)"


class Sheet(NamedTuple):
    """A table: its heading, and its rows, each as long as the heading and with the number of the line it ends in."""

    heading: list[str]
    rows: list[tuple[int, list[str]]]


def read(path: Path, *, padded: bool = False) -> Sheet:
    """The table in a file; without heading and rows where the file is not there or blank.

    Raises TarkibError, which names the line, for what is no text, no CSV, or no table (see `checked`).
    """
    text = decode(path, content(path) or b"")
    start, delimiter = layout(text)
    reader = csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise TarkibError(f"{path}, line {reader.line_num}: not valid CSV ({error})") from error
    heading, rows = checked(path, lines, padded=padded)
    # Spreadsheets store columns whose cells have been emptied.
    width = max((k for _, cells in [(0, heading), *rows] for k, cell in enumerate(cells, 1) if cell), default=0)
    return Sheet(heading[:width], [(line, cells[:width]) for line, cells in rows])


def content(path: Path) -> bytes | None:
    """The bytes of a table's file, None where it is not there. Raises TarkibError where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise TarkibError(f"{path}: a link to {path.readlink()}, which is not there; mend or delete it") from None
        return None
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror})") from error


def decode(path: Path, content: bytes) -> str:
    """The text of a table's file.

    Bytes that are neither marked nor UTF-8 are taken for cp1256 where all words that are not ASCII are then of Arabic
    script. Western code pages look alike, and are refused. Raises TarkibError, which names the line and the byte.
    """
    codec, mark = next((item for item in _MARKS.items() if content.startswith(item[1])), ("utf-8", b""))
    try:
        text = content[len(mark) :].decode(codec)
    except UnicodeDecodeError as error:
        text = content.decode("cp1256")
        words = [word for word in _WORD.findall(text) if not word.isascii()]
        is_persian = any(len(word) > 1 for word in words) and all(map(_ARABIC_WORD.fullmatch, words))
        if mark or not is_persian:
            at = len(mark) + error.start
            line = content.count(b"\n", 0, at) + 1
            raise TarkibError(
                f"{path}, line {line}: not {codec.upper()} text (byte {at} is 0x{content[at]:02x}); {_REMEDY}"
            ) from error
    return text


def layout(text: str) -> tuple[int, str]:
    """Where a table starts in its text, and its delimiter: as a line such as sep=; says, else by the heading."""
    if separator := _SEPARATOR.match(text):
        return separator.end(), separator[1]  # the line end stays, so that lines keep their numbers
    heading = next(filter(str.strip, text.splitlines()), "")
    return 0, next((mark for mark in ",;\t" if mark in heading), ",")


def checked(path: Path, rows: list[tuple[int, list[str]]], *, padded: bool = False) -> Sheet:
    """A table of these rows; the first one that is not blank is the heading.

    padded : whether blank cells at the end of a row may be left out; too many of them always may be there.
    Raises TarkibError where a heading is there twice, or a row is longer or shorter than the heading.
    """
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        return Sheet([], [])
    (at, heading), *rows = rows
    heading = [_BLANK_ENDS.sub("", name) for name in heading]
    counts = Counter(name.casefold() for name in heading if name)
    if double := [bounded(name, 60) for name, count in counts.items() if count > 1]:
        raise TarkibError(f"{path}, line {at}: column {some(double)} is there more than once; keep one")
    width = len(heading)
    for line, cells in rows:
        if any(cells[width:]) or (len(cells) < width and not padded):
            values, columns = counted(len(cells), "value"), counted(width, "column")
            raise TarkibError(
                f"{path}, line {line}: {values} where the heading has {columns}; "
                "put a value that holds a comma in quotes, and leave no cell out"
            )
    return Sheet(heading, [(line, cells[:width] + [""] * (width - len(cells))) for line, cells in rows])
