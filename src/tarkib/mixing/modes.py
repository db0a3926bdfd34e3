"""The four modes of mixing and what each promises.

A mode sets two relations among the components of a mixture: between the dastgahs of the pitched ones, and between the
tempi of the metered ones (those whose tempo is trusted). Tempi are compared modulo octave: half or double a tempo walks
along with it.

| mode | dastgah | tempo as heard |
|---|---|---|
| ``random`` | free | as recorded, free |
| ``bpm`` | all different | one (stretched) |
| ``dastgah`` | all the same | as recorded, all different |
| ``dastgah+bpm`` | all the same | one (stretched) |
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tarkib.annotation import octaves

Relation = Literal["free", "same", "different"]


@dataclass(frozen=True)
class Mode:
    """A mode: its name, its number in seeding generators, and the relations it keeps."""

    name: str
    number: int
    dastgah: Relation
    tempo: Relation


MODES = {
    mode.name: mode
    for mode in (
        Mode("random", 0, "free", "free"),
        Mode("bpm", 1, "different", "same"),
        Mode("dastgah", 2, "same", "different"),
        Mode("dastgah+bpm", 3, "same", "same"),
    )
}


def differ(bpms: Sequence[float], tolerance: float) -> bool:
    """Whether all tempi are more than a share of `tolerance` (0.04: 4 %) apart from each other, modulo octave."""
    least = math.log2(1 + tolerance)
    return all(octaves.apart(a, b) > least for a, b in itertools.combinations(bpms, 2))


def dastgahs_fit(mode: Mode, dastgahs: Sequence[str | None]) -> bool:
    """Whether the pitched components' dastgahs keep the mode's promise; None, an unknown one, fits ``free`` alone."""
    if mode.dastgah == "free":
        return True
    kinds = len(set(dastgahs))
    return None not in dastgahs and (kinds <= 1 if mode.dastgah == "same" else kinds == len(dastgahs))


def tempi_fit(mode: Mode, bpms: Sequence[float], max_stretch: float, tolerance: float) -> bool:
    """Whether the metered components' tempi keep the mode's promise, or can within `max_stretch`."""
    if mode.tempo == "different":
        return differ(bpms, tolerance)
    return mode.tempo == "free" or octaves.within_reach(bpms, max_stretch)
