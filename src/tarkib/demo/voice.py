"""Avaz: a singer; glottal pulses and breath through formants moving from vowel to vowel, the breaks of tahrir."""

import numpy as np

from tarkib.demo.sustained import Line, Manner, draw_line
from tarkib.demo.synthesis import (
    BODY_HZ,
    HOP,
    SAMPLE_RATE,
    Stroke,
    convolve,
    filtered,
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

# First three formants in Hz of a man's vowels (Peterson & Barney 1952, rounded): â, a, e, o, i, u.
_VOWELS = np.array(
    [[700, 1100, 2500], [750, 1450, 2500], [520, 1840, 2480], [500, 900, 2450], [300, 2200, 2950], [320, 850, 2300]],
    dtype=float,
)
_OFTEN = np.array([0.34, 0.24, 0.12, 0.12, 0.12, 0.06])

_FRAME = 960


class Singer:
    """A man or a woman."""

    def __init__(self, rng: np.random.Generator, instrument: str) -> None:
        man = rng.random() < 0.6
        shift = 2 ** rng.uniform(-0.2, 0.2)
        self.range_hz = (110.0 * shift, 440.0 * shift) if man else (185.0 * shift, 700.0 * shift)
        k = np.arange(1, 101)
        # A glottal pulse falls by about 12 dB an octave, radiation at the lips gives 6 back.
        tilt = rng.uniform(1.0, 1.45)
        chest = k**-tilt / np.sqrt(1 + (k / rng.uniform(18, 40)) ** 2) * np.exp(-1j * (0.5 * np.pi + 0.15 * k))
        head = k ** -(tilt + 0.8) * np.exp(-0.5j * np.pi * np.ones(len(k)))
        self.manner = Manner(
            glide=rng.uniform(0.04, 0.08),
            swell=rng.uniform(0.05, 0.10),
            gap=rng.uniform(0.02, 0.07),
            vibrato_hz=rng.uniform(4.8, 6.4),
            vibrato_cents=rng.uniform(15, 45),
            vibrato_level=rng.uniform(0.03, 0.15),
            unsteady_cents=rng.uniform(6, 14),
            scoop_cents=rng.uniform(60, 160),
            scoop_chance=rng.uniform(0.2, 0.5),
        )
        # The glottal source in full voice and in the breaks of a tahrir.
        self.chest, self.head = wavetables(chest), wavetables(head)
        self.tract = rng.uniform(0.95, 1.08) if man else rng.uniform(1.12, 1.25)  # factor on the formants
        self.singer_hz, self.singer_db = rng.uniform(2600, 3400), rng.uniform(-12, 2)  # the singer's formant
        self.formant_width = rng.uniform(0.8, 1.5)  # factor on the bandwidths
        self.breath = rng.uniform(0.01, 0.05)  # loudness of the aspiration
        self.jitter_cents = rng.uniform(3, 10)  # cycle-to-cycle roughness
        self.colour = minimum_phase(ripple(rng, 1.5) / (1 + (90 / np.maximum(BODY_HZ, 1)) ** 2))

    def play(self, rng: np.random.Generator, strokes: list[Stroke], n: int) -> np.ndarray:
        """The strokes as sound, shape (n,)."""
        line = draw_line(rng, strokes, n, self.manner)
        hz = line.hz * 2 ** (self.jitter_cents * slow_noise(rng, len(line.hz), 80.0) / 1200)
        phase = np.cumsum(upsampled(hz, n)) / SAMPLE_RATE
        chest, head = oscillate(phase, line.hz, (self.chest, self.head))
        turn = phase - np.floor(phase)
        breath = self.breath * (0.4 + 1.2 * turn) * rng.standard_normal(n) * (1 + 2 * upsampled(line.attack, n))
        source = chest + upsampled(line.tahrir, n) * (head - chest)
        # Shimmer: no two pulses are equally strong.
        shimmer = upsampled(1 + 0.05 * slow_noise(rng, len(line.hz), 90.0), n)
        glottis = upsampled(line.level, n) * (source * shimmer + breath)
        return convolve(filtered(glottis, self._formants(rng, strokes, line, n), _FRAME), self.colour)

    def _formants(self, rng: np.random.Generator, strokes: list[Stroke], line: Line, n: int) -> np.ndarray:
        """Response of the vocal tract every half frame, shape (frames, 481)."""
        count, vowel = len(line.hz), 0
        formants = np.repeat(_VOWELS[:1], count, axis=0)
        for stroke in strokes:
            if stroke.manner == "plain" or rng.random() < 0.4:
                vowel = rng.choice(len(_VOWELS), p=_OFTEN)
            formants[round(stroke.start * SAMPLE_RATE / HOP) :] = _VOWELS[vowel] * np.exp(rng.normal(0, 0.03, 3))
        formants = np.stack([smooth(f, 0.1) for f in formants.T], axis=1) * self.tract
        # Singers open the jaw rather than let the first formant fall below the note.
        formants[:, 0] = np.maximum(formants[:, 0], 1.05 * line.hz)
        frames = -(-n // (_FRAME // 2)) + 1
        at = np.minimum(np.arange(frames) * (_FRAME // 2) // HOP, count - 1)
        own = np.tile([self.singer_hz, 1.3 * self.singer_hz], (frames, 1))
        centres = np.concatenate([formants[at], own], axis=1)[:, None, :]
        widths = self.formant_width * np.array([80.0, 110.0, 160.0, 250.0, 400.0])
        gains = to_gain(np.array([0.0, -5.0, -12.0, -10.0 + self.singer_db, -18.0]))
        hz = np.linspace(0, SAMPLE_RATE / 2, _FRAME // 2 + 1)
        return 0.01 + resonances(np.broadcast_to(hz, (frames, len(hz))), centres, widths, gains)
