"""Sounds whose every sample is known."""

import numpy as np


def tone(rate: int, seconds: float = 2.0, hz: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.5, float32 of shape (n,)."""
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)
