"""Formants: the resonances of a body or a mouth, which stay where they are whatever note is played.

Conventions
-----------
A sound's spectral envelope is the slow part of its log spectrum over frequency: its cepstrum up to a quefrency of
`_LIFTER_S` (Röbel and Rodet, Efficient spectral envelope estimation, DAFx 2005, describe the family of methods).
"""

import numpy as np
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from tarkib.audio import SAMPLE_RATE

_WINDOW, _HOP = 1024, 256
_LIFTER_S = 0.0015  # resonances as near as 700 Hz are told apart, partials of notes below 600 Hz are not
_FLOOR = 1e-5
_MOST = 4.0  # no frequency is raised or lowered by more than this factor: what is not there is not to be found

_TRANSFORM = ShortTimeFFT(hann(_WINDOW, sym=False), _HOP, SAMPLE_RATE)


def restored(samples: np.ndarray, ratio: float) -> np.ndarray:
    """Transposed samples, shape (n,), with the formants of before, float32 of shape (n,).

    A transposition by `ratio` (2: an octave up) has moved the envelope along with the notes: what it is at f now
    belongs at f / ratio. So each frequency is weighted with the envelope at f * ratio over the envelope at f.
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
    limit = np.log(_MOST)
    corrected = spectrum * np.exp(np.clip(moved - envelope, -limit, limit))
    return _TRANSFORM.istft(corrected, k1=samples.size).astype(np.float32)


def _log_envelope(magnitudes: np.ndarray) -> np.ndarray:
    """Natural logarithm of the spectral envelope, shape (frequencies, frames) as the magnitudes."""
    cepstrum = np.fft.irfft(np.log(np.maximum(magnitudes, _FLOOR)), axis=0)
    kept = int(_LIFTER_S * SAMPLE_RATE)
    cepstrum[kept + 1 : -kept] = 0.0
    return np.fft.rfft(cepstrum, axis=0).real
