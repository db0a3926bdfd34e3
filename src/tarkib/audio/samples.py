"""Samples, float32 of shape (n,) with full scale 1.0: their rate, length, level, channels, and which are refused.

A level is the RMS of the deviation from the mean: a constant offset (DC), which cheap converters add, is silent.

A floating-point file may pass full scale a little: inter-sample peaks, a mix that was not turned down. Up to `LOUDEST`
(24 dB over) it is taken as it is. Louder samples are in the scale of integers, or damaged:

* whole numbers throughout are those of 16, 24 or 32 bits, the fewest that hold the peak;
* other numbers that peak between 256 and 65,536 are those of 16 bits after a resampling or a gain;
* everything else is refused.
"""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import soundfile
import soxr

from tarkib.errors import TarkibError

SAMPLE_RATE = 24_000
"""Hz; what MERT takes, and so the rate of everything inside the project."""

CLIP_SECONDS = 5.0
CLIP_SAMPLES = int(CLIP_SECONDS * SAMPLE_RATE)

LOUDEST = 16.0
"""Greatest amplitude that is taken as it is; full scale is 1.0."""

_BLOCK = 1 << 20  # frames
_CANCELLED = 0.1
_SILENT = 1e-6  # power of all channels together, -60 dB of full scale, below which nothing is decided
_LEAST_SECONDS = 5


def check_rate(rate: int) -> None:
    """Refuse a rate that no recording has: resampling from a few Hz would fill the memory."""
    if not 1_000 <= rate <= 768_000:
        raise TarkibError(
            f"its header gives a sample rate of {rate} Hz; rates from 1,000 to 768,000 are read: export it again"
        )


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Bring samples, shape (n,), from `rate` Hz to `SAMPLE_RATE` (soxr, high quality)."""
    if rate == SAMPLE_RATE:
        return samples.astype(np.float32, copy=False)
    return soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ").astype(np.float32, copy=False)


def resample_blocks(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """As `resample`, block by block, so that memory does not grow with the sound. It rounds a little differently."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def fit(samples: np.ndarray, length: int = CLIP_SAMPLES) -> np.ndarray:
    """Cut samples, shape (n,), to `length`, or pad them with silence at the end."""
    if samples.size >= length:
        return samples[:length]
    return np.pad(samples, (0, length - samples.size))


def pieces(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cut a sound that comes in blocks of shape (n,) into pieces of `CLIP_SAMPLES`, the last one shorter."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = rest.size // CLIP_SAMPLES * CLIP_SAMPLES
        yield from rest[:whole].reshape(-1, CLIP_SAMPLES)
        rest = rest[whole:]
    if rest.size:
        yield rest


def rms(samples: np.ndarray) -> float:
    """Root mean square of samples, shape (n,), about their mean; 0 for none."""
    if samples.size == 0:
        return 0.0
    sound = samples.astype(np.float64)  # a float32 sum over minutes of sound loses digits
    sound -= sound.mean()
    return math.sqrt(float(sound @ sound) / sound.size)


def decibels(amplitude: float, floor: float = -120.0) -> float:
    """Amplitude in dB relative to full scale, at least `floor`, so that silence is finite."""
    return max(floor, 20.0 * math.log10(amplitude)) if amplitude > 0 else floor


def amplitude(level_db: float) -> float:
    """Inverse of `decibels`."""
    return 10.0 ** (level_db / 20.0)


def check_samples(mono: np.ndarray, rate: int, before: int = 0) -> None:
    """Refuse NaN, infinities and amplitudes above `LOUDEST`, naming the second; `before` samples came earlier."""
    peak = _peak(mono)
    if not np.isfinite(peak):
        first = (before + int(np.argmin(np.isfinite(mono)))) / rate
        raise TarkibError(f"holds NaN or infinite samples, the first at {first:.2f} s; export it again")
    if peak > LOUDEST:
        raise _too_loud(peak, (before + int(np.argmax(np.abs(mono)))) / rate)


def full_scale(file: soundfile.SoundFile) -> tuple[float, int]:
    """Full scale of a floating-point file, and how many bits the integers of that scale have (0 where it is 1.0)."""
    peak, peak_at, are_whole, count = 0.0, 0, True, 0
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        block_peak = _peak(block)
        if not np.isfinite(block_peak):
            break  # `check_samples` will refuse it
        if block_peak > peak:
            peak, peak_at = block_peak, count + int(np.argmax(np.abs(block).max(axis=1)))
        are_whole = are_whole and bool((block == np.rint(block)).all())
        count += len(block)
    file.seek(0)
    if peak <= LOUDEST:
        return 1.0, 0
    bits = next((bits for bits in (16, 24, 32) if are_whole and peak <= 2 ** (bits - 1)), 0)
    if not are_whole and 256.0 <= peak <= 65_536.0:
        bits = 16
    if not bits:
        raise _too_loud(peak, peak_at / file.samplerate)
    return 2.0 ** (bits - 1), bits


class Mix:
    """Mixes the blocks of one file, in their order, down to the mean of the channels.

    Of channels in opposite phase (swapped wires), which cancel in it, the louder one is taken, and `cancelled` is true:
    less than a tenth is left of the power ``sum(power) / channels²`` that the mean of unrelated channels has. Every
    five seconds are decided by themselves, so that an announcement in phase before the music changes nothing; a shorter
    block, correlated by chance, follows the decision before it.
    """

    def __init__(self, rate: int) -> None:
        self.cancelled = False
        self._least = _LEAST_SECONDS * rate
        self._is_decided = False
        self._channel: int | None = None  # which one is taken; None for the mean

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """A block of shape (n, channels) as mono, float32 of shape (n,)."""
        mono = np.empty(len(block), np.float32)
        borders = np.linspace(0, len(block), max(1, len(block) // self._least) + 1).astype(int)
        channels = block.shape[1]
        with np.errstate(all="ignore"):  # NaN and infinities are refused after the mixing
            for begin, end in pairwise(borders):
                if channels > 1 and (end - begin >= self._least or not self._is_decided):
                    self._decide(block[begin:end])
                chosen = range(channels) if self._channel is None else [self._channel]
                mono[begin:end] = sum(block[begin:end, k] for k in chosen) / np.float32(len(chosen))
        return mono

    def _decide(self, block: np.ndarray) -> None:
        # As products of matrices: `mean` over so short an axis takes twenty times as long.
        mean = np.ones(len(block), np.float32) @ block / len(block)
        covariance = (block.T @ block) / len(block) - np.outer(mean, mean)
        power = covariance.diagonal()
        if not power.sum() > _SILENT:
            return
        self._is_decided = True
        if covariance.sum() >= _CANCELLED * power.sum():
            self._channel = None
            return
        self.cancelled = True
        # The channel stays while it sounds: a change to its mirror image is a click.
        if self._channel is None or power[self._channel] < _CANCELLED * power.max():
            self._channel = int(np.argmax(power))


def _peak(samples: np.ndarray) -> float:
    """Greatest amplitude; NaN where there is one, 0 for no samples."""
    return max(float(samples.max()), -float(samples.min())) if samples.size else 0.0


def _too_loud(peak: float, second: float) -> TarkibError:
    return TarkibError(
        f"peaks at {peak:.3g} at {second:.2f} s, {decibels(peak):.0f} dB above full scale (1.0), which is no sound; "
        "export it again"
    )
