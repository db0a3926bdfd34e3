"""Floating-point samples whose full scale is not 1.0.

A float file may pass full scale a little: inter-sample peaks, a mix that was not turned down. Up to `LOUDEST` (24 dB
over) it is taken as it is. What is louder was written in the scale of integers, or is no sound:

* whole numbers throughout are those of 16, 24 or 32 bits, the fewest that hold the peak;
* other numbers that peak between 256 and 65,536 are those of 16 bits after a resampling or a gain;
* everything else is refused.
"""

import numpy as np
import soundfile

from tarkib.audio.levels import decibels
from tarkib.errors import TarkibError

LOUDEST = 16.0
"""Greatest amplitude that is taken as it is; full scale is 1.0."""

_BLOCK = 1 << 20  # frames
_INT16_PEAK = (256.0, 65_536.0)


def check_samples(mono: np.ndarray, rate: int, before: int = 0) -> None:
    """Refuse NaN, infinities and amplitudes above `LOUDEST`, naming the second; `before` samples came earlier."""
    peak = _peak(mono)
    if peak <= LOUDEST:
        return
    finite = np.isfinite(mono)
    if not finite.all():
        first = (before + int(np.argmin(finite))) / rate
        raise TarkibError(f"holds NaN or infinite samples, the first at {first:.2f} s; export it anew")
    raise _too_loud(peak, (before + int(np.argmax(np.abs(mono)))) / rate)


def full_scale(file: soundfile.SoundFile) -> tuple[float, int]:
    """Full scale of a file of floating-point samples, and the bits of the integers whose scale it is, 0 for its own.

    Reads the file once and goes back to its start. Raises TarkibError for amplitudes that no scale explains.
    """
    peak, loudest, whole, done = 0.0, 0, True, 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        here = _peak(block)
        if not np.isfinite(here):
            break  # `check_samples` will find it
        if here > peak:
            peak, loudest = here, done + int(np.argmax(np.abs(block).max(axis=1)))
        whole = whole and bool((block == np.rint(block)).all())
        done += len(block)
    file.seek(0)
    if peak <= LOUDEST:
        return 1.0, 0
    for bits in (16, 24, 32) if whole else (16,):
        if peak <= 2 ** (bits - 1) if whole else _INT16_PEAK[0] <= peak <= _INT16_PEAK[1]:
            return float(2 ** (bits - 1)), bits
    raise _too_loud(peak, loudest / file.samplerate)


def _peak(samples: np.ndarray) -> float:
    """Greatest amplitude; NaN where there is one, 0 for no samples."""
    return max(float(samples.max()), -float(samples.min())) if samples.size else 0.0


def _too_loud(peak: float, second: float) -> TarkibError:
    return TarkibError(
        f"peaks at {peak:.3g} at {second:.2f} s, {decibels(peak):.0f} dB above full scale (1.0), which is no sound; "
        "export it anew"
    )
