"""A clip's spectrogram on a logarithmic frequency axis, as a small PNG picture.

A short window is right for high partials and plucks and blurs low notes, a long one the other way round. So power is
measured with both, and between two frequencies one fades into the other.
"""

import struct
import zlib

import matplotlib
import numpy as np

from tarkib.audio import SAMPLE_RATE

LOW_HZ, HIGH_HZ = 60.0, 12_000.0
"""The picture's lower and upper edge."""

RANGE_DB = 80
"""From the loudest point, which is brightest, down to what is darkest."""

WIDTH_PER_SECOND, HEIGHT = 160, 240
"""Pixels for a second, and from edge to edge."""

TICKS_HZ = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)

_HOP = SAMPLE_RATE // WIDTH_PER_SECOND
_LONG, _SHORT = 4096, 1024
_FADE_HZ = (300.0, 3_000.0)


def height_of(hz: float) -> float:
    """How far up the picture a frequency lies: 0 at `LOW_HZ`, 1 at `HIGH_HZ`.

    >>> height_of(60.0), height_of(12_000.0)
    (0.0, 1.0)
    """
    return float(np.log(hz / LOW_HZ) / np.log(HIGH_HZ / LOW_HZ))


def levels(samples: np.ndarray) -> np.ndarray:
    """Levels of samples, shape (n,): whole dB above the darkest, 0 to `RANGE_DB`, uint8 of shape (240, width).

    The first row is the highest frequency. Silence is dark everywhere.
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
    """Power near each frequency in frames `_HOP` apart, seen through one window; shape (frequencies, frames)."""
    frames = -(-samples.size // _HOP)
    # A frame's middle is its pixel's middle; what lies before and after the clip is silence.
    before = window_size // 2 - _HOP // 2
    padded = np.pad(samples, (before, window_size + _HOP))
    cut = np.lib.stride_tricks.sliding_window_view(padded, window_size)[::_HOP][:frames]
    window = np.hanning(window_size + 1)[:-1].astype(np.float32)
    # A fixed length of transform, so that both windows share the bins; by the window's energy, their levels too.
    power = np.square(np.abs(np.fft.rfft(cut * window, _LONG))) / np.sum(window**2)
    return _bands(window_size, frequencies) @ power.T


def _bands(window_size: int, frequencies: np.ndarray) -> np.ndarray:
    """Triangles about each frequency, as wide as a row of the picture or as the window sees; (frequencies, bins)."""
    bins = np.fft.rfftfreq(_LONG, 1 / SAMPLE_RATE)
    row = frequencies * (np.log(HIGH_HZ / LOW_HZ) / (HEIGHT - 1))
    width = np.maximum(row, SAMPLE_RATE / window_size)[:, np.newaxis]
    return np.maximum(0.0, 1.0 - np.abs(bins - frequencies[:, np.newaxis]) / width)


def palette() -> list[str]:
    """Colours of the levels from the darkest to the loudest, as ``#rrggbb``: magma, even to the eye in brightness."""
    return ["#" + bytes(one).hex() for one in _colours()]


def _colours() -> np.ndarray:
    return np.rint(255 * matplotlib.colormaps["magma"](np.linspace(0.0, 1.0, RANGE_DB + 1))[:, :3]).astype(np.uint8)


def png(samples: np.ndarray) -> bytes:
    """The spectrogram of samples, shape (n,), as a PNG file with one palette colour for each dB."""
    picture = levels(samples)
    height, width = picture.shape
    lines = np.pad(picture, ((0, 0), (1, 0))).tobytes()  # each line begins with the number of its filter: none
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", _colours().tobytes()),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
