"""How loud samples are.

A constant offset (DC), which cheap converters add, is no sound: a level is that of the deviation from the mean, so that
a constant is silent.
"""

import math

import numpy as np


def rms(samples: np.ndarray) -> float:
    """Root mean square of samples, shape (n,), about their mean; 0 for none."""
    if samples.size == 0:
        return 0.0
    # In double precision: a float32 sum over minutes of sound loses digits.
    sound = samples.astype(np.float64)
    sound -= sound.mean()
    return math.sqrt(float(sound @ sound) / sound.size)


def decibels(amplitude: float, floor: float = -120.0) -> float:
    """Amplitude relative to full scale in dB, never below `floor`, so that silence stays a number."""
    return max(floor, 20.0 * math.log10(amplitude)) if amplitude > 0 else floor


def amplitude(level_db: float) -> float:
    """Inverse of `decibels`."""
    return 10.0 ** (level_db / 20.0)
