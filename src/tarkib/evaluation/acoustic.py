"""Whether excerpts sound in a collection of clips: the same recording in another format, at another rate or level.

Acoustic fingerprints propose (after Haitsma and Kalker, "A highly robust audio fingerprinting system", ISMIR 2002), the
sound itself decides. A fingerprint has `_BITS` bits a frame: whether the step in energy from one band to the next grew
or fell since the frame before, +1 or -1, and 0 in digital silence. Where an excerpt's and a clip's agree at some lag
far better than chance, their samples are cross-correlated there.

The same music played again, at another speed or in another key, mixed with something else, or sharing less than
`SHARED_SECONDS` with a clip is not found: it is another recording, or too little to tell.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import soxr
from scipy import fft, signal

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE

SHARED_SECONDS = 2.0
"""Sound that an excerpt and a clip must share to be found."""

_RATE = 8_000
_WINDOW, _HOP = 2_048, 200
_LOWEST_HZ, _HIGHEST_HZ, _BITS = 300.0, 3_000.0, 16
_FLOOR = 1e-9
"""Energy that counts as silence: half a step of 16 bits, say, and what a decoder makes of nothing."""

_CLIP = int(CLIP_SAMPLES * _RATE / SAMPLE_RATE)
_FRAMES = 1 + (_CLIP - _WINDOW) // _HOP - 1
_SHARED_FRAMES = 1 + (int(SHARED_SECONDS * _RATE) - _WINDOW) // _HOP - 1
_LENGTH = fft.next_fast_len(2 * _FRAMES - 1, real=True)
_LAGS = np.arange(_SHARED_FRAMES - _FRAMES, _FRAMES - _SHARED_FRAMES + 1)

_ALIKE = 0.25
"""Mean product of the bits that makes a candidate; unrelated sound is at 0, the paper's threshold is 0.3."""

_SAME = 0.5
"""Correlation of the samples that decides; a copy of 32 kbit/s still has more than 0.9."""

_CLIPS_AT_ONCE = 32


class Match(NamedTuple):
    """An excerpt that sounds in a clip: their numbers, and how much later in the clip it begins, in seconds."""

    excerpt: int
    clip: int
    lag_s: float


def find(excerpts: Sequence[np.ndarray], clips: Iterable[np.ndarray]) -> list[Match]:
    """The excerpts, each of shape (n,), that sound in a clip of shape (120000,), with the first such clip; at 24 kHz.

    An excerpt is searched for in pieces of five seconds; clips are heard one after the other, in little memory.
    """
    pieces = [(number, piece) for number, excerpt in enumerate(excerpts) for piece in _pieces(_lowered(excerpt))]
    if not pieces:
        return []
    numbers = np.array([number for number, _ in pieces])
    wanted, there = _spectra([piece for _, piece in pieces])
    found: dict[int, Match] = {}
    first, clips = 0, iter(clips)
    while sounds := [_lowered(clip) for clip in islice(clips, _CLIPS_AT_ONCE)]:
        for piece, clip, lag in _candidates(wanted, there, _spectra(sounds)[0]):
            number = int(numbers[piece])
            if number not in found and _same(pieces[piece][1], sounds[clip], lag * _HOP):
                begins = next(k for k in range(piece + 1) if numbers[k] == number)
                found[number] = Match(number, first + clip, lag * _HOP / _RATE - (piece - begins) * _CLIP / _RATE)
        first += len(sounds)
    return [found[number] for number in sorted(found)]


def _lowered(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(samples, SAMPLE_RATE, _RATE, quality="LQ")


def _pieces(sound: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, max(len(sound), 1), _CLIP):
        piece = sound[begin : begin + _CLIP]
        if len(piece) >= SHARED_SECONDS * _RATE:
            yield piece


def fingerprint(sound: np.ndarray) -> np.ndarray:
    """Bits of a sound at 8 kHz, shape (n,): float32 of shape (_BITS, frames), 40 frames a second."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP] * _TAPER
    energy = np.square(np.abs(fft.rfft(frames, axis=1))) @ _BANDS
    return np.sign(np.diff(np.diff(np.log(energy + _FLOOR), axis=1), axis=0)).T.astype(np.float32)


def _spectra(sounds: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Fourier transforms in time of the fingerprints, shape (frequencies, sounds, _BITS), and of where they are."""
    bits = np.zeros((len(sounds), _BITS, _LENGTH), np.float32)
    there = np.zeros((len(sounds), _LENGTH), np.float32)
    for k, sound in enumerate(sounds):
        print_ = fingerprint(sound)
        bits[k, :, : print_.shape[1]] = print_
        there[k, : print_.shape[1]] = 1
    return fft.rfft(bits, axis=2).transpose(2, 0, 1), fft.rfft(there, axis=1)


def _candidates(wanted: np.ndarray, there: np.ndarray, clips: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Pairs of a piece and a clip whose fingerprints agree at some lag in frames, and the best lag."""
    whole = fft.rfft(np.ones(_FRAMES, np.float32), _LENGTH)
    shared = np.rint(fft.irfft(whole * there.conj(), _LENGTH, axis=1)[:, _LAGS])
    products = np.matmul(wanted.conj(), clips.transpose(0, 2, 1))
    agreement = fft.irfft(products, _LENGTH, axis=0)[_LAGS].transpose(1, 2, 0)
    enough = np.where(shared >= _SHARED_FRAMES, shared, np.inf)[:, None, :] * _BITS
    # Among the lags the surest wins: agreement over few frames is chance more often than over many.
    best = np.argmax(agreement / np.sqrt(enough), axis=2)
    mean = np.take_along_axis(agreement / enough, best[..., None], axis=2)[..., 0]
    for piece, clip in np.argwhere(mean >= _ALIKE):
        yield int(piece), int(clip), int(_LAGS[best[piece, clip]])


def _same(piece: np.ndarray, clip: np.ndarray, lag: int) -> bool:
    """Whether the samples of a piece are those of a clip from `lag` on, but for their level, sign and a few ms."""
    one = piece[max(0, -lag) :][: len(clip) - max(0, lag)]
    other = clip[max(0, lag) :][: len(one)]
    one = one[: len(other)]
    power = np.sqrt(np.sum(np.square(one)) * np.sum(np.square(other)))
    near = signal.correlate(one, other, mode="same", method="fft")[len(one) // 2 - _HOP : len(one) // 2 + _HOP + 1]
    return bool(np.max(np.abs(near)) >= _SAME * power)


def _bands() -> np.ndarray:
    """Which bins of a frame's spectrum are in which of the neighbouring bands, shape (bins, _BITS + 1)."""
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BITS + 2)
    bins = fft.rfftfreq(_WINDOW, 1 / _RATE)[:, None]
    return ((bins >= edges[:-1]) & (bins < edges[1:])).astype(np.float32)


_TAPER = signal.windows.hann(_WINDOW, sym=False).astype(np.float32)
_BANDS = _bands()
