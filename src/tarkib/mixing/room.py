"""A room that a mixture sounds in: a synthetic tail of noise that dies away exponentially.

The simplest model of late reverberation (Moorer, About this reverberation business, 1979): the ear hears its length and
its level. All components of a mixture share one room, as players do.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import signal

from tarkib import audio
from tarkib.audio import SAMPLE_RATE
from tarkib.runtime.streams import Stream

RT60_S = (0.2, 1.5)
"""Range of rooms drawn, from a carpeted chamber to a hall: seconds in which the tail falls by 60 dB."""

WET_DB = (-20.0, -6.0)
"""Range of the tail's energy relative to the direct sound's."""

_GAP_S = 0.01  # between the direct sound and the tail: the way to the nearest wall and back
_DULLNESS = 0.5  # of a one-pole low-pass: walls and air take the heights first


@dataclass(frozen=True)
class Room:
    """A room by its length `rt60_s`, in seconds, and the level `wet_db` of its tail."""

    rt60_s: float
    wet_db: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Room":
        """A room with a length and a level from `RT60_S` (evenly by ratio) and `WET_DB`."""
        return cls(round(math.exp(rng.uniform(*map(math.log, RT60_S))), 3), round(rng.uniform(*WET_DB), 3))

    def response(self) -> np.ndarray:
        """Impulse response, float32 of shape (n,): 1 for the direct sound, then the tail. Equal rooms sound equal."""
        rng = np.random.default_rng([Stream.MIX_REVERB, round(self.rt60_s * 1_000), round(-self.wet_db * 1_000)])
        time = np.arange(int((_GAP_S + self.rt60_s) * SAMPLE_RATE)) / SAMPLE_RATE - _GAP_S
        tail = np.where(time >= 0, rng.standard_normal(time.size) * 10 ** (-3 * time / self.rt60_s), 0.0)
        tail = signal.lfilter([1 - _DULLNESS], [1, -_DULLNESS], tail)
        tail *= audio.amplitude(self.wet_db) / np.linalg.norm(tail)
        tail[0] = 1.0
        return tail.astype(np.float32)

    def sounding(self, samples: np.ndarray) -> np.ndarray:
        """Samples, shape (n,), as they sound in the room, shape (n,): what rings on after their end is cut off."""
        return signal.fftconvolve(samples, self.response())[: samples.size].astype(np.float32)
