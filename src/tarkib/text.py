"""How times, pitches, file names and lists of them are written for people."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

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
