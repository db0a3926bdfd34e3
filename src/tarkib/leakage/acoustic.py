"""Find excerpts in clips by their sound, in any file format, at any sample rate and level.

Audio fingerprints (after Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002) find pairs
of an excerpt and a clip with a lag; the cross-correlation of the samples confirms them. A fingerprint has `_BITS`
values per frame: the sign of the change over time of the energy difference of neighbouring bands, 0 in silence.

Another performance, speed, key or mix of the same music does not match, nor does an overlap below `SHARED_SECONDS`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import soxr
from scipy import fft, signal

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE

SHARED_SECONDS = 2.0
"""Shortest overlap of an excerpt and a clip that can match."""

_RATE = 8_000
_WINDOW, _HOP = 2_048, 200
_TAPER = signal.windows.hann(_WINDOW, sym=False).astype(np.float32)
_BITS = 16
_EDGES_HZ = np.geomspace(300.0, 3_000.0, _BITS + 2)
_BAND = np.digitize(fft.rfftfreq(_WINDOW, 1 / _RATE), _EDGES_HZ) - 1
_BANDS = (_BAND[:, None] == np.arange(_BITS + 1)).astype(np.float32)
_FLOOR = 1e-9  # energy of silence, about that of half a 16-bit step

_PIECE = CLIP_SAMPLES * _RATE // SAMPLE_RATE
_FRAMES = (_PIECE - _WINDOW) // _HOP
_SHARED_FRAMES = (int(SHARED_SECONDS * _RATE) - _WINDOW) // _HOP
_LENGTH = fft.next_fast_len(2 * _FRAMES - 1, real=True)
_LAGS = np.arange(_SHARED_FRAMES - _FRAMES, _FRAMES - _SHARED_FRAMES + 1)

_MIN_AGREEMENT = 0.25  # mean product of fingerprints that makes a candidate; 0 for unrelated sound, 0.3 in the paper
_MIN_CORRELATION = 0.5  # correlation that confirms a candidate; a copy at 32 kbit/s still has more than 0.9
_CLIPS_AT_ONCE = 32


class Match(NamedTuple):
    """Indices of an excerpt and of the clip that contains it; the excerpt starts `lag_s` seconds after the clip."""

    excerpt: int
    clip: int
    lag_s: float


def find(excerpts: Sequence[np.ndarray], clips: Iterable[np.ndarray]) -> list[Match]:
    """Find excerpts, each of shape (n,), in clips of shape (120000,), both float32 at 24 kHz.

    Excerpts are searched for in pieces of five seconds; the clips are read once, a few at a time. At most one match for
    each excerpt, in their order: the first clip that contains it.
    """
    pieces = []
    for index, excerpt in enumerate(excerpts):
        sound = _resampled(excerpt)
        starts = range(0, len(sound) - int(SHARED_SECONDS * _RATE) + 1, _PIECE)
        pieces += [(index, start, sound[start : start + _PIECE]) for start in starts]
    if not pieces:
        return []
    spectra = _spectra([samples for _, _, samples in pieces])
    frames = np.array([(len(samples) - _WINDOW) // _HOP for _, _, samples in pieces])
    matches: dict[int, Match] = {}
    first, clips = 0, iter(clips)
    while sounds := [_resampled(clip) for clip in islice(clips, _CLIPS_AT_ONCE)]:
        for piece, clip, lag in _candidates(spectra, frames, _spectra(sounds)):
            index, start, samples = pieces[piece]
            if index not in matches and _correlated(samples, sounds[clip], lag):
                matches[index] = Match(index, first + clip, (lag - start) / _RATE)
        first += len(sounds)
    return [matches[index] for index in sorted(matches)]


def _resampled(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(samples, SAMPLE_RATE, _RATE, quality="LQ")


def _spectra(sounds: Sequence[np.ndarray]) -> np.ndarray:
    """Fourier transforms of the fingerprints of sounds at 8 kHz along time, shape (frequencies, sounds, _BITS)."""
    prints = []
    for sound in sounds:
        windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP] * _TAPER
        energy = np.square(np.abs(fft.rfft(windows, axis=1))) @ _BANDS
        # -1, 0 or 1, shape (frames, _BITS), 40 frames a second.
        prints.append(np.sign(np.diff(np.diff(np.log(energy + _FLOOR), axis=1), axis=0)).astype(np.float32))
    return np.stack([fft.rfft(each, _LENGTH, axis=0) for each in prints], axis=1)


def _candidates(pieces: np.ndarray, frames: np.ndarray, clips: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Pairs of a piece and a clip whose fingerprints agree, with the best lag in samples.

    `pieces` and `clips` are `_spectra`; `frames`, shape (pieces,), are the lengths of the pieces' fingerprints.
    """
    products = np.matmul(pieces.conj(), clips.transpose(0, 2, 1))
    agreement = fft.irfft(products, _LENGTH, axis=0)[_LAGS].transpose(1, 2, 0)
    shared = np.minimum(frames[:, None], _FRAMES - _LAGS) - np.maximum(0, -_LAGS)
    values = np.where(shared >= _SHARED_FRAMES, shared * float(_BITS), np.inf)[:, None, :]
    # By significance, not by the mean: few shared frames agree by chance more often than many.
    best = np.argmax(agreement / np.sqrt(values), axis=2)
    mean = np.take_along_axis(agreement / values, best[..., None], axis=2)[..., 0]
    for piece, clip in np.argwhere(mean >= _MIN_AGREEMENT):
        yield int(piece), int(clip), int(_LAGS[best[piece, clip]]) * _HOP


def _correlated(piece: np.ndarray, clip: np.ndarray, lag: int) -> bool:
    """Whether a piece has the samples of a clip from `lag` on, up to level, sign and `_HOP` samples of shift."""
    piece, clip = piece[max(0, -lag) :], clip[max(0, lag) :]
    length = min(len(piece), len(clip))
    piece, clip = piece[:length], clip[:length]
    correlation = signal.correlate(piece, clip, mode="same", method="fft")
    near = correlation[length // 2 - _HOP : length // 2 + _HOP + 1]
    return bool(np.max(np.abs(near)) >= _MIN_CORRELATION * np.linalg.norm(piece) * np.linalg.norm(clip))
