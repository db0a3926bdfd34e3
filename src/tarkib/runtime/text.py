"""How times, pitches, file names, values and lists of them are written for people."""

import math
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

# Control characters, and halves of surrogate pairs, which cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200)
_NOTES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(75.4)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def time_step(seconds: float, most: int) -> int:
    """Seconds from mark to mark of a time axis with at most `most` steps: whole seconds, minutes or hours.

    >>> time_step(3.0, 8), time_step(61.0, 12), time_step(36_000.0, 8)
    (1, 10, 7200)
    """
    return next((step for step in _STEPS_S if seconds <= most * step), _STEPS_S[-1])


def counted(count: int, noun: str) -> str:
    """A count with its noun, to which an s is added but for one.

    >>> counted(1, "seed"), counted(1_200, "clip")
    ('1 seed', '1,200 clips')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def note_name(hz: float) -> str:
    """Nearest key of a piano tuned to 440 Hz, and the deviation in cents.

    >>> note_name(440.0), note_name(233.4)
    ('A4', 'B♭3 +2 cents')
    """
    keys = 69 + 12 * math.log2(hz / 440.0)
    nearest = round(keys)
    cents = round(100 * (keys - nearest))
    return f"{_NOTES[nearest % 12]}{nearest // 12 - 1}" + (f" {cents:+d} cents" if cents else "")


def printable(path: Path | str) -> str:
    r"""A file's name, with escapes for control characters and for bytes that are not UTF-8.

    >>> printable("نی.mp3"), printable("caf\udce9.mp3"), printable("two\nlines.mp3")
    ('نی.mp3', 'caf\\xe9.mp3', 'two\\u000alines.mp3')
    """
    # Python decodes a byte that is not UTF-8 to a surrogate, U+DC80 and up.
    plain = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", str(path))
    return _UNPRINTABLE.sub(_escape, plain)


def _escape(character: re.Match) -> str:
    return f"\\u{ord(character[0]):04x}"


def shown(value: str, most: int = 60) -> str:
    """Text from outside in a message: quoted, printable, cut after `most` characters.

    >>> shown("fast"), shown("x" * 70, 5)
    ("'fast'", "'xxxxx…' (70 characters)")
    """
    return f"'{bounded(value, most)}'" + (f" ({len(value)} characters)" if len(value) > most else "")


def some(names: Iterable[str], most: int = 10) -> str:
    """The first few names and the number of the others.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def bounded(text: Any, most: int = 200) -> str:
    r"""A text in one printable line, cut after `most` characters.

    >>> bounded("two\nlines"), bounded("a" * 300, 5), bounded("\x1b[1m")
    ('two lines', 'aaaaa…', '\\u001b[1m')
    """
    text = str(text)
    line = printable(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most and len(text) <= 4 * most else line[:most] + "…"


def quoted(value: Any) -> str:
    """A value's repr in one line of at most 80 characters.

    >>> quoted("tar"), quoted("a" * 1000)[-5:]
    ("'tar'", 'aaaa…')
    """
    return bounded(repr(value), 80)


@contextmanager
def escaped_output() -> Iterator[None]:
    r"""Print control characters as JSON's escapes (so JSON stays JSON), except \n, \t and the \r of progress bars."""
    with redirect_stdout(_Escaping(sys.stdout)), redirect_stderr(_Escaping(sys.stderr)):
        yield


class _Escaping:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        escape = _UNPRINTABLE.sub(lambda match: match[0] if match[0] in "\n\t\r" else _escape(match), text)
        self._stream.write(escape)
        return len(text)
