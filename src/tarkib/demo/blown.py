"""Ney: an end-blown reed, breath and all, in its registers."""

from dataclasses import dataclass

import numpy as np

from tarkib.demo.line import Manner, draw_line
from tarkib.demo.part import Stroke
from tarkib.demo.synthesis import (
    BODY_HZ,
    convolve,
    minimum_phase,
    oscillate,
    resonances,
    smooth,
    spread,
    wander,
    wavetables,
    wrinkles,
)

RANGES = {"ney": (190.0, 1000.0)}
"""Lowest and highest note in Hz."""


@dataclass(frozen=True)
class Player:
    """A ney in someone's hands.

    Attributes
    ----------
    manner : how fingers and breath move
    low, high : wavetables of the low register (octave and twelfth strong) and of the overblown ones (purer)
    turn_hz : pitch about which the one gives way to the other
    breath : loudness of the broad breath noise; `buzz`, of the noise that clings to the harmonics
    chiff : loudness of the breath's burst when a note is begun
    air : impulse response that colours the breath
    tube : impulse response of reed and microphone on everything
    """

    manner: Manner
    low: np.ndarray
    high: np.ndarray
    turn_hz: float
    breath: float
    buzz: float
    chiff: float
    air: np.ndarray
    tube: np.ndarray


def draw_player(rng: np.random.Generator, instrument: str) -> Player:
    """A performer of ney, with a reed of their own (`instrument` is "ney", the only blown one)."""
    manner = Manner(
        glide=rng.uniform(0.03, 0.07),
        swell=rng.uniform(0.06, 0.14),
        gap=rng.uniform(0.02, 0.06),
        vibrato_hz=rng.uniform(4.2, 6.0),
        vibrato_cents=rng.uniform(3, 14),
        vibrato_level=rng.uniform(0.1, 0.3),
        unsteady_cents=rng.uniform(4, 9),
        scoop_cents=rng.uniform(20, 80),
        scoop_chance=rng.uniform(0.1, 0.35),
    )
    k = np.arange(1, 25)
    scatter = np.exp(rng.normal(0, 0.3, len(k)) + 1j * rng.uniform(0, 2 * np.pi, len(k)))
    buzzing = np.exp(-(k - 1) / rng.uniform(2.4, 4.5)) * scatter
    buzzing[0] *= rng.uniform(0.3, 0.8)
    buzzing[1] *= rng.uniform(0.8, 1.5)
    buzzing[2] *= rng.uniform(0.7, 1.3)
    pure = np.exp(-(k - 1) / rng.uniform(0.7, 1.2)) * scatter
    centres = np.exp(rng.uniform(np.log(700), np.log(6000), 5))
    air = (0.4 + resonances(BODY_HZ, centres, 0.5 * centres, rng.uniform(0.4, 1.6, 5))) / (
        1 + (rng.uniform(500, 900) / np.maximum(BODY_HZ, 1)) ** 2
    )
    return Player(
        manner=manner,
        low=wavetables(buzzing / np.linalg.norm(buzzing)),
        high=wavetables(pure / np.linalg.norm(pure)),
        turn_hz=rng.uniform(380, 520),
        breath=rng.uniform(0.05, 0.20),
        buzz=rng.uniform(0.1, 0.35),
        chiff=rng.uniform(0.1, 0.5),
        air=minimum_phase(air),
        tube=minimum_phase(wrinkles(rng, 2.0) / np.sqrt(1 + (BODY_HZ / rng.uniform(3500, 7000)) ** 4)),
    )


def play(rng: np.random.Generator, player: Player, strokes: list[Stroke], n: int) -> np.ndarray:
    """The strokes as sound, shape (n,)."""
    line = draw_line(rng, strokes, n, player.manner)
    phase = line.phase(n)
    low, high = oscillate(phase, line.hz, (player.low, player.high))
    level = spread(line.level, n)
    register = 1 / (1 + np.exp(-6 * np.log2(line.hz / player.turn_hz)))
    register = spread(smooth(register, 0.04), n)
    tone = low + register * (high - low)
    # Turbulence rides on the tone: a random gain below about 100 Hz puts a skirt of noise around each harmonic.
    rough = spread(wander(rng, len(line.hz), 90.0), n)
    blow = player.breath * (0.5 + 0.5 * level) * level + player.chiff * spread(smooth(line.attack, 0.06), n)
    breath = convolve(blow * rng.standard_normal(n), player.air)
    return convolve(level * tone * (1 + player.buzz * rough) + breath, player.tube)
