"""How times, pitches, file names, values and lists of them are written for people."""

import math
import re
import reprlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

# Control characters, which a terminal obeys, and halves of surrogate pairs, which no file and no terminal takes.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(75.4)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def note_name(hz: float) -> str:
    """The nearest key of a piano tuned to 440 Hz, and how many cents off: a help for the eye, not a claim of tuning.

    >>> note_name(440.0), note_name(233.4)
    ('A4', 'B♭3 +2')
    """
    keys = 69 + 12 * math.log2(hz / 440.0)
    nearest = round(keys)
    cents = round(100 * (keys - nearest))
    return f"{_NAMES[nearest % 12]}{nearest // 12 - 1}" + (f" {cents:+d}" if cents else "")


def printable(path: Path | str) -> str:
    r"""A file's name that can be printed and stored; bytes of it that are no text, and controls, are escapes.

    >>> printable("نی.mp3"), printable("caf\udce9.mp3"), printable("two\nlines.mp3")
    ('نی.mp3', 'caf\\xe9.mp3', 'two\\u000alines.mp3')
    """
    # A byte that is no UTF-8 is a surrogate to Python, U+DC80 and up.
    plain = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", str(path))
    return _UNPRINTABLE.sub(_escape, plain)


def shown(value: str, most: int = 60) -> str:
    """A value from outside for a message: quoted, printable, and cut where it is long.

    >>> shown("fast"), shown("x" * 70, 5)
    ("'fast'", "'xxxxx…' (70 characters)")
    """
    return f"'{bounded(value, most)}'" + (f" ({len(value)} characters)" if len(value) > most else "")


@contextmanager
def escaped_output() -> Iterator[None]:
    """Write control characters that are printed meanwhile as escapes, whichever message, name or table they are in.

    Line ends, tabs and the carriage returns of progress bars stay. The escapes are JSON's, so that JSON stays JSON.
    """
    with redirect_stdout(_Escaping(sys.stdout)), redirect_stderr(_Escaping(sys.stderr)):
        yield


class _Escaping:
    """A stream that does all that another does, but writes what is not printable as escapes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        self._stream.write(_UNPRINTABLE.sub(lambda one: one[0] if one[0] in "\n\t\r" else _escape(one), text))
        return len(text)


def _escape(character: re.Match) -> str:
    return f"\\u{ord(character[0]):04x}"


def some(names: Iterable[str], most: int = 10, total: int | None = None) -> str:
    """The first few names, and how many more there are; `total` says of how many, where `names` are the first alone.

    >>> some(["a", "b", "c"], 2), some(["a", "b"], 2, total=8_000)
    ('a, b and 1 more', 'a, b and 7998 more')
    """
    names = list(names)
    more = (len(names) if total is None else total) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def bounded(text: Any, most: int = 200) -> str:
    r"""One printable line of a text of any length, cut after `most` characters.

    >>> bounded("two\nlines"), bounded("a" * 300, 5), bounded("\x1b[1m")
    ('two lines', 'aaaaa…', '\\u001b[1m')
    """
    text = str(text)
    line = printable(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most and len(text) <= 4 * most else line[:most] + "…"


def quoted(value: Any) -> str:
    """A value as Python writes it, in one line of at most 80 characters whatever its size.

    >>> quoted("tar"), quoted(["a"] * 1000), quoted("a" * 1000)[-5:]
    ("'tar'", "['a', 'a', 'a', 'a', ...]", "aaaa'")
    """
    try:
        return bounded(_SHORT.repr(value), 80)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"a value of type {type(value).__name__} too large to be shown"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxtuple = 3, 4, 4, 4
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
