"""Formants: the resonances of a body or a mouth, which stay where they are when the note changes.

A spectral envelope is the slow part of the log spectrum over frequency: its cepstrum up to a quefrency of `_LIFTER_S`
(Röbel and Rodet, Efficient spectral envelope estimation, DAFx 2005, describe the family of methods).
"""

import numpy as np
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from tarkib.audio import SAMPLE_RATE

_WINDOW, _HOP = 1024, 256
_LIFTER_S = 0.0015  # separates resonances 700 Hz apart, but not partials of notes below 600 Hz
_FLOOR = 1e-5
_MAX_GAIN = np.log(4.0)  # of a frequency, up or down: silence must not be amplified further
_TRANSFORM = ShortTimeFFT(hann(_WINDOW, sym=False), _HOP, SAMPLE_RATE)


def restore(samples: np.ndarray, ratio: float) -> np.ndarray:
    """Give transposed samples the formants that they had before, float32 of shape (n,) as the samples.

    A transposition by `ratio` (2: an octave up) has moved the envelope along with the notes: its value at f now belongs
    at f / ratio. So each frequency is weighted with the envelope at f * ratio over the envelope at f.
    """
    if samples.size < _WINDOW:
        return samples
    spectrum = _TRANSFORM.stft(samples)
    envelope = _log_envelope(np.abs(spectrum))
    bins = np.arange(len(envelope))
    wanted = np.minimum(bins * ratio, bins[-1])
    below = np.minimum(wanted.astype(int), bins[-1] - 1)
    share = (wanted - below)[:, np.newaxis]
    moved = envelope[below] * (1 - share) + envelope[below + 1] * share
    corrected = spectrum * np.exp(np.clip(moved - envelope, -_MAX_GAIN, _MAX_GAIN))
    return _TRANSFORM.istft(corrected, k1=samples.size).astype(np.float32)


def _log_envelope(magnitudes: np.ndarray) -> np.ndarray:
    """Natural logarithm of the spectral envelope, shape (frequencies, frames) as the magnitudes."""
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitudes, _FLOOR)), axis=0)
    quefrencies = int(_LIFTER_S * SAMPLE_RATE)
    cepstrum[quefrencies + 1 : -quefrencies] = 0.0
    return np.fft.rfft(cepstrum, axis=0).real
