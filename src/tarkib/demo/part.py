"""Parts: one instrument's own version of a tune, in its octave, with its ornaments, a little late."""

from dataclasses import dataclass

import numpy as np

from tarkib.demo.melody import Note, Tune


@dataclass(frozen=True)
class Stroke:
    """One sound to be made: seconds, frequency, loudness 0 to 1.

    `manner` is "plain"; "slur", joined to the sound before it; "flip", the upward break of a tahrir; or "drone", an
    open string left to ring.
    """

    start: float
    seconds: float
    hz: float
    level: float
    manner: str = "plain"

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True)
class Style:
    """What an instrument does with a tune.

    Attributes
    ----------
    grace, roll, slur, flip, drone, octave, split : the chance of a grace note before a note; of rolling a long note
        (riz, tremolo); of joining a note to the one before; of breaking a long note (tahrir); of a
        drone or bass on a strong pulse; of doubling at the octave below; of striking a long note twice
    roll_rate : strokes a second of a roll, the range performers are drawn from
    """

    grace: float = 0.0
    roll: float = 0.0
    slur: float = 0.0
    flip: float = 0.0
    drone: float = 0.0
    octave: float = 0.0
    split: float = 0.0
    roll_rate: tuple[float, float] = (11.0, 14.0)


STYLES = {
    "tar": Style(grace=0.14, roll=0.5, drone=0.25, split=0.35),
    "setar": Style(grace=0.18, roll=0.4, drone=0.5, split=0.35),
    "santur": Style(grace=0.12, roll=0.6, octave=0.15, split=0.4, roll_rate=(12.0, 16.0)),
    "piano": Style(grace=0.10, roll=0.3, drone=0.6, octave=0.3, split=0.25, roll_rate=(8.0, 11.0)),
    "kamancheh": Style(grace=0.28, slur=0.55),
    "violin": Style(grace=0.25, slur=0.5),
    "ney": Style(grace=0.30, slur=0.6),
    "avaz": Style(grace=0.20, slur=0.65, flip=0.5),
}

_LONG = 0.42


def arrange(
    rng: np.random.Generator, tune: Tune, instrument: str, low: float, high: float, late: float = 0.0
) -> list[Stroke]:
    """The strokes with which `instrument`, whose notes lie from `low` to `high` Hz, plays `tune`, in order of time.

    `late` (seconds) is how far this player follows behind the others.
    """
    usual = STYLES[instrument]
    # A player's own taste: each habit up to half as strong again, or as weak.
    taste = {name: getattr(usual, name) * rng.uniform(0.5, 1.5) for name in ("grace", "roll", "slur", "flip", "drone")}
    taste |= {name: getattr(usual, name) * rng.uniform(0.3, 1.7) for name in ("octave", "split")}
    rate = rng.uniform(*usual.roll_rate)
    shift = _octave(rng, tune, low, high)
    strokes: list[Stroke] = []
    for phrase in tune.phrases:
        for i, note in enumerate(phrase):
            if 0 < i < len(phrase) - 1 and note.weight < 0.5 and note.seconds < 0.3 and rng.random() < 0.08:
                continue
            hz = _within(_pitch(tune, instrument, note.cents) * shift, low, high)
            start = max(0.02, note.start + late + rng.normal(0, 0.005))
            near = phrase[i - 1].cents if i and phrase[i - 1].cents > note.cents else note.cents + 200
            above = _within(_pitch(tune, instrument, min(near, note.cents + 300)) * shift, low, high)
            # A strong pulse is seldom slurred over.
            joined = i > 0 and rng.random() < taste["slur"] * (0.4 if note.weight >= 0.75 else 1.0)
            strokes += _ornamented(rng, taste, rate, Note(start, note.seconds, 0, note.level), hz, above, joined)
            strokes += _below(rng, taste, instrument, tune, note, start, hz, low)
    return sorted(strokes, key=lambda stroke: stroke.start)


def _pitch(tune: Tune, instrument: str, cents: float) -> float:
    # A koron (a quarter tone flat) becomes a flat on a piano, as its players tune or choose it.
    if instrument == "piano":
        cents = 100 * np.ceil(cents / 100 - 0.5)
    return tune.tonic_hz * 2 ** (cents / 1200)


def _octave(rng: np.random.Generator, tune: Tune, low: float, high: float) -> float:
    """The octave in which most of the tune lies in range; of equally good ones, any."""
    pitches = tune.tonic_hz * 2 ** (np.array([note.cents for note in tune.notes] or [0.0]) / 1200)
    shifts = 2.0 ** np.arange(-2, 3)
    fits = np.array([np.mean((pitches * s >= low) & (pitches * s <= high)) for s in shifts])
    return float(rng.choice(shifts[fits >= fits.max() - 0.15]))


def _within(hz: float, low: float, high: float) -> float:
    while hz < low:
        hz *= 2
    while hz > high:
        hz /= 2
    return float(hz)


def _ornamented(
    rng: np.random.Generator, taste: dict[str, float], rate: float, note: Note, hz: float, above: float, joined: bool
) -> list[Stroke]:
    """One note of the tune as it is played."""
    manner = "slur" if joined else "plain"
    start, seconds, level = note.start, note.seconds, note.level
    strokes = []
    if seconds > 0.2 and rng.random() < taste["grace"]:
        touch = rng.uniform(0.05, 0.085)
        strokes.append(Stroke(start, touch, above, 0.8 * level, manner))
        start, seconds, manner = start + touch, seconds - touch, "slur"
    if seconds > _LONG and rng.random() < taste["roll"]:
        count = max(3, round(seconds * rate))
        at = start + seconds * np.arange(count) / count + rng.normal(0, 0.005, count) * (np.arange(count) > 0)
        swell = 0.62 + 0.2 * np.sin(np.pi * np.arange(count) / count) + rng.normal(0, 0.05, count)
        swell[0] = 1.0
        return strokes + [
            Stroke(float(t), seconds / count, hz, float(level * s)) for t, s in zip(at, swell, strict=True)
        ]
    if seconds > _LONG and rng.random() < taste["flip"]:
        return strokes + _broken(rng, start, seconds, hz, above, level, manner)
    if seconds > 0.3 and rng.random() < taste["split"]:
        half = seconds / 2
        return [
            *strokes,
            Stroke(start, half, hz, level, manner),
            Stroke(start + half, half, hz, 0.75 * level),
        ]
    return [*strokes, Stroke(start, seconds, hz, level, manner)]


def _broken(
    rng: np.random.Generator, start: float, seconds: float, hz: float, above: float, level: float, manner: str
) -> list[Stroke]:
    """A tahrir: after a held beginning the voice breaks upward and back, five to seven times a second."""
    held = min(seconds * rng.uniform(0.2, 0.5), 0.8)
    strokes = [Stroke(start, held, hz, level, manner)]
    turns = max(1, round((seconds - held) * rng.uniform(4.5, 6.5)))
    length = (seconds - held) / turns
    high = max(above, hz * 2 ** (rng.uniform(180, 320) / 1200))
    for i in range(turns):
        at = start + held + i * length
        strokes.append(Stroke(at, 0.42 * length, high, 0.8 * level, "flip"))
        strokes.append(Stroke(at + 0.42 * length, 0.58 * length, hz, level, "slur"))
    return strokes


def _below(
    rng: np.random.Generator,
    taste: dict[str, float],
    instrument: str,
    tune: Tune,
    note: Note,
    start: float,
    hz: float,
    low: float,
) -> list[Stroke]:
    """Drones, a piano's left hand, and doublings at the octave below."""
    strokes = []
    strong = note.weight >= 0.75 or (tune.metre is None and note.last)
    if strong and rng.random() < taste["drone"]:
        fifth = note.weight < 1.0 and rng.random() < 0.5
        bass = _within(_pitch(tune, instrument, 700 if fifth else 0), low * 0.99, low * 1.99)
        if instrument == "piano":
            bass /= 1 if fifth else 2
        strokes.append(Stroke(start, max(0.5, note.seconds), bass, 0.6 * note.level, "drone"))
    if note.weight >= 0.5 and hz / 2 >= low and rng.random() < taste["octave"]:
        strokes.append(Stroke(start + 0.004, note.seconds, hz / 2, 0.7 * note.level))
    return strokes
