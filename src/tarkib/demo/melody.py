"""Tunes: phrases in a dastgah, on a tonic, in a metre or free of any.

The walk through the scale is a Metropolis chain whose stationary distribution is the share of time that the radif gives
to each degree (Radif Corpus, CC BY 4.0) under a bell over the register, so that mostly stepwise motion still dwells on
the right degrees; phrases come to rest on the tonic or on the degree dwelt on most beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tarkib.demo.rhythm import Metre, draw_metre, pulse_times
from tarkib.vocabulary import SCALES

SHARES = {
    "shur": (13, 10, 19, 24, 16, 9, 8),
    "nava": (25, 8, 9, 10, 15, 12, 16),
    "segah": (14, 13, 19, 13, 10, 20, 8),
    "chahargah": (15, 11, 14, 9, 18, 20, 8),
    "homayoun": (16, 15, 11, 20, 17, 7, 9),
    "mahur": (18, 16, 12, 16, 18, 5, 6),
    "rast-panjgah": (23, 16, 9, 13, 16, 7, 7),
}
"""Percent of the time on each degree of `SCALES`; shur's fifth counts both of its forms."""

MOVING_FIFTH = {"shur": 650}
"""Dastgahs whose fifth (fifth degree of the scale) is mostly played lower: its cents then."""

_DEGREES = np.arange(-4, 11)  # counted from the tonic, between which a tune moves: about two octaves


@dataclass(frozen=True)
class Note:
    """A note of a tune."""

    start: float  # seconds
    seconds: float
    cents: float  # above the tonic
    level: float  # 0 to 1
    weight: float = 0.0  # strength of its place in the bar; 0 in free rhythm
    last: bool = False  # of its phrase

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True)
class Tune:
    """A melody and its time; all in seconds."""

    dastgah: str
    tonic_hz: float
    seconds: float
    bpm: float | None  # None, as the metre is, for a tune that is free throughout
    metre: Metre | None
    free_until: float  # before it the rhythm is free
    phrases: tuple[tuple[Note, ...], ...]
    pulses: np.ndarray  # of the metre; empty where there is none

    @property
    def notes(self) -> tuple[Note, ...]:
        return tuple(note for phrase in self.phrases for note in phrase)


def compose(
    rng: np.random.Generator, dastgah: str, tonic_hz: float, seconds: float, bpm: float | None, free_until: float = 0.0
) -> Tune:
    """A tune of `seconds`, free until `free_until`, then in a drawn metre at `bpm`; free to the end without one."""
    metre = None if bpm is None else draw_metre(rng, bpm)
    free_end = seconds if bpm is None else free_until
    phrases = _free_phrases(rng, dastgah, 0.15, free_end) if free_end > 0 else []
    pulses = np.zeros(0)
    if metre is not None and bpm is not None:
        pulses = pulse_times(rng, metre, bpm, phrases[-1][-1].end + 0.3 if phrases else 0.1, seconds)
        free_until = float(pulses[0]) if phrases else 0.0
        phrases += _metred_phrases(rng, dastgah, metre, pulses)
    audible = ([note for note in phrase if note.start < seconds - 0.15] for phrase in phrases)
    moved = tuple(tuple(_moved(dastgah, phrase)) for phrase in audible if phrase)
    return Tune(dastgah, tonic_hz, seconds, bpm, metre, free_until if metre else seconds, moved, pulses)


def cents_of(dastgah: str, degree: int) -> float:
    """Cents above the tonic of a degree counted from it, octaves and below included."""
    octave, step = divmod(degree, 7)
    return 1200.0 * octave + SCALES[dastgah][step]


def _walk(rng: np.random.Generator, dastgah: str, count: int, degree: int) -> list[int]:
    """`count` degrees from `degree` on, by Metropolis steps (proposals are symmetric, mostly to a neighbour)."""
    degrees = _DEGREES
    # Phrases end on these degrees, which adds to their share, so the walk visits them less.
    shares = np.array(SHARES[dastgah], dtype=float)
    shares[0] *= 0.5
    shares[_second_rest(dastgah)] *= 0.6
    shares = shares[degrees % 7]
    cents = np.array([cents_of(dastgah, int(d)) for d in degrees])
    bell = np.exp(-0.5 * ((cents - 480) / 480) ** 2)
    # The weight of a degree is divided among its octaves, so that its total does not depend on the register.
    weights = shares * bell / np.bincount(degrees % 7, bell)[degrees % 7]
    leaps = rng.choice(np.arange(-4, 5), p=(0.02, 0.03, 0.09, 0.31, 0.10, 0.31, 0.09, 0.03, 0.02), size=count)
    path = []
    for leap, chance in zip(leaps.tolist(), rng.random(count), strict=True):
        proposed = degree + leap
        if proposed in degrees and chance * weights[degree - degrees[0]] < weights[proposed - degrees[0]]:
            degree = proposed
        path.append(degree)
    return path


def _second_rest(dastgah: str) -> int:
    """The degree, other than the tonic, that is dwelt on most."""
    return 1 + int(np.argmax(SHARES[dastgah][1:]))


def _to_rest(rng: np.random.Generator, dastgah: str, path: list[int], home: bool) -> list[int]:
    """The path with its last notes changed to end on a tonic (always if `home`) or on the second degree of rest."""
    goal = 0 if home or rng.random() < 0.5 else _second_rest(dastgah)
    goal = min((d for d in range(-2, 9) if (d - goal) % 7 == 0), key=lambda d: abs(d - path[-1]))
    path = [*path]
    for back in range(min(len(path), 3)):
        reach = path[-1 - back] - goal
        path[-1 - back] = goal + int(np.clip(reach, -2 * back, 2 * back))
    return path


def _metred_phrases(rng: np.random.Generator, dastgah: str, metre: Metre, pulses: np.ndarray) -> list[list[Note]]:
    """Phrases of whole bars on `pulses`; rhythms, and now and then a whole phrase, come back."""
    bars = (len(pulses) - 1) // metre.pulses
    bar_seconds = float(pulses[-1] - pulses[0]) / bars
    usual = max(1, min(4, round(3.8 / bar_seconds)))
    phrases: list[list[Note]] = []
    drawn: list[tuple[list[int], list[int]]] = []
    degree, bar = 0, 0
    while bar < bars:
        count = min(usual, bars - bar)
        earlier = [story for story in drawn if sum(story[0]) == count * metre.pulses]
        if earlier and rng.random() < 0.5:
            rhythm, path = earlier[rng.integers(len(earlier))]
            if rng.random() < 0.65:
                path = _walk(rng, dastgah, len(rhythm), degree)
        else:
            bars_known = metre.melody.split()
            cells = [bars_known[i] for i in rng.integers(len(bars_known), size=min(2, count))]
            rhythm = [int(length) for i in range(count) for length in cells[i % len(cells)]]
            # The last beat or so is gathered into one long note.
            last = 0
            while last < max(2, metre.per_beat):
                last += rhythm.pop()
            rhythm.append(last)
            path = _walk(rng, dastgah, len(rhythm), degree)
        path = _to_rest(rng, dastgah, path, home=bar + count >= bars)
        drawn.append((rhythm, path))
        degree = path[-1]
        phrases.append(_on_pulses(rng, dastgah, metre, pulses[bar * metre.pulses :], rhythm, path))
        bar += count
    return phrases


def _on_pulses(
    rng: np.random.Generator, dastgah: str, metre: Metre, pulses: np.ndarray, rhythm: list[int], path: list[int]
) -> list[Note]:
    """A note of each length in `rhythm`, from the first of `pulses`, the beginning of a bar, on."""
    rests = rng.random() < 0.35
    notes: list[Note] = []
    at = 0
    for i, (length, degree) in enumerate(zip(rhythm, path, strict=True)):
        accent = metre.accents[at % metre.pulses]
        start, end = pulses[at], pulses[at + length]
        last = i == len(rhythm) - 1
        level = float(np.clip(0.5 + 0.38 * accent + rng.normal(0, 0.06), 0.3, 1.0))
        share = 0.6 if last and rests else 1.0
        notes.append(Note(float(start), float(end - start) * share, cents_of(dastgah, degree), level, accent, last))
        at += length
    return notes


def _free_phrases(rng: np.random.Generator, dastgah: str, start: float, end: float) -> list[list[Note]]:
    """Phrases without pulse: a call, quick turns, a run or two, a long rest on the goal, a breath."""
    phrases: list[list[Note]] = []
    now, degree = start, 0
    while now < end - 1.0:
        count = int(rng.integers(5, 14))
        path = _to_rest(rng, dastgah, _walk(rng, dastgah, count, degree), home=rng.random() < 0.4)
        lengths = np.exp(rng.normal(np.log(0.34), 0.55, count))
        lengths[0] *= rng.uniform(1.2, 2.8)
        if count > 7 and rng.random() < 0.6:
            run = int(rng.integers(1, count - 5))
            lengths[run : run + 4] = rng.uniform(0.09, 0.16) * np.linspace(1.15, 1, 4)
        lengths[-1] = rng.uniform(1.0, 2.4)
        arch = 0.55 + 0.35 * np.sin(np.pi * np.linspace(0.1, 0.95, count)) + rng.normal(0, 0.05, count)
        levels = arch.clip(0.3, 1.0).tolist()
        phrases.append([])
        for i, (degree, length) in enumerate(zip(path, lengths.tolist(), strict=True)):
            phrases[-1].append(Note(now, length, cents_of(dastgah, degree), levels[i], 0.0, i == count - 1))
            now += length
        now += rng.uniform(0.25, 0.9)
    return phrases


def _moved(dastgah: str, phrase: Sequence[Note]) -> list[Note]:
    """The phrase with its moving fifth lowered, except where the melody rises through it."""
    if dastgah not in MOVING_FIFTH:
        return list(phrase)
    high, low = SCALES[dastgah][4], MOVING_FIFTH[dastgah]
    notes = []
    for i, note in enumerate(phrase):
        rising = 0 < i < len(phrase) - 1 and phrase[i - 1].cents < note.cents < phrase[i + 1].cents
        lowered = note.cents % 1200 == high and not rising
        notes.append(replace(note, cents=note.cents - high + low) if lowered else note)
    return notes
