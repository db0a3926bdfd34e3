"""Building blocks of the instruments: decaying partials, wavetable oscillators, resonances, noise.

Conventions: signals are float64 of shape (n,) at `SAMPLE_RATE`; frequencies in Hz, times in seconds. Everything is
computed in double precision, so that 16-bit files come out alike whatever order a processor adds in.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft, signal

from tarkib.audio import SAMPLE_RATE

HOP = 120
"""Samples between two points of a control curve (pitch, loudness, vowel): 200 points a second."""

BODY_TAPS = 2048
BODY_HZ = np.linspace(0.0, SAMPLE_RATE / 2, BODY_TAPS + 1)
"""Frequencies at which a body's or a microphone's response is given, shape (2049,)."""

_TOP_HZ = 11_000.0  # no partial is made above this
_FLOOR_DB = 55.0  # below the loudest partial of a note, where no room or microphone lets it be heard
_LIMITS = np.floor(4 * 2 ** (np.arange(12) / 2.2)).astype(np.int64)  # harmonics in each row of a wavetable


@dataclass(frozen=True)
class Stroke:
    """One sound to be made: seconds, frequency, loudness 0 to 1.

    `manner` is "plain"; "slur", joined to the sound before it; "tahrir", one of a tahrir's upper notes; or "drone", an
    open string left to ring.
    """

    start: float
    seconds: float
    hz: float
    level: float
    manner: str = "plain"

    @property
    def end(self) -> float:
        return self.start + self.seconds


def ring(
    out: np.ndarray,
    start: int,
    hz: np.ndarray,
    t60: np.ndarray,
    amplitude: np.ndarray,
    phase: np.ndarray,
    limit: int,
    fade: int = 120,
) -> None:
    """Add decaying partials to `out`, in place: sum of a_k 10^(-3 t / T_k) sin(2 pi f_k t + p_k) from `start` on.

    A partial's sample b + m B is z^b (z^B)^m, so a whole note is one matrix product of block starts by in-block powers.
    Partials are taken in groups of like duration, each only until it has fallen by `_FLOOR_DB` below the loudest.

    Arrays have shape (k,); after `limit` samples the note is over (a string struck again or a key released), its last
    `fade` samples faded out.
    """
    limit = min(limit, len(out) - start)
    loudest = np.max(amplitude, initial=0.0)
    if limit <= 0 or loudest <= 0:
        return
    headroom = _FLOOR_DB + 20 * np.log10(np.maximum(amplitude / loudest, 1e-9))
    lasts = np.minimum(headroom / 60 * t60 * SAMPLE_RATE, limit).astype(np.int64)
    keep = np.flatnonzero((lasts > 48) & (hz < _TOP_HZ))
    order = keep[np.argsort(lasts[keep], kind="stable")]
    note = np.zeros(int(lasts[order[-1]]) if len(order) else 0)
    groups = max(1, min(4, len(order) // 8))
    for group in np.array_split(order, groups) if len(order) else ():
        length = int(lasts[group[-1]])
        block = int(np.ceil(np.sqrt(length)))
        blocks = -(-length // block)
        pole = np.exp((2j * np.pi * hz[group] - np.log(1000) / t60[group]) / SAMPLE_RATE)
        first = amplitude[group] * np.exp(1j * phase[group])
        inside = np.vander(pole, block, increasing=True)
        across = np.vander(pole**block, blocks, increasing=True) * first[:, None]
        # Im(across * inside) as one real product.
        left = np.concatenate([across.imag, across.real])
        right = np.concatenate([inside.real, inside.imag])
        note[:length] += (left.T @ right).reshape(-1)[:length]
    fade = min(fade, len(note) // 2)
    if len(note) == limit and fade:
        note[-fade:] *= np.linspace(1, 0, fade)
    out[start : start + len(note)] += note


def resonances(hz: np.ndarray, centres: np.ndarray, widths: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Sum of Lorentzian peaks, gain g at centre c falling to half power at c ± w/2; the shape of `hz`."""
    detuning = (hz[..., None] - centres) / (0.5 * widths)
    return (gains / np.sqrt(1 + detuning**2)).sum(axis=-1)


def ripple(rng: np.random.Generator, depth_db: float) -> np.ndarray:
    """Random linear gain on `BODY_HZ`, shape (2049,), so that no two bodies are alike.

    Its peaks and dips are about a tenth of an octave wide, with a standard deviation of `depth_db`; it is constant
    below 150 Hz.
    """
    octaves = np.log2(np.maximum(BODY_HZ, 150.0) / 150.0)
    knots = np.arange(0, octaves[-1] + 0.3, 0.12)
    return 10 ** (np.interp(octaves, knots, rng.normal(0, depth_db, len(knots))) / 20)


def minimum_phase(magnitude: np.ndarray) -> np.ndarray:
    """Minimum-phase impulse response, shape (2048,), of a magnitude response (linear gain on `BODY_HZ`).

    By the folded real cepstrum (Oppenheim & Schafer, Discrete-Time Signal Processing, 3rd ed., ch. 13).
    """
    cepstrum = fft.irfft(np.log(np.maximum(magnitude, 1e-4 * magnitude.max())))
    half = len(cepstrum) // 2
    cepstrum[1:half] *= 2
    cepstrum[half + 1 :] = 0
    response = fft.irfft(np.exp(fft.rfft(cepstrum)))[:BODY_TAPS]
    response[-256:] *= np.linspace(1, 0, 256)
    return response


def convolve(sound: np.ndarray, response: np.ndarray) -> np.ndarray:
    """`sound` convolved with `response`, cut to the length of `sound`."""
    return signal.oaconvolve(sound, response)[: len(sound)]


def wavetables(harmonics: np.ndarray) -> np.ndarray:
    """One cycle of a waveform with these harmonics, shape (k,), at 12 bandwidths, for `oscillate`.

    Shape (12, 2049): row j holds the first `_LIMITS[j]` harmonics, the last sample repeating the first.
    """
    size, rows = 2048, []
    for count in _LIMITS:
        spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
        used = min(int(count), len(harmonics))
        spectrum[1 : used + 1] = harmonics[:used]
        # The highest harmonics come and go softly from row to row.
        spectrum[1 : used + 1] *= np.minimum(1.0, (count + 1 - np.arange(1, used + 1)) / (0.2 * count + 1))
        cycle = fft.irfft(spectrum) * size / 2
        rows.append(np.append(cycle, cycle[0]))
    return np.array(rows)


def oscillate(phase: np.ndarray, hz: np.ndarray, tables: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Read each of `tables` at `phase` (cycles, shape (n,)), in the bandwidth that `hz` (control rate) allows."""
    rows = np.searchsorted(_LIMITS, _TOP_HZ / np.maximum(hz, 1.0), side="right") - 1
    rows = np.repeat(np.clip(rows, 0, 11), HOP)[: len(phase)]
    place = (phase - np.floor(phase)) * 2048
    whole = place.astype(np.int64)
    part = place - whole
    index = rows * 2049 + whole
    flat = [table.reshape(-1) for table in tables]
    return [(here := table[index]) + part * (table[index + 1] - here) for table in flat]


def control_points(n: int) -> int:
    """Number of points of a control curve for `n` samples."""
    return -(-n // HOP) + 1


def upsampled(curve: np.ndarray, n: int) -> np.ndarray:
    """A control curve, linearly interpolated to `n` samples."""
    here = np.repeat(curve[:-1], HOP)
    slope = np.repeat(np.diff(curve), HOP)
    return (here + slope * np.tile(np.arange(HOP) / HOP, len(curve) - 1))[:n]


def smooth(curve: np.ndarray, seconds: float) -> np.ndarray:
    """A control curve smoothed by a Hann window of `seconds`; beyond its ends it is constant."""
    width = max(3, 2 * round(seconds * SAMPLE_RATE / HOP / 2) + 1)
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(curve, width // 2, mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")


def slow_noise(rng: np.random.Generator, count: int, hz: float) -> np.ndarray:
    """Noise with unit standard deviation and frequencies below about `hz`, at control rate, shape (count,)."""
    knots = max(2, int(count * HOP / SAMPLE_RATE * hz) + 2)
    return np.interp(np.linspace(0, knots - 1, count), np.arange(knots), rng.standard_normal(knots)) * 1.22


def filtered(sound: np.ndarray, gains: np.ndarray, frame: int = 960) -> np.ndarray:
    """`sound` through a filter that changes over time, by overlap-add of short-time Fourier frames.

    `gains` has shape (frames, frame // 2 + 1): one magnitude response every `frame` / 2 samples.
    """
    window = np.sin(np.pi * (np.arange(frame) + 0.5) / frame)
    frames = signal.ShortTimeFFT(window, frame // 2, SAMPLE_RATE)
    return frames.istft(frames.stft(sound) * gains.T, k1=len(sound))


def to_gain(db: ArrayLike) -> np.ndarray:
    """Linear gain of a level in dB."""
    return np.power(10.0, np.asarray(db) / 20)
