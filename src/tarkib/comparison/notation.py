"""How numbers, intervals and lists are written, in the page, in Markdown and in the pictures."""

from collections.abc import Collection, Iterable

from tarkib.comparison.significance import Interval
from tarkib.runtime.pages import number

NONE = "–"
"""In place of an undefined number."""


def value(figure: float | None, signed: bool = False) -> str:
    """A figure to three decimals.

    >>> value(0.7892), value(-0.01234, signed=True), value(-0.0001, signed=True), value(None)
    ('0.789', '−0.012', '0.000', '–')
    """
    if figure is None:
        return NONE
    return number(figure, 3, signed) if round(figure, 3) else "0.000"


def interval(ends: Interval | None, signed: bool = False) -> str:
    """Both ends of an interval."""
    return NONE if ends is None else f"[{value(ends[0], signed)}, {value(ends[1], signed)}]"


def p_value(p: float | None) -> str:
    """A p-value to two or three decimals."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def listed(parts: Iterable[object]) -> str:
    """Parts of a sentence: "a, b and c"."""
    *most, last = map(str, parts)
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 seed", "1,200 clips"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def seed_counts(seeds: Iterable[Collection[int]]) -> str:
    """How many seeds each of several modes has: "2 seeds", "1 to 2 seeds"."""
    counts = sorted(map(len, seeds))
    return ("" if counts[0] == counts[-1] else f"{counts[0]} to ") + counted(counts[-1], "seed")
