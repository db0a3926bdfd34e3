"""How numbers, intervals and lists are written: the same in the page, in Markdown and in the pictures."""

from collections.abc import Sequence

from tarkib.runtime.pages import number

NONE = "–"
"""What stands where there is no number."""


def value(one: float | None, signed: bool = False) -> str:
    """A figure to three decimals.

    >>> value(0.7892), value(-0.01234, signed=True), value(-0.0001, signed=True), value(None)
    ('0.789', '−0.012', '0.000', '–')
    """
    if one is None:
        return NONE
    if round(one, 3) == 0:
        return "0.000"
    return number(one, 3, signed)


def interval(ends: tuple[float, float] | None, signed: bool = False) -> str:
    """Both ends of an interval in brackets.

    >>> interval((-0.01, 0.02), signed=True), interval(None)
    ('[−0.010, +0.020]', '–')
    """
    return NONE if ends is None else f"[{value(ends[0], signed)}, {value(ends[1], signed)}]"


def reach(ends: tuple[float, float]) -> str:
    """An interval in a sentence.

    >>> reach((-0.01, 0.02))
    'from −0.010 to +0.020'
    """
    return f"from {value(ends[0], signed=True)} to {value(ends[1], signed=True)}"


def p_value(p: float | None) -> str:
    """A p-value as a table has it.

    >>> p_value(0.0302), p_value(0.2345), p_value(0.0004), p_value(None)
    ('0.030', '0.23', '< 0.001', '–')
    """
    if p is None:
        return NONE
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence with commas and an and.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "seed"), counted(1200, "clip")
    ('1 seed', '1,200 clips')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def spread(counts: Sequence[int], noun: str) -> str:
    """Counts that may differ, with their noun.

    >>> spread([2, 2], "seed"), spread([2, 1], "seed")
    ('2 seeds', '1 to 2 seeds')
    """
    most = counted(max(counts), noun)
    return most if min(counts) == max(counts) else f"{min(counts)} to {most}"
