"""Kamancheh, violin and ney: pitch and loudness curves of a melody, and the bowed or blown sound along them."""

from dataclasses import dataclass

import numpy as np

from tarkib.demo.synthesis import (
    BODY_HZ,
    HOP,
    SAMPLE_RATE,
    Stroke,
    control_points,
    convolve,
    minimum_phase,
    oscillate,
    resonances,
    ripple,
    slow_noise,
    smooth,
    to_gain,
    upsampled,
    wavetables,
)

_RATE = SAMPLE_RATE / HOP


@dataclass(frozen=True)
class Manner:
    """How a player of a sustained instrument moves; times in seconds."""

    glide: float  # between two notes
    swell: float  # in which a sound rises or falls
    gap: float  # of silence before a newly attacked note
    vibrato_hz: float  # on long notes, as are the next two
    vibrato_cents: float
    vibrato_level: float  # how far loudness goes along (share)
    unsteady_cents: float  # slow random wandering of the pitch
    scoop_cents: float  # how far below, and how often, a new note is begun
    scoop_chance: float


@dataclass(frozen=True)
class Line:
    """Curves at control rate, shape (control_points(n),) each."""

    hz: np.ndarray  # held through rests
    level: np.ndarray  # 0 to about 1
    attack: np.ndarray  # rises where a sound begins anew
    tahrir: np.ndarray  # 1 in the upper notes of a tahrir

    def phase(self, n: int) -> np.ndarray:
        """Cycles since the start, shape (n,)."""
        return np.cumsum(upsampled(self.hz, n)) / SAMPLE_RATE


def draw_line(rng: np.random.Generator, strokes: list[Stroke], n: int, manner: Manner) -> Line:
    """The curves along which `strokes` are played; one sound at a time, a later one ending an earlier."""
    count = control_points(n)
    octaves, level, attack, tahrir, scoop, depth = np.zeros((6, count))
    first, octave = 0, 0.0
    for stroke in strokes:
        a = min(count, max(first, round(stroke.start * _RATE)))
        b = min(count, round(stroke.end * _RATE))
        if b <= a:
            continue
        # A rest holds its last pitch for a moment and then waits on the next one.
        middle = min(a, first + 6) if octave else a
        octaves[first:middle] = octave
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
        tahrir[a:b] = stroke.manner == "tahrir"
        if b - a > 0.3 * _RATE:
            since = np.arange(b - a) / _RATE
            depth[a:b] = np.clip((since - 0.12) / 0.3, 0, 1) * rng.uniform(0.4, 1.2)
        first = b
    octaves[first:] = octave
    rate = manner.vibrato_hz * (1 + 0.06 * slow_noise(rng, count, 2.0))
    swing = smooth(depth, 0.08) * np.sin(2 * np.pi * np.cumsum(rate) / _RATE)
    cents = manner.vibrato_cents * swing + manner.unsteady_cents * slow_noise(rng, count, 4.0) - smooth(scoop, 0.03)
    hz = 2 ** (smooth(octaves, manner.glide) + cents / 1200)
    level = smooth(level, manner.swell) * (1 + manner.vibrato_level * swing) * (1 + 0.1 * slow_noise(rng, count, 3.0))
    return Line(hz, np.maximum(level, 0), smooth(attack, 0.03), smooth(tahrir, 0.025))


class Bowed:
    """A kamancheh or violin in someone's hands: a bow's sawtooth and its noise, through a skin or a wooden box."""

    def __init__(self, rng: np.random.Generator, instrument: str) -> None:
        kamancheh = instrument == "kamancheh"
        self.manner = Manner(
            glide=rng.uniform(0.05, 0.11) if kamancheh else rng.uniform(0.03, 0.07),
            swell=rng.uniform(0.035, 0.08),
            gap=rng.uniform(0.02, 0.045),
            vibrato_hz=rng.uniform(4.6, 6.2) if kamancheh else rng.uniform(5.2, 6.8),
            vibrato_cents=rng.uniform(8, 30) if kamancheh else rng.uniform(3, 36),
            vibrato_level=rng.uniform(0.02, 0.12),
            unsteady_cents=rng.uniform(3, 8),
            scoop_cents=rng.uniform(40, 110) if kamancheh else rng.uniform(20, 60),
            scoop_chance=rng.uniform(0.1, 0.4),
        )
        k = np.arange(1, 61)
        # Bowing at 1/m of the string leaves every m-th harmonic weak.
        place = 0.25 + 0.75 * np.abs(np.sin(np.pi * k * rng.uniform(0.07, 0.15)))
        harmonics = -1j * place / k * np.exp(1j * rng.normal(0, 0.25, len(k)))
        corner = rng.uniform(14, 26) if kamancheh else rng.uniform(5, 22)
        # The string under a light and a heavy bow.
        self.soft = wavetables(harmonics * np.exp(-k / (0.35 * corner)))
        self.loud = wavetables(harmonics * np.exp(-k / corner))
        self.noise = rng.uniform(0.04, 0.12) if kamancheh else rng.uniform(0.015, 0.06)  # of the bow
        self.scratch = rng.uniform(0.1, 0.4)  # noise at a change of bow
        self.grain = rng.uniform(0.4, 0.9)  # share of the noise in bursts, once a period, when the string slips
        self.body = _skin(rng) if kamancheh else _box(rng)

    def play(self, rng: np.random.Generator, strokes: list[Stroke], n: int) -> np.ndarray:
        """The strokes as sound, shape (n,)."""
        line = draw_line(rng, strokes, n, self.manner)
        phase = line.phase(n)
        soft, loud = oscillate(phase, line.hz, (self.soft, self.loud))
        level = upsampled(line.level, n)
        string = soft + np.clip(level, 0, 1) * (loud - soft)
        # No bow is steady: its pressure trembles faster than a hand can mean to.
        tremble = upsampled(1 + 0.07 * slow_noise(rng, len(line.level), 40.0), n)
        slip = 1 - self.grain + self.grain * 2 * (phase - np.floor(phase))
        bow = rng.standard_normal(n) * slip
        hiss = self.noise * level + self.scratch * self.noise * 4 * upsampled(smooth(line.attack, 0.05), n)
        return convolve(level * tremble * string + hiss * bow, self.body)


def _skin(rng: np.random.Generator) -> np.ndarray:
    """A kamancheh's small bowl under skin: nasal, little below 300 Hz, humps near 500, 1100 and 2300 Hz."""
    centres = rng.uniform([380, 850, 1500, 2200], [560, 1250, 1900, 3300])
    widths = centres * rng.uniform(0.12, 0.3, 4)
    gains = to_gain(rng.uniform([7, 11, 4, 5], [11, 15, 9, 10]))
    low = 1 / (1 + (rng.uniform(260, 360) / np.maximum(BODY_HZ, 1)) ** 2.5)
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(3000, 4500)) ** 4)
    return minimum_phase((0.35 + resonances(BODY_HZ, centres, widths, gains)) * low * high * ripple(rng, 3.0))


def _box(rng: np.random.Generator) -> np.ndarray:
    """A violin: air near 275 Hz, two wood modes near 450 and 550 Hz, a dip, the bridge's hill around 2.5 kHz."""
    centres = rng.uniform([262, 420, 510, 2000], [290, 475, 590, 3000])
    widths = centres * np.array([0.09, 0.07, 0.07, 0.5]) * rng.uniform(0.8, 1.5, 4)
    gains = to_gain(rng.uniform([7, 8, 8, 9], [11, 12, 12, 13]))
    low = 1 / (1 + (180 / np.maximum(BODY_HZ, 1)) ** 3)
    high = 1 / np.sqrt(1 + (BODY_HZ / rng.uniform(4500, 7500)) ** 4)
    return minimum_phase((1 + resonances(BODY_HZ, centres, widths, gains)) * low * high * ripple(rng, 2.5))


class Blown:
    """A ney, an end-blown reed, in someone's hands: its registers, breath and all."""

    def __init__(self, rng: np.random.Generator, instrument: str) -> None:
        self.manner = Manner(
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
        # The low register, octave and twelfth strong, and the overblown ones, purer.
        buzzing = np.exp(-(k - 1) / rng.uniform(2.4, 4.5)) * scatter
        buzzing[:3] *= rng.uniform([0.3, 0.8, 0.7], [0.8, 1.5, 1.3])
        pure = np.exp(-(k - 1) / rng.uniform(0.7, 1.2)) * scatter
        self.low = wavetables(buzzing / np.linalg.norm(buzzing))
        self.high = wavetables(pure / np.linalg.norm(pure))
        centres = np.exp(rng.uniform(np.log(700), np.log(6000), 5))
        air = (0.4 + resonances(BODY_HZ, centres, 0.5 * centres, rng.uniform(0.4, 1.6, 5))) / (
            1 + (rng.uniform(500, 900) / np.maximum(BODY_HZ, 1)) ** 2
        )
        self.turn_hz = rng.uniform(380, 520)  # where one register gives way to the other
        self.breath = rng.uniform(0.05, 0.20)  # broad noise
        self.buzz = rng.uniform(0.1, 0.35)  # noise that clings to the harmonics
        self.chiff = rng.uniform(0.1, 0.5)  # the breath's burst when a note is begun
        self.air = minimum_phase(air)  # colours the breath
        # Reed and microphone colour everything.
        self.tube = minimum_phase(ripple(rng, 2.0) / np.sqrt(1 + (BODY_HZ / rng.uniform(3500, 7000)) ** 4))

    def play(self, rng: np.random.Generator, strokes: list[Stroke], n: int) -> np.ndarray:
        """The strokes as sound, shape (n,)."""
        line = draw_line(rng, strokes, n, self.manner)
        low, high = oscillate(line.phase(n), line.hz, (self.low, self.high))
        level = upsampled(line.level, n)
        register = 1 / (1 + np.exp(-6 * np.log2(line.hz / self.turn_hz)))
        tone = low + upsampled(smooth(register, 0.04), n) * (high - low)
        # Turbulence rides on the tone: a random gain below about 100 Hz puts a skirt of noise around each harmonic.
        rough = upsampled(slow_noise(rng, len(line.hz), 90.0), n)
        blow = self.breath * (0.5 + 0.5 * level) * level + self.chiff * upsampled(smooth(line.attack, 0.06), n)
        breath = convolve(blow * rng.standard_normal(n), self.air)
        return convolve(level * tone * (1 + self.buzz * rough) + breath, self.tube)
