"""When components play: where each begins in its recording, and beats that fall together.

Conventions
-----------
A component sounds for `CLIP_SECONDS` of the mixture and plays its recording `stretch` times as fast, so it uses
``stretch * CLIP_SECONDS`` of it. Its `offset_s` is where it begins in its recording, in seconds of the recording from
the slice's start; before 0 and after the slice's end lie the neighbouring slices, where there are any.
"""

import math
from collections.abc import Sequence

from tarkib.audio import CLIP_SECONDS
from tarkib.mixing.material import Source


def latest_begin(source: Source, stretch: float) -> float:
    """Where a component may begin at the latest so that its recording does not end before it does."""
    return source.sounding_s[1] - stretch * CLIP_SECONDS


def begin(source: Source, stretch: float) -> float:
    """Where a component begins: with its slice, or earlier where its recording would end too soon.

    Where even all of the recording is too short the component falls silent at its end.
    """
    return max(source.sounding_s[0], min(0.0, latest_begin(source, stretch)))


def aligned(selection: Sequence[Source], stretches: Sequence[float]) -> list[float]:
    """Where each component begins so that the beats of those that have one fall together; the others as by `begin`.

    The component with the slowest beat sets it and the others begin as little off as they can. As tempi are equal
    modulo octave every slow beat meets a fast one, within what `beat_s` and the tempi are exact to.
    """
    begins = [begin(source, stretch) for source, stretch in zip(selection, stretches, strict=True)]
    with_beats = [i for i, source in enumerate(selection) if source.bpm is not None and source.beat_s is not None]
    if len(with_beats) < 2:
        return begins
    slowest = min(with_beats, key=lambda i: selection[i].bpm * stretches[i])
    beat_s = (selection[slowest].beat_s - begins[slowest]) / stretches[slowest]
    for i in with_beats:
        if i != slowest:
            begins[i] = _on_the_beat(selection[i], stretches[i], begins[i], beat_s)
    return begins


def _on_the_beat(source: Source, stretch: float, natural: float, beat_s: float) -> float:
    """Where to begin so that one of the source's beats sounds `beat_s` into the mixture, nearest to `natural`."""
    earliest, latest = source.sounding_s[0], latest_begin(source, stretch)
    period = 60.0 / source.bpm
    least = source.beat_s - stretch * beat_s
    nearest = math.floor((natural - least) / period)

    def silence(offset: float) -> float:
        return max(0.0, earliest - offset) + max(0.0, offset - latest)

    # Two steps either way: a begin that leaves no silence may lie on the far side of the nearest one.
    offsets = [least + step * period for step in range(nearest - 1, nearest + 3)]
    return min(offsets, key=lambda offset: (round(silence(offset), 6), abs(offset - natural)))
