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


def tempo_distance(bpm: float, other: float) -> float:
    """How far two tempi are apart, modulo octave, in octaves: 0 to 0.5.

    >>> tempo_distance(60, 120), round(tempo_distance(100, 110), 4)
    (0.0, 0.1375)
    """
    octaves = math.log2(bpm / other)
    return abs(octaves - round(octaves))


def differ(bpms: Sequence[float], tolerance: float) -> bool:
    """Whether all tempi are more than a share of `tolerance` (0.04: 4 %) apart from each other, modulo octave."""
    least = math.log2(1 + tolerance)
    return all(tempo_distance(a, b) > least for a, b in itertools.combinations(bpms, 2))


def octave_middle(values: Sequence[float]) -> float | None:
    """The tempo (or tonic) that all can be brought to, modulo octave, by the least greatest ratio; None of no values.

    On the circle of values modulo octave it is the middle of the shortest arc that holds them all. The octave is the
    one nearest to the values' geometric mean.

    >>> round(octave_middle([100.0, 110.0, 50.0]), 2)
    104.88
    """
    if not values:
        return None
    octaves = [math.log2(one) for one in values]
    angles = sorted(one % 1.0 for one in octaves)
    # The shortest arc that holds all points is what the widest gap between neighbours leaves over.
    gaps = [following - angle for angle, following in zip(angles, [*angles[1:], angles[0] + 1.0], strict=True)]
    widest = max(range(len(gaps)), key=gaps.__getitem__)
    start = angles[(widest + 1) % len(angles)]
    middle = start + (1.0 - gaps[widest]) / 2
    return 2.0 ** (middle + round(sum(octaves) / len(octaves) - middle))


def octave_ratio(value: float, target: float) -> float:
    """Factor that brings a tempo (or tonic) to `target` or the nearest of its halves and doubles: target over value.

    Always within the square root of 2. As a time factor above 1 is faster: a clip at 100 BPM must be played 1.2 times
    as fast to be heard at 120.

    >>> round(octave_ratio(100, 120), 6), round(octave_ratio(65, 120), 6)
    (1.2, 0.923077)
    """
    octaves = math.log2(target / value)
    return 2.0 ** (octaves - round(octaves))


def within_reach(values: Sequence[float], most: float) -> bool:
    """Whether all values can be brought to one, modulo octave, by ratios of at most `most` either way."""
    target = octave_middle(values)
    return target is None or all(1 / most <= octave_ratio(one, target) <= most for one in values)


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
    return mode.tempo == "free" or within_reach(bpms, max_stretch)
