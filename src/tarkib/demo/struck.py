"""Santur and piano: four-string courses under light mallets, left to ring; stiff strings under felt hammers, damped."""

from dataclasses import dataclass

import numpy as np

from tarkib.demo.part import Stroke
from tarkib.demo.synthesis import BODY_HZ, SAMPLE_RATE, convolve, decibels, minimum_phase, resonances, ring, wrinkles

RANGES = {"santur": (165.0, 1400.0), "piano": (110.0, 1760.0)}
"""Lowest and highest note in Hz."""


@dataclass(frozen=True)
class Player:
    """A struck string instrument in someone's hands.

    Attributes
    ----------
    strings : strings that a hammer strikes at once, each detuned by about `detune` cents
    t60, damping_hz : as in `tarkib.demo.plucked`; `slope`, how much sooner higher strings die away
    place : the point of striking as a share of the string
    bright_hz : corner of the mallet's spectrum at full loudness
    stiffness : inharmonicity coefficient B at 250 Hz
    knock : loudness of the mallet's noise on the soundboard
    body : impulse response of the soundboard
    release : seconds for which a string rings on after its note, or None where nothing damps it
    reference_hz : pitch of the piano's A4
    """

    strings: int
    detune: float
    t60: float
    damping_hz: float
    slope: float
    place: float
    bright_hz: float
    stiffness: float
    knock: float
    body: np.ndarray
    release: float | None
    reference_hz: float


def draw_player(rng: np.random.Generator, instrument: str) -> Player:
    """A performer of santur or piano, with an instrument of their own."""
    santur = instrument == "santur"
    return Player(
        strings=3 if santur else 2,
        detune=rng.uniform(1.5, 6.0) if santur else rng.uniform(0.4, 2.5),
        t60=rng.uniform(2.2, 4.2) if santur else rng.uniform(4.5, 9.0),
        damping_hz=rng.uniform(4000, 7500) if santur else rng.uniform(1200, 2400),
        slope=rng.uniform(0.3, 0.6) if santur else rng.uniform(0.5, 0.8),
        place=rng.uniform(0.05, 0.13) if santur else rng.uniform(0.11, 0.14),
        # Bare wood or felted mezrab.
        bright_hz=rng.uniform(3500, 9000) if santur else rng.uniform(800, 1700),
        stiffness=10 ** (rng.uniform(-4.6, -4.0) if santur else rng.uniform(-3.6, -3.2)),
        knock=rng.uniform(0.15, 0.5) if santur else rng.uniform(0.1, 0.3),
        body=_box(rng) if santur else _soundboard(rng),
        release=None if santur else rng.uniform(0.06, 0.16),
        reference_hz=440 * 2 ** (rng.uniform(-30, 30) / 1200),
    )


def _box(rng: np.random.Generator) -> np.ndarray:
    """A santur's flat walnut box: weak below 200 Hz, many middling resonances, silvery above."""
    centres = np.exp(rng.uniform(np.log(200), np.log(2500), 8))
    gains = decibels(rng.uniform(0, 7, 8))
    low = 1 / (1 + (rng.uniform(170, 260) / np.maximum(BODY_HZ, 1)) ** 2)
    return minimum_phase(
        (1 + resonances(BODY_HZ, centres, centres * rng.uniform(0.08, 0.25, 8), gains)) * low * wrinkles(rng, 2.2)
    )


def _soundboard(rng: np.random.Generator) -> np.ndarray:
    """A piano's soundboard: even, full below, gently falling above; upright or grand, near or far."""
    centres = np.exp(rng.uniform(np.log(80), np.log(900), 8))
    gains = decibels(rng.uniform(-2, 6, 8))
    tilt = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(1200, 3500)) ** 2)
    return minimum_phase(
        (1.5 + resonances(BODY_HZ, centres, centres * rng.uniform(0.1, 0.3, 8), gains)) * tilt * wrinkles(rng, 1.8)
    )


def play(rng: np.random.Generator, player: Player, strokes: list[Stroke], n: int) -> np.ndarray:
    """The strokes as sound, shape (n,)."""
    strings = np.zeros(n)
    knocks = np.zeros(n)
    for stroke in strokes:
        start = int(stroke.start * SAMPLE_RATE)
        if start >= n:
            continue
        soft = 0.7 if stroke.manner == "slur" else 1.0
        _strike(rng, player, strings, start, stroke.seconds, stroke.hz, soft * stroke.level)
        length = min(int(rng.uniform(0.004, 0.012) * SAMPLE_RATE), n - start)
        burst = rng.standard_normal(length) * np.linspace(1, 0, length) ** 2
        knocks[start : start + length] += player.knock * stroke.level * burst
    return convolve(strings + knocks, player.body)


def _strike(
    rng: np.random.Generator, player: Player, out: np.ndarray, start: int, seconds: float, hz: float, level: float
) -> None:
    """One course or key: partials under the mallet's spectrum, each string's own detuning, a quick and a slow decay."""
    k = np.arange(1, min(40, int(10_500 / hz)) + 1)
    partials = hz * k * np.sqrt(1 + player.stiffness * (hz / 250) ** 1.2 * k**2)
    corner = player.bright_hz * (0.4 + 0.6 * level)
    amplitude = np.abs(np.sin(np.pi * k * player.place * np.exp(rng.normal(0, 0.04)))) + 0.02
    amplitude = amplitude / np.sqrt(k) / (1 + (partials / corner) ** 2)
    amplitude *= level / np.sqrt((amplitude**2).sum()) * np.exp(rng.normal(0, 0.2, len(k)))
    t60 = player.t60 * (250 / hz) ** player.slope / (1 + (partials / player.damping_hz) ** 1.3)
    t60 = t60 * np.exp(rng.normal(0, 0.15, len(k)))
    # Only the lower partials are worth several strings: beats of the higher ones are lost in their short lives.
    several = np.flatnonzero(k <= 14)
    strings = [(partials, t60, amplitude)]
    for _ in range(player.strings - 1):
        detune = 2 ** (rng.normal(0, player.detune) / 1200)
        decay = t60[several] * rng.uniform(0.45, 1.1)
        strings.append((partials[several] * detune, decay, amplitude[several] * rng.uniform(0.5, 1.0)))
    hz_all, t60_all, amplitude_all = (np.concatenate(values) for values in zip(*strings, strict=True))
    phase = rng.uniform(-0.4, 0.4, len(hz_all))
    if player.release is None:
        ring(out, start, hz_all, t60_all, amplitude_all, phase, int(player.t60 * SAMPLE_RATE))
    else:
        limit = int((seconds + player.release) * SAMPLE_RATE)
        ring(out, start, hz_all, t60_all, amplitude_all, phase, limit, fade=int(player.release * SAMPLE_RATE))
