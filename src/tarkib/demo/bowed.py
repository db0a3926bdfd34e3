"""Kamancheh and violin: a bow's sawtooth and its noise, through a skin or a wooden box."""

from dataclasses import dataclass

import numpy as np

from tarkib.demo.line import Manner, draw_line
from tarkib.demo.part import Stroke
from tarkib.demo.synthesis import (
    BODY_HZ,
    convolve,
    decibels,
    minimum_phase,
    oscillate,
    resonances,
    smooth,
    spread,
    wander,
    wavetables,
    wrinkles,
)

RANGES = {"kamancheh": (196.0, 1050.0), "violin": (196.0, 1400.0)}
"""Lowest and highest note in Hz."""


@dataclass(frozen=True)
class Player:
    """A bowed instrument in someone's hands.

    Attributes
    ----------
    manner : how the left hand and the bow move
    soft, loud : wavetables of the string under a light and a heavy bow
    noise : loudness of the bow's noise beside the string
    scratch : loudness of the noise at a change of bow
    grain : how much of the noise comes in bursts, once a period, when the string slips
    body : impulse response of the body
    """

    manner: Manner
    soft: np.ndarray
    loud: np.ndarray
    noise: float
    scratch: float
    grain: float
    body: np.ndarray


def draw_player(rng: np.random.Generator, instrument: str) -> Player:
    """A performer of kamancheh or violin, with an instrument of their own."""
    kamancheh = instrument == "kamancheh"
    manner = Manner(
        glide=rng.uniform(0.05, 0.11) if kamancheh else rng.uniform(0.03, 0.07),
        swell=rng.uniform(0.035, 0.08),
        gap=rng.uniform(0.02, 0.045),
        vibrato_hz=rng.uniform(4.6, 6.2) if kamancheh else rng.uniform(5.2, 6.8),
        vibrato_cents=rng.uniform(8, 30) if kamancheh else rng.uniform(14, 36),
        vibrato_level=rng.uniform(0.02, 0.12),
        unsteady_cents=rng.uniform(3, 8),
        scoop_cents=rng.uniform(40, 110) if kamancheh else rng.uniform(20, 60),
        scoop_chance=rng.uniform(0.1, 0.4),
    )
    k = np.arange(1, 61)
    # Bowing at 1/m of the string leaves every m-th harmonic weak.
    place = 0.25 + 0.75 * np.abs(np.sin(np.pi * k * rng.uniform(0.07, 0.15)))
    harmonics = -1j * place / k * np.exp(1j * rng.normal(0, 0.25, len(k)))
    corner = rng.uniform(16, 26) if kamancheh else rng.uniform(12, 22)
    return Player(
        manner=manner,
        soft=wavetables(harmonics * np.exp(-k / (0.35 * corner))),
        loud=wavetables(harmonics * np.exp(-k / corner)),
        noise=rng.uniform(0.04, 0.12) if kamancheh else rng.uniform(0.015, 0.06),
        scratch=rng.uniform(0.1, 0.4),
        grain=rng.uniform(0.4, 0.9),
        body=_skin(rng) if kamancheh else _box(rng),
    )


def _skin(rng: np.random.Generator) -> np.ndarray:
    """A kamancheh's small bowl under skin: nasal, little below 300 Hz, humps near 500, 1100 and 2300 Hz."""
    centres = np.array(
        [rng.uniform(380, 560), rng.uniform(850, 1250), rng.uniform(1500, 1900), rng.uniform(2200, 3300)]
    )
    widths = centres * rng.uniform(0.12, 0.3, 4)
    gains = decibels(rng.uniform([7, 11, 4, 5], [11, 15, 9, 10]))
    low = 1 / (1 + (rng.uniform(260, 360) / np.maximum(BODY_HZ, 1)) ** 2.5)
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(3000, 4500)) ** 4)
    return minimum_phase((0.35 + resonances(BODY_HZ, centres, widths, gains)) * low * high * wrinkles(rng, 3.0))


def _box(rng: np.random.Generator) -> np.ndarray:
    """A violin: air near 275 Hz, two wood modes near 450 and 550 Hz, a dip, the bridge's hill around 2.5 kHz."""
    centres = np.array([rng.uniform(262, 290), rng.uniform(420, 475), rng.uniform(510, 590), rng.uniform(2000, 3000)])
    widths = centres * np.array([0.09, 0.07, 0.07, 0.5]) * rng.uniform(0.8, 1.5, 4)
    gains = decibels(rng.uniform([7, 8, 8, 9], [11, 12, 12, 13]))
    low = 1 / (1 + (180 / np.maximum(BODY_HZ, 1)) ** 3)
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(4500, 7500)) ** 4)
    return minimum_phase((1 + resonances(BODY_HZ, centres, widths, gains)) * low * high * wrinkles(rng, 2.5))


def play(rng: np.random.Generator, player: Player, strokes: list[Stroke], n: int) -> np.ndarray:
    """The strokes as sound, shape (n,)."""
    line = draw_line(rng, strokes, n, player.manner)
    phase = line.phase(n)
    soft, loud = oscillate(phase, line.hz, (player.soft, player.loud))
    level = spread(line.level, n)
    press = np.clip(level, 0, 1)
    string = soft + press * (loud - soft)
    # No bow is steady: its pressure trembles faster than a hand can mean to.
    tremble = spread(1 + 0.07 * wander(rng, len(line.level), 40.0), n)
    slip = 1 - player.grain + player.grain * 2 * (phase - np.floor(phase))
    bow = rng.standard_normal(n) * slip
    hiss = player.noise * level + player.scratch * player.noise * 4 * spread(smooth(line.attack, 0.05), n)
    return convolve(level * tremble * string + hiss * bow, player.body)
