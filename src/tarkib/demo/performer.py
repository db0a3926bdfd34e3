"""Performers: a player of an instrument with habits of their own, who plays a tune with ornaments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tarkib.audio import SAMPLE_RATE
from tarkib.demo.drums import Drum
from tarkib.demo.melody import Note, Tune
from tarkib.demo.rhythm import Hit, drumming
from tarkib.demo.strings import Plucked, Struck
from tarkib.demo.sustained import Blown, Bowed
from tarkib.demo.synthesis import Stroke
from tarkib.demo.voice import Singer
from tarkib.vocabulary import PERCUSSION

# An instrument's player, and its lowest and highest note in Hz; a singer's are their own.
_PLAYERS: dict[str, tuple[type, float, float]] = {
    "ney": (Blown, 190.0, 1250.0),
    "tar": (Plucked, 131.0, 900.0),
    "santur": (Struck, 165.0, 1400.0),
    "kamancheh": (Bowed, 196.0, 1050.0),
    "daf": (Drum, 0.0, 0.0),
    "tonbak": (Drum, 0.0, 0.0),
    "piano": (Struck, 110.0, 1760.0),
    "violin": (Bowed, 196.0, 1400.0),
    "setar": (Plucked, 116.0, 800.0),
    "avaz": (Singer, 0.0, 0.0),
}


@dataclass(frozen=True)
class Style:
    """How an instrument ornaments a tune: probabilities, except for `roll_rate`."""

    grace: float = 0.0  # a grace note before a note
    roll: float = 0.0  # a long note rolled (riz, tremolo)
    slur: float = 0.0  # a note joined to the one before
    tahrir: float = 0.0  # a long note sung as a tahrir (rapid breaks into the head voice)
    drone: float = 0.0  # a drone or bass on a strong pulse
    octave: float = 0.0  # a note doubled at the octave below
    split: float = 0.0  # a long note struck twice
    omission: float = 0.1  # greatest probability that a short note on a weak pulse is left out
    roll_rate: tuple[float, float] = (11.0, 14.0)  # strokes a second, the range performers are drawn from


STYLES = {
    "tar": Style(grace=0.14, omission=0.7, roll=0.5, drone=0.25, split=0.35),
    "setar": Style(grace=0.18, omission=0.9, roll=0.4, drone=0.7, split=0.35),
    "santur": Style(grace=0.12, omission=0.7, roll=0.6, octave=0.15, split=0.4, roll_rate=(12.0, 16.0)),
    "piano": Style(grace=0.10, omission=0.7, roll=0.3, drone=0.6, octave=0.3, split=0.25, roll_rate=(8.0, 11.0)),
    "kamancheh": Style(grace=0.28, slur=0.55),
    "violin": Style(grace=0.25, slur=0.5),
    "ney": Style(grace=0.30, slur=0.6),
    "avaz": Style(grace=0.20, slur=0.65, tahrir=0.5),
}

_LONG = 0.42


def arrange(
    rng: np.random.Generator, tune: Tune, instrument: str, low: float, high: float, late: float = 0.0
) -> list[Stroke]:
    """The strokes with which `instrument`, whose notes lie from `low` to `high` Hz, plays `tune`, in order of time.

    `late` (seconds) is how far this player follows behind the others.
    """
    usual = STYLES[instrument]
    # Each player has probabilities of their own around the usual ones.
    habits = {key: getattr(usual, key) * rng.uniform(0.5, 1.5) for key in ("grace", "roll", "slur", "tahrir", "drone")}
    habits |= {name: getattr(usual, name) * rng.uniform(0.3, 1.7) for name in ("octave", "split")}
    rate = rng.uniform(*usual.roll_rate)
    omission = rng.uniform(0, usual.omission)
    shift = _octave(rng, tune, low, high)
    strokes: list[Stroke] = []
    for phrase in tune.phrases:
        for i, note in enumerate(phrase):
            if 0 < i < len(phrase) - 1 and note.weight < 0.75 and note.seconds < 0.6 and rng.random() < omission:
                continue
            hz = _within(_pitch(tune, instrument, note.cents) * shift, low, high)
            start = max(0.02, note.start + late + rng.normal(0, 0.005))
            near = phrase[i - 1].cents if i and phrase[i - 1].cents > note.cents else note.cents + 200
            above = _within(_pitch(tune, instrument, min(near, note.cents + 300)) * shift, low, high)
            # A strong pulse is seldom slurred over.
            joined = i > 0 and rng.random() < habits["slur"] * (0.4 if note.weight >= 0.75 else 1.0)
            strokes += _play_note(rng, habits, rate, Note(start, note.seconds, 0, note.level), hz, above, joined)
            strokes += _bass(rng, habits, instrument, tune, note, start, hz, low)
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


def _play_note(
    rng: np.random.Generator, habits: dict[str, float], rate: float, note: Note, hz: float, above: float, joined: bool
) -> list[Stroke]:
    """The strokes that play one note of the tune, with ornaments."""
    manner = "slur" if joined else "plain"
    start, seconds, level = note.start, note.seconds, note.level
    strokes = []
    if seconds > 0.2 and rng.random() < habits["grace"]:
        touch = rng.uniform(0.05, 0.085)
        strokes.append(Stroke(start, touch, above, 0.8 * level, manner))
        start, seconds, manner = start + touch, seconds - touch, "slur"
    if seconds > _LONG and rng.random() < habits["roll"]:
        count = max(3, round(seconds * rate))
        at = start + seconds * np.arange(count) / count + rng.normal(0, 0.005, count) * (np.arange(count) > 0)
        swell = 0.62 + 0.2 * np.sin(np.pi * np.arange(count) / count) + rng.normal(0, 0.05, count)
        swell[0] = 1.0
        return strokes + [
            Stroke(float(t), seconds / count, hz, float(level * s)) for t, s in zip(at, swell, strict=True)
        ]
    if seconds > _LONG and rng.random() < habits["tahrir"]:
        return strokes + _tahrir(rng, start, seconds, hz, above, level, manner)
    if seconds > 0.3 and rng.random() < habits["split"]:
        half = seconds / 2
        return [*strokes, Stroke(start, half, hz, level, manner), Stroke(start + half, half, hz, 0.75 * level)]
    return [*strokes, Stroke(start, seconds, hz, level, manner)]


def _tahrir(
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
        strokes.append(Stroke(at, 0.42 * length, high, 0.8 * level, "tahrir"))
        strokes.append(Stroke(at + 0.42 * length, 0.58 * length, hz, level, "slur"))
    return strokes


def _bass(
    rng: np.random.Generator,
    habits: dict[str, float],
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
    if strong and rng.random() < habits["drone"]:
        fifth = note.weight < 1.0 and rng.random() < 0.5
        bass = _within(_pitch(tune, instrument, 700 if fifth else 0), low * 0.99, low * 1.99)
        if instrument == "piano":
            bass /= 1 if fifth else 2
        strokes.append(Stroke(start, max(0.5, note.seconds), bass, 0.6 * note.level, "drone"))
    if note.weight >= 0.5 and hz / 2 >= low and rng.random() < habits["octave"]:
        strokes.append(Stroke(start + 0.004, note.seconds, hz / 2, 0.7 * note.level))
    return strokes


@dataclass(frozen=True)
class Performer:
    """A player of an instrument: `player` synthesises it, `low_hz` and `high_hz` are its range."""

    instrument: str
    low_hz: float
    high_hz: float
    player: Any

    def nearest_tonic(self, hz: float) -> float:
        """The tonic nearest to `hz` that this instrument can have: any, but on a piano only one of its keys."""
        if self.instrument != "piano":
            return hz
        keys = np.round(12 * np.log2(hz / self.player.reference_hz))
        return float(self.player.reference_hz * 2 ** (keys / 12))

    def draw_tonic(self, rng: np.random.Generator) -> float:
        """A random tonic in Hz from which a tune fits into the instrument's range."""
        low, high = 1.3 * self.low_hz, min(520.0, self.high_hz / 2.3)
        return self.nearest_tonic(float(np.exp(rng.uniform(np.log(low), np.log(max(high, 1.15 * low))))))


def draw_performer(rng: np.random.Generator, instrument: str) -> Performer:
    """A performer of `instrument`, one of `tarkib.vocabulary.INSTRUMENTS`."""
    kind, low, high = _PLAYERS[instrument]
    player = kind(rng, instrument)
    low, high = getattr(player, "range_hz", (low, high))
    return Performer(instrument, low, high, player)


def perform(
    rng: np.random.Generator,
    performer: Performer,
    tune: Tune,
    spans: Sequence[tuple[float, float]] | None = None,
    late: float = 0.0,
) -> np.ndarray:
    """The performer's version of `tune` as dry sound of any level, float64, shape (tune.seconds * SAMPLE_RATE,).

    With `spans` (seconds from, to) only what begins inside one of them is played; `late` is in seconds.
    """
    n = round(tune.seconds * SAMPLE_RATE)
    sounds: Sequence[Hit | Stroke]
    if performer.instrument in PERCUSSION:
        assert tune.metre is not None  # drummers play metred tunes only
        sounds = drumming(rng, tune.metre, tune.pulses + late, tune.seconds, performer.player.busy)
    else:
        sounds = arrange(rng, tune, performer.instrument, performer.low_hz, performer.high_hz, late)
    if spans is not None:
        sounds = [sound for sound in sounds if any(a <= sound.start < b for a, b in spans)]
    return performer.player.play(rng, sounds, n)
