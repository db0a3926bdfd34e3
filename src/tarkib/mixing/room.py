"""Reverberation: a tail of noise that decays exponentially, shared by all components of a mixture.

The simplest model of late reverberation (Moorer, About this reverberation business, 1979).
"""

import math

import numpy as np
from scipy import signal

from tarkib import audio
from tarkib.audio import SAMPLE_RATE
from tarkib.runtime.streams import Stream

# Rooms drawn, from a carpeted chamber to a hall: seconds in which the tail falls by 60 dB, its energy relative to the
# direct sound's.
RT60_S, WET_DB = (0.2, 1.5), (-20.0, -6.0)

_GAP_S = 0.01  # between the direct sound and the tail: the way to the nearest wall and back
_DULLNESS = 0.5  # of a one-pole low-pass: walls and air absorb high frequencies first


def draw(rng: np.random.Generator) -> tuple[float, float]:
    """A length from `RT60_S` (uniform in its logarithm) and a level from `WET_DB`."""
    shortest, longest = map(math.log, RT60_S)
    return round(math.exp(rng.uniform(shortest, longest)), 3), round(rng.uniform(*WET_DB), 3)


def response(rt60_s: float, wet_db: float) -> np.ndarray:
    """Impulse response, float64 of shape (n,): 1 for the direct sound, then the tail; equal for equal rooms."""
    rng = np.random.default_rng([Stream.MIX_REVERB, round(rt60_s * 1_000), round(-wet_db * 1_000)])
    time = np.arange(int((_GAP_S + rt60_s) * SAMPLE_RATE)) / SAMPLE_RATE - _GAP_S
    tail = np.where(time >= 0, rng.standard_normal(time.size) * 10 ** (-3 * time / rt60_s), 0.0)
    tail = signal.lfilter([1 - _DULLNESS], [1, -_DULLNESS], tail)
    tail *= audio.amplitude(wet_db) / np.linalg.norm(tail)
    tail[0] = 1.0
    return tail


def reverberate(samples: np.ndarray, rt60_s: float, wet_db: float) -> np.ndarray:
    """Samples, shape (n,), in the room, shape (n,): the reverberation after their end is cut off."""
    # In double precision, where the last bits in which processors differ do not reach the 16 bits of a file.
    sound = signal.fftconvolve(samples.astype(np.float64), response(rt60_s, wet_db))
    return sound[: samples.size].astype(np.float32)
