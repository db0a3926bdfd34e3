"""Frequencies and tempi modulo octave: a half or a double is the same note, and walks along at the same tempo.

Conventions
-----------
Values are positive, in any unit of frequency (Hz, BPM), and compared by their ratio: on a circle that is one octave
round, where the distance between two values is at most half an octave.
"""

import math
from collections.abc import Sequence

_LEAST = 1e-9  # octaves; nearer than this is the same


def apart(value: float, other: float) -> float:
    """Distance of two values modulo octave, in octaves: 0 to 0.5.

    >>> apart(60, 120), round(apart(100, 110), 4)
    (0.0, 0.1375)
    """
    octaves = math.log2(value / other)
    return abs(octaves - round(octaves))


def ratio(value: float, target: float) -> float:
    """Factor that brings a value to `target` or the nearest of its halves and doubles: target over value.

    Always within the square root of 2. As a time factor above 1 is faster: a clip at 100 BPM must be played 1.2 times
    as fast to be heard at 120.

    >>> round(ratio(100, 120), 6), round(ratio(65, 120), 6)
    (1.2, 0.923077)
    """
    octaves = math.log2(target / value)
    return 2.0 ** (octaves - round(octaves))


def within_reach(values: Sequence[float], most: float) -> bool:
    """Whether all values can be brought to one by ratios of at most `most` (1 or more) either way.

    They can where an arc twice as long as `most` reaches holds them all, which is what the widest gap leaves over.
    """
    if len(values) < 2:
        return True
    angles = sorted(math.log2(one) % 1.0 for one in values)
    gaps = [following - angle for angle, following in zip(angles, [*angles[1:], angles[0] + 1.0], strict=True)]
    return 1.0 - max(gaps) <= 2 * math.log2(most) + _LEAST


def meeting_points(values: Sequence[float], most: float) -> list[float]:
    """Where values meet with the least change: the targets that all are brought to by ratios within `most` either way.

    The total change is the sum of the ratios' logarithms. It is least at the circular median of the values, so that one
    or more of them need no change at all; all such are returned where their totals are equal, as with any two values.
    Where the median is out of another's reach, it is the nearest point that all reach, or the middle between two such.
    Empty where there are no values, or where they cannot meet.

    >>> meeting_points([100.0, 110.0, 52.0], 1.25), meeting_points([100.0, 110.0], 1.25)
    ([52.0], [100.0, 110.0])
    >>> [round(one, 2) for one in meeting_points([100.0, 140.0], 1.25)]
    [118.32]
    """
    reach = math.log2(most) + _LEAST

    def total(target: float) -> float:
        """Change of all values together; infinite out of reach of one."""
        changes = [apart(one, target) for one in values]
        return sum(changes) if max(changes) <= reach else math.inf

    # The total is piecewise linear round the circle: its least lies at a value or where a value's reach ends.
    totals = {target: total(target) for target in {*values, *(v * f for v in values for f in (1 / most, most))}}
    least = min(totals.values(), default=math.inf) + _LEAST
    if least == math.inf:
        return []
    best = sorted(target for target, change in totals.items() if change <= least)
    if kept := [target for target in best if target in values]:
        return kept
    middle = best[0] * math.sqrt(ratio(best[0], best[-1]))
    # Between the ends of one arc the total is the same; ends of two arcs have others between them.
    return [middle] if total(middle) <= least else best
