"""Which instruments play together."""

from collections.abc import Sequence

import numpy as np

from tarkib.vocabulary import INSTRUMENTS

TRADITIONAL = tuple(
    tuple(tuple(ensemble.split()) for ensemble in ensembles.split(", "))
    for ensembles in (
        "tar tonbak, setar tonbak, kamancheh tonbak, ney tonbak, santur tonbak, violin tonbak, piano tonbak, "
        "violin tar tonbak, piano violin tonbak",
        "tar kamancheh santur tonbak, ney tar tonbak daf, kamancheh santur tonbak, setar tar tonbak daf, "
        "tar kamancheh santur tonbak violin, piano violin tar tonbak",
        "santur tar setar tonbak daf, santur tar setar tonbak daf violin, santur tar kamancheh tonbak daf, "
        "santur tar kamancheh tonbak daf violin, santur tar ney tonbak daf, santur tar ney tonbak daf violin",
        "avaz tonbak tar, avaz tar, avaz tonbak, avaz setar, avaz setar daf, avaz ney tonbak, avaz ney, "
        "avaz violin tonbak, avaz piano tonbak, avaz violin, avaz piano",
    )
)
"""Ensembles of Persian music by kind (small, medium, orchestral, with voice), from the paper's original code."""


def draw(kind: str, available: Sequence[str], least: int, most: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw an ensemble of `least` to `most` (or all) of the instruments, in the order of the vocabulary.

    ``uniform`` draws a number of instruments and then that many, all equally likely, so that the classes are balanced;
    ``traditional`` draws one of the four kinds of `TRADITIONAL`, or ``uniform`` as a fifth, and then one of its
    ensembles that are available and of an allowed size.
    """
    most = min(most, len(available))
    least = min(least, most)
    chosen: Sequence[str] | None = None
    if kind == "traditional":
        playable = [
            [ensemble for ensemble in ensembles if least <= len(ensemble) <= most and set(ensemble) <= set(available)]
            for ensembles in TRADITIONAL
        ]
        kinds = [ensembles for ensembles in playable if ensembles]
        number = rng.integers(len(kinds) + 1)
        if number < len(kinds):
            chosen = kinds[number][rng.integers(len(kinds[number]))]
    if chosen is None:
        chosen = rng.choice(available, rng.integers(least, most + 1), replace=False).tolist()
    return tuple(sorted(chosen, key=INSTRUMENTS.index))
