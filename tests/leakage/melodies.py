"""Synthetic music, different for each seed."""

import numpy as np

from tarkib import audio

SECOND = audio.SAMPLE_RATE


def melody(seconds, seed):
    """Plucked notes of random pitch and length."""
    rng = np.random.default_rng(seed)
    sound = np.zeros(int(seconds * SECOND), np.float32)
    begin = 0
    while begin < len(sound):
        length = int(rng.uniform(0.15, 0.6) * SECOND)
        time = np.arange(min(2 * length, len(sound) - begin)) / SECOND
        pitch = 220 * 2 ** (rng.integers(24) / 12)
        partials = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 9))
        sound[begin : begin + len(time)] += 0.1 * partials * np.exp(-4 * time)
        begin += length
    return sound + 0.001 * rng.standard_normal(len(sound)).astype(np.float32)
