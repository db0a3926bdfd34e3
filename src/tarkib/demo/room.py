"""Where it sounds: a room, and the microphone and recorder that stand in it."""

import numpy as np
from scipy import signal

from tarkib.demo.synthesis import BODY_HZ, SAMPLE_RATE, convolve, minimum_phase


class Room:
    """A room from a dry studio to a live hall, with a good or a poor microphone."""

    def __init__(self, rng: np.random.Generator) -> None:
        t60 = np.exp(rng.uniform(np.log(0.15), np.log(1.1)))
        wet = 10 ** (rng.uniform(-24, -9) / 20)
        length = int(min(0.9, t60) * SAMPLE_RATE)
        time = np.arange(length) / SAMPLE_RATE
        reverb = np.zeros(length)
        reverb[0] = 1.0
        for at in rng.uniform(0.003, 0.06, rng.integers(5, 12)):
            if at < time[-1]:
                reverb[int(at * SAMPLE_RATE)] += wet * rng.choice((-1, 1)) * rng.uniform(0.5, 1.5) / (1 + 30 * at) * 2
        tail = rng.standard_normal(length) * 10 ** (-3 * time / t60) * np.clip((time - 0.012) / 0.02, 0, 1)
        # Air and curtains: the tail loses its heights.
        tail = signal.lfilter([1 - (darkness := rng.uniform(0.2, 0.75))], [1, -darkness], tail)
        reverb += wet * tail / np.linalg.norm(tail) * 1.4
        self.response = np.convolve(reverb, _microphone(rng))
        self.noise_db = rng.uniform(-75, -42)  # the recorder's and the room's, below the music's peak
        self.hiss = rng.uniform(0.1, 0.9)  # how much of it is white; the rest rumbles
        self.peak_db = rng.uniform(-12, -1)  # level to which the recording is driven

    def record(self, rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
        """`sound` played in the room and recorded: float64, shape as `sound`, its peak at `peak_db`."""
        recording = convolve(sound, self.response)
        recording *= 10 ** (self.peak_db / 20) / max(float(np.max(np.abs(recording), initial=0.0)), 1e-9)
        white = rng.standard_normal(len(sound))
        rumble = signal.lfilter([0.1], [1, -0.97], white)
        noise = self.hiss * white + (1 - self.hiss) * rumble * 2.4
        recording += 10 ** ((self.noise_db + self.peak_db) / 20) * noise * 0.3
        return recording * min(1.0, 0.99 / max(float(np.max(np.abs(recording), initial=0.0)), 1e-9))


def _microphone(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a microphone: smooth colour, its lows and heights more or less cut, shape (512,)."""
    octaves = np.log2(np.maximum(BODY_HZ, 40) / 40)
    knots = np.linspace(0, octaves[-1], 7)
    colour = 10 ** (np.interp(octaves, knots, rng.normal(0, 1.8, 7)) / 20)
    low = 1 / (1 + (np.exp(rng.uniform(np.log(25), np.log(110))) / np.maximum(BODY_HZ, 1)) ** 2)
    high = 1 / np.sqrt(1 + (BODY_HZ / np.exp(rng.uniform(np.log(4500), np.log(16_000)))) ** 6)
    return minimum_phase(colour * low * high)[:512]
