"""How strongly something begins, all along a recording.

Conventions
-----------
Samples are mono float32 of shape (n,), full scale 1.0, at 24,000 Hz. Onset strength has 100 frames a second, frame *i*
centred on sample 240 *i*, and one column for each of three ranges of frequency, low, middle and high: drums tell the
bar in the low one. The columns' sum is the strength as a whole.

It is log-mel flux in which each band is compared to the loudest of its neighbours two frames before, so that vibrato
makes no onsets (Böck and Widmer, "Maximum filter vibrato suppression for onset detection", DAFx 2013). Levels are
relative to the loudest band of the twenty seconds or so around, so a gain changes nothing, a quiet passage is heard as
well as a loud one, and a recording is heard as it passes.
"""

import functools
from collections import deque

import librosa
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse

from tarkib.annotation.framing import Framing
from tarkib.audio import SAMPLE_RATE

FFT_SIZE = 1024
HOP = 240
FRAME_RATE = SAMPLE_RATE // HOP
RANGES = 3

_BANDS = 40
_EDGES = (0, 10, 24)  # first band of each range: up to about 850 Hz, 2.6 kHz and 10 kHz
_LAG = 2
_CUT = 3  # frames whose window reaches over an end
_STRETCH = 500  # frames that are transformed together, and share a measure of loudness
_REACH = 4  # stretches before and after whose loudest band counts
_QUIET = 1e-3  # magnitude of the loudest band below which nothing is amplified further: a sine at about -70 dBFS
_COMPRESSION = 1_000.0  # of levels relative to the loudest band: 60 dB below it a band begins to count


class OnsetListener:
    """Hears a recording that comes in blocks; the onset strength does not depend on how it is cut into them."""

    def __init__(self) -> None:
        self._framing = Framing(FFT_SIZE, HOP, _STRETCH, before=FFT_SIZE // 2)
        self._levels: list[np.ndarray] = []  # mel levels of the last stretches, not yet compared
        self._peaks: deque[float] = deque()  # their loudest bands, and those of `_REACH` + 1 stretches before
        self._compared = 0
        self._before = np.zeros((0, _BANDS), np.float32)
        self._flux: list[np.ndarray] = []

    def feed(self, samples: np.ndarray) -> None:
        """Hear the next samples, shape (n,), n from 0 on."""
        for frames in self._framing.feed(samples):
            self._hear(frames)

    def finish(self) -> np.ndarray:
        """Onset strength, float32 of shape (1 + n // 240, `RANGES`); 0 where nothing begins."""
        for frames in self._framing.rest(1 + self._framing.samples // HOP):
            self._hear(frames)
        while self._levels:
            self._compare()
        flux = np.concatenate(self._flux)
        # Frames that reach over the recording's ends see a sound that is cut, not one that begins.
        flux[: _CUT + _LAG] = 0.0
        flux[-_CUT:] = 0.0
        return flux

    def _hear(self, frames: np.ndarray) -> None:
        mel = (_filterbank() @ np.abs(scipy.fft.rfft(frames * _window())).T).T
        self._levels.append(mel)
        self._peaks.append(max(float(mel.max()), _QUIET))
        if len(self._levels) > _REACH + 1:
            self._compare()

    def _compare(self) -> None:
        """Flux of the earliest stretch that waits, now that what follows it is known (or that nothing does)."""
        mel = self._levels.pop(0)
        # Loudness around the middles of the stretch before, this one and the next, and between them by a line.
        peaks = list(self._peaks)
        here = min(self._compared, _REACH + 1)
        around = [max(peaks[max(i - _REACH, 0) : i + _REACH + 1]) for i in (here - 1, here, here + 1) if self._is(i)]
        middles = [(i - here + 0.5) * _STRETCH for i in (here - 1, here, here + 1) if self._is(i)]
        loudness = np.interp(np.arange(len(mel)) + 0.5, middles, around).astype(np.float32)
        level = np.log1p(mel * (_COMPRESSION / loudness[:, None]))
        level = np.concatenate([self._before, level])
        flux = np.zeros((len(mel), RANGES), np.float32)
        rising = np.maximum(level[_LAG:] - scipy.ndimage.maximum_filter1d(level[:-_LAG], 3, axis=1), 0.0)
        if len(rising):
            flux[len(mel) - len(rising) :] = np.add.reduceat(rising, _EDGES, axis=1) / _BANDS
        self._flux.append(flux)
        self._before = level[-_LAG:]
        self._compared += 1
        if self._compared > _REACH + 1:
            self._peaks.popleft()

    def _is(self, index: int) -> bool:
        return 0 <= index < len(self._peaks)


def onset_strength(samples: np.ndarray) -> np.ndarray:
    """Onset strength of a recording in memory, float32 of shape (1 + n // 240, `RANGES`)."""
    listener = OnsetListener()
    listener.feed(samples)
    return listener.finish()


@functools.cache
def _window() -> np.ndarray:
    return np.hanning(FFT_SIZE + 1)[:-1].astype(np.float32)


@functools.cache
def _filterbank() -> scipy.sparse.csr_array:
    """Mel filterbank, shape (40, 513), each band's weights summing to 1.

    Sparse because it is faster so and, unlike a BLAS product, sums in the same order whatever the number of threads.
    """
    bank = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=FFT_SIZE, n_mels=_BANDS, fmin=40.0, fmax=10_000.0, norm=1)
    return scipy.sparse.csr_array(bank.astype(np.float32))
