"""A clip's spectrogram on a logarithmic frequency axis, as a small PNG picture.

A short window resolves plucks and high partials, a long window low notes. Power is measured with both, and between two
frequencies one fades into the other.
"""

import io

import matplotlib
import numpy as np
from PIL import Image

from tarkib.audio import SAMPLE_RATE

LOW_HZ, HIGH_HZ = 60.0, 12_000.0
"""The picture's lower and upper edge."""
RANGE_DB = 80
"""From the loudest point (brightest) down to the darkest colour."""
WIDTH_PER_SECOND, HEIGHT = 160, 240
"""Pixels."""
TICKS_HZ = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)

_HOP = SAMPLE_RATE // WIDTH_PER_SECOND
_LONG, _SHORT = 4096, 1024
_FADE_HZ = (300.0, 3_000.0)
_COLOURS = np.rint(255 * matplotlib.colormaps["magma"](np.linspace(0.0, 1.0, RANGE_DB + 1))[:, :3]).astype(np.uint8)


def height_of(hz: float) -> float:
    """Return where a frequency lies in the picture: 0 at `LOW_HZ`, 1 at `HIGH_HZ`.

    >>> height_of(60.0), height_of(12_000.0)
    (0.0, 1.0)
    """
    return float(np.log(hz / LOW_HZ) / np.log(HIGH_HZ / LOW_HZ))


def levels(samples: np.ndarray) -> np.ndarray:
    """Return the levels of samples, shape (n,), as uint8 of shape (240, width): whole dB, 0 to `RANGE_DB`.

    The first row is the highest frequency. Silence is 0 everywhere.
    """
    frequencies = np.geomspace(HIGH_HZ, LOW_HZ, HEIGHT)
    fade = np.clip(np.log(frequencies / _FADE_HZ[0]) / np.log(_FADE_HZ[1] / _FADE_HZ[0]), 0.0, 1.0)[:, np.newaxis]
    power = (1 - fade) * _power(samples, _LONG, frequencies) + fade * _power(samples, _SHORT, frequencies)
    loudest = power.max(initial=0.0)
    if loudest == 0.0:
        return np.zeros(power.shape, np.uint8)
    decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE_DB / 10)))
    return np.rint(decibels + RANGE_DB).astype(np.uint8)


def _power(samples: np.ndarray, window_size: int, frequencies: np.ndarray) -> np.ndarray:
    """Return the power near each frequency in frames `_HOP` apart; shape (frequencies, frames)."""
    frames = -(-samples.size // _HOP)
    # The middle of a frame is the middle of its pixel; before and after the clip there is silence.
    padded = np.pad(samples, (window_size // 2 - _HOP // 2, window_size + _HOP))
    cut = np.lib.stride_tricks.sliding_window_view(padded, window_size)[::_HOP][:frames]
    window = np.hanning(window_size + 1)[:-1].astype(np.float32)
    # Both windows share the transform's length, and so its bins; dividing by the window's energy equals their levels.
    power = np.square(np.abs(np.fft.rfft(cut * window, _LONG))) / np.sum(window**2)
    # Triangular bands, as wide as a row of the picture or as the window's resolution.
    bins = np.fft.rfftfreq(_LONG, 1 / SAMPLE_RATE)
    row = frequencies * (np.log(HIGH_HZ / LOW_HZ) / (HEIGHT - 1))
    width = np.maximum(row, SAMPLE_RATE / window_size)[:, np.newaxis]
    return np.maximum(0.0, 1.0 - np.abs(bins - frequencies[:, np.newaxis]) / width) @ power.T


def palette() -> list[str]:
    """Return the colours of the levels from dark to bright as ``#rrggbb``: magma, perceptually uniform."""
    return ["#" + bytes(colour).hex() for colour in _COLOURS]


def png(samples: np.ndarray) -> bytes:
    """Return the spectrogram of samples, shape (n,), as a PNG file with one palette colour for each dB."""
    picture = Image.fromarray(levels(samples)).convert("P")
    picture.putpalette(_COLOURS.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
