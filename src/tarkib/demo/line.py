"""The line of a sustained instrument: pitch, loudness and breaks as curves at control rate."""

from dataclasses import dataclass

import numpy as np

from tarkib.demo.part import Stroke
from tarkib.demo.synthesis import HOP, SAMPLE_RATE, controls, smooth, spread, wander

_RATE = SAMPLE_RATE / HOP


@dataclass(frozen=True)
class Manner:
    """How a player of a sustained instrument moves.

    Attributes
    ----------
    glide : seconds of the slide between two notes
    swell : seconds in which a sound rises or falls
    gap : seconds of silence before a newly attacked note
    vibrato_hz, vibrato_cents : rate and depth on long notes; `vibrato_level`, how far loudness goes along (share)
    unsteady_cents : slow random wandering of the pitch
    scoop_cents, scoop_chance : how far below, and how often, a new note is begun
    """

    glide: float
    swell: float
    gap: float
    vibrato_hz: float
    vibrato_cents: float
    vibrato_level: float
    unsteady_cents: float
    scoop_cents: float
    scoop_chance: float


@dataclass(frozen=True)
class Line:
    """Curves at control rate, shape (controls(n),) each.

    `hz` is the pitch (held through rests), `level` the loudness (0 to about 1), `attack` rises where a sound begins
    anew, `flip` is 1 in the upper notes of a tahrir.
    """

    hz: np.ndarray
    level: np.ndarray
    attack: np.ndarray
    flip: np.ndarray

    def phase(self, n: int) -> np.ndarray:
        """Cycles since the start, shape (n,)."""
        return np.cumsum(spread(self.hz, n)) / SAMPLE_RATE


def draw_line(rng: np.random.Generator, strokes: list[Stroke], n: int, manner: Manner) -> Line:
    """The curves along which `strokes` are played; one sound at a time, a later one ending an earlier."""
    count = controls(n)
    octaves = np.zeros(count)
    level, attack, flip = np.zeros(count), np.zeros(count), np.zeros(count)
    scoop, depth = np.zeros(count), np.zeros(count)
    first, octave = 0, None
    for stroke in strokes:
        a = min(count, max(first, round(stroke.start * _RATE)))
        b = min(count, round(stroke.end * _RATE))
        if b <= a:
            continue
        # A rest holds its last pitch for a moment and then waits on the next one.
        middle = a if octave is None else min(a, first + 6)
        octaves[first:middle] = octave if octave is not None else 0.0
        octave = np.log2(stroke.hz)
        octaves[middle:b] = octave
        level[first:a] = 0
        level[a:b] = stroke.level
        if stroke.manner == "plain":
            level[max(0, a - round(manner.gap * _RATE)) : a] = 0
            attack[a : a + 2] = stroke.level
            if rng.random() < manner.scoop_chance:
                reach = min(b - a, round(0.12 * _RATE))
                scoop[a : a + reach] = manner.scoop_cents * rng.uniform(0.4, 1.2) * np.linspace(1, 0, reach) ** 2
        flip[a:b] = stroke.manner == "flip"
        if b - a > 0.3 * _RATE:
            since = np.arange(b - a) / _RATE
            depth[a:b] = np.clip((since - 0.12) / 0.3, 0, 1) * rng.uniform(0.4, 1.2)
        first = b
    octaves[first:] = octave if octave is not None else 0.0
    rate = manner.vibrato_hz * (1 + 0.06 * wander(rng, count, 2.0))
    swing = smooth(depth, 0.08) * np.sin(2 * np.pi * np.cumsum(rate) / _RATE)
    cents = manner.vibrato_cents * swing + manner.unsteady_cents * wander(rng, count, 4.0) - smooth(scoop, 0.03)
    hz = 2 ** (smooth(octaves, manner.glide) + cents / 1200)
    level = smooth(level, manner.swell) * (1 + manner.vibrato_level * swing) * (1 + 0.1 * wander(rng, count, 3.0))
    return Line(hz, np.maximum(level, 0), smooth(attack, 0.03), smooth(flip, 0.025))
