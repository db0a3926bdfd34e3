"""Tar and setar: double courses of strings, plucked with a brass plectrum over skin, or with a fingernail over wood."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tarkib.demo.part import Stroke
from tarkib.demo.synthesis import BODY_HZ, SAMPLE_RATE, convolve, decibels, minimum_phase, resonances, ring, wrinkles

RANGES = {"tar": (131.0, 900.0), "setar": (131.0, 800.0)}
"""Lowest and highest note in Hz."""


@dataclass(frozen=True)
class Player:
    """A plucked instrument in someone's hands.

    Attributes
    ----------
    t60 : seconds in which a string at 200 Hz falls by 60 dB; `damping_hz`, where it rings half as long
    place : the point of plucking as a share of the string; `wander`, how much that varies between strokes
    bright_hz : corner of the plectrum's or nail's spectrum at full loudness
    detune : cents between the strings of a course; `crossing`, seconds that the stroke takes from one to the other
    stiffness : inharmonicity coefficient B of f_k = k f0 sqrt(1 + B k^2)
    click : loudness of the stroke's own noise on the body
    body : impulse response of the body
    """

    t60: float
    damping_hz: float
    place: float
    wander: float
    bright_hz: float
    detune: float
    crossing: float
    stiffness: float
    click: float
    body: np.ndarray


def draw_player(rng: np.random.Generator, instrument: str) -> Player:
    """A performer of tar or setar, with an instrument of their own."""
    tar = instrument == "tar"
    return Player(
        t60=rng.uniform(0.8, 1.5) if tar else rng.uniform(1.7, 3.2),
        damping_hz=rng.uniform(1800, 3200) if tar else rng.uniform(2200, 4500),
        place=rng.uniform(0.07, 0.13) if tar else rng.uniform(0.12, 0.22),
        wander=rng.uniform(0.05, 0.2),
        bright_hz=rng.uniform(2600, 5000) if tar else rng.uniform(1800, 4200),
        detune=rng.uniform(1.0, 6.0),
        crossing=rng.uniform(0.0006, 0.002) if tar else rng.uniform(0.0015, 0.004),
        stiffness=10 ** rng.uniform(-4.6, -3.9),
        click=rng.uniform(0.25, 0.7) if tar else rng.uniform(0.08, 0.35),
        body=_skin(rng) if tar else _wood(rng),
    )


def _skin(rng: np.random.Generator) -> np.ndarray:
    """A tar's double bowl under lamb's skin: broad, strong resonances from 300 Hz on, little below, a nasal hump."""
    centres = np.array([rng.uniform(290, 420), rng.uniform(520, 720), rng.uniform(950, 1350), rng.uniform(2200, 3200)])
    widths = centres * rng.uniform(0.18, 0.4, 4)
    gains = decibels(rng.uniform([6, 8, 10, 3], [10, 13, 14, 8]))
    low = 1 / (1 + (rng.uniform(200, 300) / np.maximum(BODY_HZ, 1)) ** 3)
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(3500, 6000)) ** 4)
    return minimum_phase((0.4 + resonances(BODY_HZ, centres, widths, gains)) * low * high * wrinkles(rng, 2.5))


def _wood(rng: np.random.Generator) -> np.ndarray:
    """A setar's small mulberry bowl: an air resonance, a few narrow wooden ones, thin above."""
    centres = np.array([rng.uniform(190, 270), rng.uniform(340, 470), rng.uniform(600, 850), rng.uniform(1300, 2000)])
    widths = centres * rng.uniform(0.06, 0.16, 4)
    gains = decibels(rng.uniform([7, 9, 7, 3], [11, 14, 12, 8]))
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(3000, 6000)) ** 2)
    low = 1 / (1 + (rng.uniform(110, 160) / np.maximum(BODY_HZ, 1)) ** 2)
    return minimum_phase((1 + resonances(BODY_HZ, centres, widths, gains)) * high * low * wrinkles(rng, 2.5))


def play(rng: np.random.Generator, player: Player, strokes: list[Stroke], n: int) -> np.ndarray:
    """The strokes as sound, shape (n,); a note ends where the next one takes its string."""
    strings = np.zeros(n + SAMPLE_RATE // 20)
    clicks = np.zeros(n)
    fingered = [stroke for stroke in strokes if stroke.manner != "drone"]
    until = {id(a): b.start - a.start + 0.012 for a, b in pairwise(fingered)}
    for stroke in strokes:
        start = int(stroke.start * SAMPLE_RATE)
        lasts = until.get(id(stroke), 3.0)
        if stroke.manner == "drone":
            lasts = 2.5
        # A slurred note is hammered or pulled by the left hand: softer, darker, without the plectrum's click.
        soft = 0.55 if stroke.manner == "slur" else 1.0
        _pluck(rng, player, strings, start, lasts, stroke.hz, stroke.level * soft, soft)
        if soft == 1.0 and start < n:
            length = min(int(rng.uniform(0.002, 0.006) * SAMPLE_RATE), n - start)
            burst = rng.standard_normal(length) * np.linspace(1, 0, length) ** 2
            clicks[start : start + length] += player.click * stroke.level * burst
    return convolve(strings[:n] + clicks, player.body)


def _pluck(
    rng: np.random.Generator,
    player: Player,
    out: np.ndarray,
    start: int,
    seconds: float,
    hz: float,
    level: float,
    soft: float,
) -> None:
    """Both strings of a course; ideal plucked-string amplitudes sin(pi k beta) / k under the stroke's spectrum."""
    k = np.arange(1, min(48, int(10_500 / hz)) + 1)
    partials = hz * k * np.sqrt(1 + player.stiffness * k**2)
    place = player.place * np.exp(rng.normal(0, player.wander))
    corner = player.bright_hz * (0.45 + 0.55 * level) * soft
    amplitude = np.sin(np.pi * k * place) / k / (1 + (partials / corner) ** 2)
    amplitude *= level / np.sqrt((amplitude**2).sum() + 1e-12) * np.exp(rng.normal(0, 0.15, len(k)))
    t60 = player.t60 * (200 / hz) ** 0.35 / (1 + (partials / player.damping_hz) ** 1.5)
    t60 = t60 * np.exp(rng.normal(0, 0.12, len(k)))
    detune = 2 ** (player.detune * rng.uniform(0.7, 1.3) / 1200)
    delay = player.crossing * rng.uniform(0.5, 1.5)
    both = np.concatenate([partials, partials * detune])
    # The second string speaks a little later: the same partials, turned back in phase.
    phase = np.concatenate([np.zeros(len(k)), -2 * np.pi * partials * detune * delay])
    signs = np.abs(np.concatenate([amplitude, amplitude * rng.uniform(0.6, 0.95)]))
    phase += np.pi * (np.concatenate([amplitude, amplitude]) < 0)
    ring(
        out, start, both, np.concatenate([t60, t60 * rng.uniform(0.85, 1.15)]), signs, phase, int(seconds * SAMPLE_RATE)
    )
