"""Tar and setar, plucked; santur and piano, struck."""

from itertools import pairwise

import numpy as np

from tarkib.demo.synthesis import (
    BODY_HZ,
    SAMPLE_RATE,
    Stroke,
    convolve,
    minimum_phase,
    resonances,
    ring,
    ripple,
    to_gain,
)


class Plucked:
    """A tar or setar: double courses of strings, under a brass plectrum over skin or a fingernail over wood."""

    def __init__(self, rng: np.random.Generator, instrument: str) -> None:
        tar = instrument == "tar"
        self.t60 = rng.uniform(0.9, 2.0) if tar else rng.uniform(1.7, 4.5)  # seconds, of a string at 200 Hz
        self.damping_hz = rng.uniform(1800, 4500) if tar else rng.uniform(3000, 10_000)  # rings half as long
        self.place = rng.uniform(0.07, 0.13) if tar else rng.uniform(0.12, 0.22)  # of plucking, share of the string
        self.wander = rng.uniform(0.05, 0.2)  # how much that varies between strokes
        self.bright_hz = rng.uniform(4000, 11_000) if tar else rng.uniform(4500, 15_000)  # of the loudest stroke
        self.detune = rng.uniform(1.0, 6.0)  # cents between the strings of a course
        self.crossing = rng.uniform(0.0006, 0.002) if tar else rng.uniform(0.0015, 0.004)  # seconds from one to another
        self.stiffness = 10 ** rng.uniform(-4.6, -3.9)  # B of f_k = k f0 sqrt(1 + B k^2)
        self.click = rng.uniform(0.25, 0.9) if tar else rng.uniform(0.15, 0.8)  # the stroke's noise on the body
        self.body = _skin(rng) if tar else _wood(rng)

    def play(self, rng: np.random.Generator, strokes: list[Stroke], n: int) -> np.ndarray:
        """The strokes as sound, shape (n,); a note ends where the next one takes its string."""
        strings, clicks = np.zeros(n + SAMPLE_RATE // 20), np.zeros(n)
        fingered = [stroke for stroke in strokes if stroke.manner != "drone"]
        until = {id(a): b.start - a.start + 0.012 for a, b in pairwise(fingered)}
        for stroke in strokes:
            start = int(stroke.start * SAMPLE_RATE)
            lasts = 2.5 if stroke.manner == "drone" else until.get(id(stroke), 3.0)
            # A slurred note is hammered or pulled by the left hand: softer, darker, without the plectrum's click.
            soft = 0.55 if stroke.manner == "slur" else 1.0
            self._pluck(rng, strings, start, lasts, stroke.hz, stroke.level * soft, soft)
            if soft == 1.0 and start < n:
                _knock(rng, clicks, start, (0.002, 0.006), self.click * stroke.level)
        return convolve(strings[:n] + clicks, self.body)

    def _pluck(
        self, rng: np.random.Generator, out: np.ndarray, at: int, seconds: float, hz: float, level: float, soft: float
    ) -> None:
        """Both strings of a course; ideal plucked-string amplitudes sin(pi k beta) / k under the stroke's spectrum."""
        k = np.arange(1, min(56, int(10_500 / hz)) + 1)
        partials = hz * k * np.sqrt(1 + self.stiffness * k**2)
        place = self.place * np.exp(rng.normal(0, self.wander))
        corner = self.bright_hz * (0.45 + 0.55 * level) * soft
        amplitude = np.sin(np.pi * k * place) / k / np.sqrt(1 + (partials / corner) ** 2)
        amplitude *= level / np.sqrt((amplitude**2).sum() + 1e-12) * np.exp(rng.normal(0, 0.15, len(k)))
        t60 = self.t60 * (200 / hz) ** 0.35 / (1 + (partials / self.damping_hz) ** 1.5)
        t60 = t60 * np.exp(rng.normal(0, 0.12, len(k)))
        detune = 2 ** (self.detune * rng.uniform(0.7, 1.3) / 1200)
        delay = self.crossing * rng.uniform(0.5, 1.5)
        both = np.concatenate([partials, partials * detune])
        # The second string speaks a little later: the same partials, turned back in phase.
        phase = np.concatenate([np.zeros(len(k)), -2 * np.pi * partials * detune * delay])
        signs = np.abs(np.concatenate([amplitude, amplitude * rng.uniform(0.6, 0.95)]))
        phase += np.pi * (np.concatenate([amplitude, amplitude]) < 0)
        t60 = np.concatenate([t60, t60 * rng.uniform(0.85, 1.15)])
        ring(out, at, both, t60, signs, phase, int(seconds * SAMPLE_RATE))


def _knock(rng: np.random.Generator, out: np.ndarray, start: int, seconds: tuple[float, float], level: float) -> None:
    """The short noise of a plectrum or mallet on the body, added to `out` in place."""
    length = min(int(rng.uniform(*seconds) * SAMPLE_RATE), len(out) - start)
    out[start : start + length] += level * (rng.standard_normal(length) * np.linspace(1, 0, length) ** 2)


def _skin(rng: np.random.Generator) -> np.ndarray:
    """A tar's double bowl under lamb's skin: broad, strong resonances from 300 Hz on, little below, a nasal hump."""
    centres = rng.uniform([290, 520, 950, 2200], [420, 720, 1350, 3200])
    widths = centres * rng.uniform(0.18, 0.4, 4)
    gains = to_gain(rng.uniform([6, 8, 10, 3], [10, 13, 14, 8]))
    low = 1 / (1 + (rng.uniform(200, 300) / np.maximum(BODY_HZ, 1)) ** 3)
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(3500, 8000)) ** 2)
    membrane = to_gain(rng.uniform(-8, 5))  # what the skin radiates between and above its resonances
    return minimum_phase((membrane + resonances(BODY_HZ, centres, widths, gains)) * low * high * ripple(rng, 2.5))


def _wood(rng: np.random.Generator) -> np.ndarray:
    """A setar's small mulberry bowl: an air resonance, a few narrow wooden ones, much above them."""
    centres = rng.uniform([190, 340, 600, 1300], [270, 470, 850, 2000])
    widths = centres * rng.uniform(0.06, 0.16, 4)
    gains = to_gain(rng.uniform([8, 6, 5, 3], [15, 13, 12, 9]))
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(5000, 16_000)) ** 2)
    low = 1 / (1 + (rng.uniform(80, 150) / np.maximum(BODY_HZ, 1)) ** 2)
    board = to_gain(rng.uniform(4, 20))  # what the board radiates between and above its resonances
    return minimum_phase((board + resonances(BODY_HZ, centres, widths, gains)) * high * low * ripple(rng, 2.5))


class Struck:
    """A santur, courses under light mallets left to ring, or a piano, stiff strings under felt hammers, damped."""

    def __init__(self, rng: np.random.Generator, instrument: str) -> None:
        santur = instrument == "santur"
        self.strings = 3 if santur else 2  # that a hammer strikes at once
        self.detune = rng.uniform(1.5, 6.0) if santur else rng.uniform(0.4, 2.5)  # cents between them
        self.t60 = rng.uniform(2.5, 8.0) if santur else rng.uniform(4.5, 9.0)  # seconds, of a string at 250 Hz
        self.damping_hz = rng.uniform(1800, 6500) if santur else rng.uniform(1200, 4000)  # rings half as long
        self.slope = rng.uniform(0.3, 0.6) if santur else rng.uniform(0.5, 0.8)  # how much sooner higher strings die
        self.place = rng.uniform(0.05, 0.2) if santur else rng.uniform(0.11, 0.14)  # of striking, share of the string
        # Bare mallets are bright, those with felt on them nearly as soft as a piano's hammers.
        bright_hz = (1500, 9000) if santur else (1000, 4500)
        self.bright_hz = np.exp(rng.uniform(*np.log(bright_hz)))  # of the mallet, at its loudest
        self.fall = rng.uniform(0.4, 1.1) if santur else 0.5  # of the higher partials, a power of their number
        self.stiffness = 10 ** (rng.uniform(-4.6, -4.0) if santur else rng.uniform(-3.6, -3.2))  # B at 250 Hz
        self.thump = 10 ** (rng.uniform(-0.5, 1.3) if santur else rng.uniform(-1.5, -0.3))  # the soundboard's, under it
        self.contact = rng.uniform(0.0008, 0.003)  # seconds that the mallet's blow lasts
        self.knock = rng.uniform(0.15, 0.5) if santur else rng.uniform(0.1, 0.3)  # mallet's noise on the soundboard
        self.body = _walnut(rng) if santur else _soundboard(rng)
        self.release = None if santur else rng.uniform(0.06, 0.16)  # seconds after a note; None: nothing damps it
        self.reference_hz = 440 * 2 ** (rng.uniform(-30, 30) / 1200)  # the piano's A4

    def play(self, rng: np.random.Generator, strokes: list[Stroke], n: int) -> np.ndarray:
        """The strokes as sound, shape (n,)."""
        strings, knocks = np.zeros(n), np.zeros(n)
        for stroke in strokes:
            start = int(stroke.start * SAMPLE_RATE)
            if start < n:
                soft = 0.7 if stroke.manner == "slur" else 1.0
                self._strike(rng, strings, start, stroke.seconds, stroke.hz, soft * stroke.level)
                _knock(rng, knocks, start, (0.004, 0.012), self.knock * stroke.level)
                self._thump(rng, knocks, start, soft * stroke.level)
        return convolve(strings + knocks, self.body)

    def _thump(self, rng: np.random.Generator, out: np.ndarray, start: int, level: float) -> None:
        """The blow's push on the soundboard, half a sine, which the body makes a short low tone of; in place."""
        length = min(max(2, int(self.contact * rng.uniform(0.8, 1.25) * SAMPLE_RATE)), len(out) - start)
        pulse = np.sin(np.pi * (np.arange(length) + 0.5) / length)
        out[start : start + length] += self.thump * level * pulse

    def _strike(
        self, rng: np.random.Generator, out: np.ndarray, start: int, seconds: float, hz: float, level: float
    ) -> None:
        """One course or key: partials under the mallet's spectrum, each string's detuning, quick and slow decays."""
        k = np.arange(1, min(40, int(10_500 / hz)) + 1)
        partials = hz * k * np.sqrt(1 + self.stiffness * (hz / 250) ** 1.2 * k**2)
        corner = self.bright_hz * (0.4 + 0.6 * level)
        amplitude = np.abs(np.sin(np.pi * k * self.place * np.exp(rng.normal(0, 0.04)))) + 0.02
        amplitude = amplitude / k**self.fall / (1 + (partials / corner) ** 2)
        amplitude *= level / np.sqrt((amplitude**2).sum()) * np.exp(rng.normal(0, 0.2, len(k)))
        t60 = self.t60 * (250 / hz) ** self.slope / (1 + (partials / self.damping_hz) ** 1.3)
        t60 = t60 * np.exp(rng.normal(0, 0.15, len(k)))
        # Only the lower partials are worth several strings: beats of the higher ones are lost in their short lives.
        several = np.flatnonzero(k <= 14)
        strings = [(partials, t60, amplitude)]
        for _ in range(self.strings - 1):
            detune = 2 ** (rng.normal(0, self.detune) / 1200)
            decay = t60[several] * rng.uniform(0.45, 1.1)
            strings.append((partials[several] * detune, decay, amplitude[several] * rng.uniform(0.5, 1.0)))
        partials, t60, amplitude = (np.concatenate(values) for values in zip(*strings, strict=True))
        phase = rng.uniform(-0.4, 0.4, len(partials))
        # Undamped strings ring on longer, but other strokes soon cover them, and a long note takes long to make.
        fade, lasts = SAMPLE_RATE // 2, min(self.t60, 2.6)
        if self.release is not None:
            fade, lasts = int(self.release * SAMPLE_RATE), seconds + self.release
        ring(out, start, partials, t60, amplitude, phase, int(lasts * SAMPLE_RATE), fade)


def _walnut(rng: np.random.Generator) -> np.ndarray:
    """A santur's flat walnut box: weak below 200 Hz, many middling resonances, silvery above."""
    centres = np.exp(rng.uniform(np.log(200), np.log(2500), 8))
    gains = to_gain(rng.uniform(0, 7, 8))
    low = 1 / (1 + (rng.uniform(90, 240) / np.maximum(BODY_HZ, 1)) ** 2)
    high = 1 / np.sqrt(1 + (BODY_HZ / np.exp(rng.uniform(np.log(2000), np.log(14_000)))) ** 2)
    peaks = resonances(BODY_HZ, centres, centres * rng.uniform(0.05, 0.2, 8), gains)
    return minimum_phase((1 + peaks) * low * high * ripple(rng, 2.2))


def _soundboard(rng: np.random.Generator) -> np.ndarray:
    """A piano's soundboard: even, full below, gently falling above; upright or grand, near or far."""
    centres = np.exp(rng.uniform(np.log(80), np.log(900), 8))
    gains = to_gain(rng.uniform(-2, 6, 8))
    tilt = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(1500, 6000)) ** 2)
    peaks = resonances(BODY_HZ, centres, centres * rng.uniform(0.1, 0.3, 8), gains)
    return minimum_phase((1.5 + peaks) * tilt * ripple(rng, 1.8))
