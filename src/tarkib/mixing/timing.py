"""When components play: where each begins in its recording, and beats that coincide.

A component lasts `CLIP_SECONDS` in the mixture and plays its recording `stretch` times as fast, so it uses
``stretch * CLIP_SECONDS`` of it. Its `offset_s` is where it begins, in seconds of the recording from the slice's start;
before 0 and after the slice's end are the neighbouring slices, if there are any.
"""

import math
from collections.abc import Sequence

from tarkib.audio import CLIP_SECONDS
from tarkib.mixing.material import Source


def latest_begin(source: Source, stretch: float) -> float:
    """Latest begin of a component whose recording does not end before it does."""
    return source.sounding_s[1] - stretch * CLIP_SECONDS


def begin(source: Source, stretch: float) -> float:
    """Where a component begins: with its slice, or earlier if its recording would end too soon.

    If all of the recording is too short, the component falls silent at its end.
    """
    return max(source.sounding_s[0], min(0.0, latest_begin(source, stretch)))


def aligned(selection: Sequence[Source], stretches: Sequence[float]) -> list[float]:
    """Where each component begins so that beats coincide; without a known beat, as by `begin`.

    The beats of the slowest component stay where they are and the others move as little as they can. Tempi are equal
    modulo octave, so every slow beat meets a fast one, as exactly as `beat_s` and the tempi are.
    """
    begins = [begin(source, stretch) for source, stretch in zip(selection, stretches, strict=True)]
    beats = [
        (i, source.bpm, source.beat_s)
        for i, source in enumerate(selection)
        if source.bpm is not None and source.beat_s is not None
    ]
    if len(beats) < 2:
        return begins
    # Rounded, since the tempi are equal modulo octave: the first of the slowest counts.
    slowest, _, slowest_beat_s = min(beats, key=lambda beat: round(beat[1] * stretches[beat[0]], 2))
    sounds_at_s = (slowest_beat_s - begins[slowest]) / stretches[slowest]
    for i, bpm, beat_s in beats:
        if i != slowest:
            on_the_beat = beat_s - stretches[i] * sounds_at_s
            begins[i] = _nearest(selection[i], stretches[i], begins[i], on_the_beat, 60.0 / bpm)
    return begins


def _nearest(source: Source, stretch: float, natural: float, on_the_beat: float, period: float) -> float:
    """The begin nearest to `natural`, of those whole periods from `on_the_beat`, that loses the least sound."""
    earliest, latest = source.sounding_s[0], latest_begin(source, stretch)

    def silence(offset: float) -> float:
        return max(0.0, earliest - offset) + max(0.0, offset - latest)

    # Two steps either way: a begin that leaves no silence may lie on the far side of the nearest one.
    steps = math.floor((natural - on_the_beat) / period)
    offsets = [on_the_beat + step * period for step in range(steps - 1, steps + 3)]
    return min(offsets, key=lambda offset: (round(silence(offset), 6), round(abs(offset - natural), 6)))
