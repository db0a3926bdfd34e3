"""Onset strength: how strongly something begins, all along a recording.

Onset strength has 100 frames a second, frame *i* centred on sample 240 *i*, and a column for each of three frequency
ranges (low, middle, high); their sum is the whole.

It is log-mel flux in which each band is compared with the loudest of its neighbours two frames before, so that vibrato
makes no onsets (Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013). Levels are
relative to the loudest band of the twenty seconds or so around, so neither a gain nor a quiet passage matters.
"""

import functools

import librosa
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse

from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE

WINDOW = 1024
HOP = 240
FRAME_RATE = SAMPLE_RATE // HOP
RANGES = 3

_BANDS = 40
_EDGES = (0, 10, 24)  # first band of each range: up to about 850 Hz, 2.6 kHz and 10 kHz
_LAG = 2  # frames
_CUT = 3  # frames whose window reaches over an end of the recording
_SEGMENT = int(CLIP_SECONDS * FRAME_RATE)
_REACH = 4  # segments before and after whose loudest band counts
_QUIET = 1e-3  # magnitude of the loudest band below which nothing is amplified further: a sine at about -70 dBFS
_COMPRESSION = 1_000.0  # of levels relative to the loudest band: 60 dB below it a band begins to count


class Detector:
    """Onset strength of a recording that comes in segments of five seconds."""

    def __init__(self) -> None:
        self._mels: list[np.ndarray] = []  # of the last segments, until those after them are known
        self._peaks: list[float] = []
        self._flux: list[np.ndarray] = []
        self._before = np.full((_LAG, _BANDS), np.inf, np.float32)  # nothing rises above infinity

    def add(self, frames: np.ndarray) -> None:
        """Analyse the next segment's frames, shape (frames, `WINDOW`)."""
        spectra = scipy.fft.rfft(frames * np.hanning(WINDOW + 1)[:-1].astype(np.float32))
        mel = (_filterbank() @ np.sqrt(spectra.real**2 + spectra.imag**2).T).T
        self._mels.append(mel)
        self._peaks.append(max(float(mel.max()), _QUIET))
        if len(self._mels) > _REACH + 1:
            self._compare()

    def finish(self) -> np.ndarray:
        """Onset strength, float32 of shape (1 + n // 240, `RANGES`); 0 where nothing begins."""
        while self._mels:
            self._compare()
        flux = np.concatenate(self._flux)
        # Frames that reach over the recording's ends contain a sound that is cut, not one that begins.
        flux[: _CUT + _LAG] = 0.0
        flux[-_CUT:] = 0.0
        return flux

    def _compare(self) -> None:
        """Flux of the earliest waiting segment."""
        mel = self._mels.pop(0)
        frames = len(self._flux) * _SEGMENT + np.arange(len(mel))
        loudest = scipy.ndimage.maximum_filter1d(self._peaks, 2 * _REACH + 1, mode="nearest")
        loudness = np.interp(frames + 0.5, (np.arange(len(loudest)) + 0.5) * _SEGMENT, loudest).astype(np.float32)
        # In double precision, since processors differ in the last bit of a logarithm.
        compressed = np.log1p(mel * (_COMPRESSION / loudness[:, None]), dtype=np.float64).astype(np.float32)
        level = np.concatenate([self._before, compressed])
        rising = np.maximum(level[_LAG:] - scipy.ndimage.maximum_filter1d(level[:-_LAG], 3, axis=1), 0.0)
        self._flux.append(np.add.reduceat(rising, _EDGES, axis=1) / np.float32(_BANDS))
        self._before = level[-_LAG:]


@functools.cache
def _filterbank() -> scipy.sparse.csr_array:
    """Mel filterbank, shape (40, 513), each band's weights summing to 1.

    Sparse because it is faster so and, unlike a BLAS product, sums in the same order with any number of threads.
    """
    bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=_BANDS, fmin=40.0, fmax=10_000.0, norm=1)
    return scipy.sparse.csr_array(bank.astype(np.float32))
