"""Frequencies and tempi modulo octave: a half or double is the same note, or a tempo that fits.

Values are positive, in Hz or BPM, and compared by their ratio on a circle of one octave.
"""

import math
from collections.abc import Sequence

_DECIMALS = 9  # of distances in octaves: nearer values are the same
_SAME = 10.0**-_DECIMALS


def apart(value: float, other: float) -> float:
    """Distance of two values modulo octave, in octaves: 0 to 0.5, rounded so that equal ratios compare equal."""
    octaves = math.log2(value / other)
    return round(abs(octaves - round(octaves)), _DECIMALS)


def ratio(value: float, target: float) -> float:
    """Time factor that brings a value to `target` modulo octave: above 1 is faster, within the square root of 2."""
    octaves = math.log2(target / value)
    return 2.0 ** (octaves - round(octaves))


def within_reach(values: Sequence[float], most: float) -> bool:
    """Whether ratios of at most `most` (1 or more) either way can bring all values to the same target.

    They can if an arc of twice that length holds all values: the whole circle less the widest gap between neighbours.
    """
    if len(values) < 2:
        return True
    angles = sorted(math.log2(value) % 1.0 for value in values)
    gaps = [following - angle for angle, following in zip(angles, [*angles[1:], angles[0] + 1.0], strict=True)]
    return 1.0 - max(gaps) <= 2 * math.log2(most) + _SAME


def meeting_points(values: Sequence[float], most: float) -> list[float]:
    """Targets with the least total change that ratios within `most` either way bring all values to.

    The total change, the sum of the ratios' logarithms, is least at the circular median of the values, so one or more
    of them need no change; of equal totals all targets are returned. If the median is out of another's reach, the
    target is the nearest point that all reach, or the middle between two such. Empty if the values cannot meet.
    """
    reach = math.log2(most) + _SAME

    def total(target: float) -> float:
        """Change of all values together; infinite if one is out of reach."""
        changes = [apart(value, target) for value in values]
        return sum(changes) if max(changes) <= reach else math.inf

    # The total is piecewise linear around the circle: its least lies at a value or where a value's reach ends.
    totals = {target: total(target) for target in {*values, *(v * f for v in values for f in (1 / most, most))}}
    least = min(totals.values(), default=math.inf) + len(values) * _SAME
    if least == math.inf:
        return []
    best = sorted(target for target, change in totals.items() if change <= least)
    if unchanged := [target for target in best if target in values]:
        return unchanged
    middle = best[0] * math.sqrt(ratio(best[0], best[-1]))
    # Between the ends of one arc the total is the same; ends of two arcs have others between them.
    return [middle] if total(middle) <= least else best
