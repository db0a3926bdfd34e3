"""Which instruments play together."""

import itertools
from collections.abc import Sequence

import numpy as np

from tarkib.vocabulary import INSTRUMENTS

_SMALL = (
    *((melody, "tonbak") for melody in ("tar", "setar", "kamancheh", "ney", "santur", "violin", "piano")),
    ("violin", "tar", "tonbak"),
    ("piano", "violin", "tonbak"),
)
_MEDIUM = (
    ("tar", "kamancheh", "santur", "tonbak"),
    ("ney", "tar", "tonbak", "daf"),
    ("kamancheh", "santur", "tonbak"),
    ("setar", "tar", "tonbak", "daf"),
    ("tar", "kamancheh", "santur", "tonbak", "violin"),
    ("piano", "violin", "tar", "tonbak"),
)
_ORCHESTRAL = tuple(
    ("santur", "tar", third, "tonbak", "daf", *violin)
    for third, violin in itertools.product(("setar", "kamancheh", "ney"), ((), ("violin",)))
)
_WITH_VOICE = tuple(
    ("avaz", *others)
    for others in (
        ("tonbak", "tar"),
        ("tar",),
        ("tonbak",),
        ("setar",),
        ("setar", "daf"),
        ("ney", "tonbak"),
        ("ney",),
        ("violin", "tonbak"),
        ("piano", "tonbak"),
        ("violin",),
        ("piano",),
    )
)
TRADITIONAL = (_SMALL, _MEDIUM, _ORCHESTRAL, _WITH_VOICE)
"""Ensembles of Persian music by kind, as the paper's original code lists them."""


def draw(kind: str, available: Sequence[str], least: int, most: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw an ensemble: distinct instruments in the order of the vocabulary.

    Parameters
    ----------
    kind : ``uniform`` draws a number of instruments from `least` to `most` and then that many, all alike, so that the
        classes are balanced; ``traditional`` draws one of the four kinds of `TRADITIONAL`, or any instruments as a
        fifth, and then one ensemble of it. What is not available, or not of the allowed size, is not drawn.
    available : instruments that there are slices of.
    least, most : number of instruments; where fewer are available than `least`, all of them play.
    """
    most = min(most, len(available))
    least = min(least, most)
    if kind == "traditional":
        playable = [
            [one for one in ensembles if least <= len(one) <= most and set(one) <= set(available)]
            for ensembles in TRADITIONAL
        ]
        kinds = [ensembles for ensembles in playable if ensembles]
        chosen = rng.integers(len(kinds) + 1)
        if chosen < len(kinds):
            ensembles = kinds[chosen]
            return _in_order(ensembles[rng.integers(len(ensembles))])
    size = rng.integers(least, most + 1)
    return _in_order(rng.choice(available, size, replace=False))


def _in_order(instruments: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(map(str, instruments), key=INSTRUMENTS.index))
