"""How times, pitches, file names, values and lists of them are written for people."""

import math
import os
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_JOINER = "\u200c"
"""Between the parts of Persian words."""

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
    r"""A file's name that can be printed and stored; bytes of it that are no text are written as escapes.

    >>> printable("نی.mp3"), printable("caf\udce9.mp3")
    ('نی.mp3', 'caf\\xe9.mp3')
    """
    return os.fsencode(path).decode(errors="backslashreplace")


def some(names: Iterable[str], most: int = 10) -> str:
    """The first few names, and how many more there are.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def bounded(text: Any, most: int = 200) -> str:
    r"""One line of at most `most` characters, of a text of any length; what cannot be printed is written as escapes.

    >>> bounded("two\nlines"), bounded("a" * 300, 5), bounded("\x1b[1m")
    ('two lines', 'aaaa…', '\\x1b[1m')
    """
    line = " ".join(str(text)[: 4 * most].split())
    line = "".join(c if c.isprintable() or c == _JOINER else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= most else line[: most - 1] + "…"


def quoted(value: Any) -> str:
    """A value as Python writes it, in one line of at most 80 characters whatever its size.

    >>> quoted("tar"), quoted(["a"] * 1000), len(quoted("a" * 1000))
    ("'tar'", "['a', 'a', 'a', 'a', ...]", 80)
    """
    try:
        return bounded(_SHORT.repr(value), 80)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return f"a value of type {type(value).__name__} too large to be shown"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxtuple = 3, 4, 4, 4
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
