"""The four modes of mixing: relations between the dastgahs of the pitched components and the tempi of the metered ones.

| mode | dastgah | tempo in the mixture |
|---|---|---|
| ``random`` | free | as recorded, free |
| ``bpm`` | all different | equal (stretched) |
| ``dastgah`` | all the same | as recorded, all different |
| ``dastgah+bpm`` | all the same | equal (stretched) |

A component is metered if its tempo is trusted. Tempi are compared modulo octave.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tarkib.annotation import octaves

Relation = Literal["free", "same", "different"]


class Mode(NamedTuple):
    """A mode: its name, its number in the seeds of generators, and its relations."""

    name: str
    number: int
    dastgah: Relation
    tempo: Relation


MODES = {
    "random": Mode("random", 0, "free", "free"),
    "bpm": Mode("bpm", 1, "different", "same"),
    "dastgah": Mode("dastgah", 2, "same", "different"),
    "dastgah+bpm": Mode("dastgah+bpm", 3, "same", "same"),
}


def differ(bpms: Sequence[float], tolerance: float) -> bool:
    """Whether all tempi differ from each other by a share of more than `tolerance` (0.04: 4 %), modulo octave."""
    least = math.log2(1 + tolerance)
    return all(octaves.apart(a, b) > least for a, b in itertools.combinations(bpms, 2))


def dastgahs_fit(mode: Mode, dastgahs: Sequence[str | None]) -> bool:
    """Whether the pitched components' dastgahs keep the mode's promise; None (unknown) fits ``free`` alone."""
    if mode.dastgah == "free":
        return True
    kinds = len(set(dastgahs))
    return None not in dastgahs and (kinds <= 1 if mode.dastgah == "same" else kinds == len(dastgahs))


def tempi_fit(mode: Mode, bpms: Sequence[float], max_stretch: float, tolerance: float) -> bool:
    """Whether the metered components' tempi keep the mode's promise, or can by stretches within `max_stretch`."""
    if mode.tempo == "different":
        return differ(bpms, tolerance)
    return mode.tempo == "free" or octaves.within_reach(bpms, max_stretch)
