"""Augmentation of training clips: soft clipping, equaliser, filters, reverberation and noise, with random settings.

The settings depend only on (`train.seed`, epoch, index of the clip). Each clip is augmented where it is loaded, on one
thread, so the result is the same bit for bit for any batch size, number of processes and device. The level is not
augmented, since classifiers normalise each clip.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import fft

from tarkib.audio import SAMPLE_RATE, amplitude
from tarkib.models.mert import normalise
from tarkib.runtime.streams import Stream, generator
from tarkib.training.datasets import ClipSet

Range = tuple[float, float]


@dataclass(frozen=True)
class Strength:
    """Ranges of the random settings, which are uniform; frequencies and times are log-uniform.

    Attributes
    ----------
    drive_db : how far the clip's RMS is above the level at which soft clipping sets in.
    tilt_db : greatest slope of the equaliser, up or down, in dB an octave.
    band_db : standard deviation of the equaliser's gain at each octave from 63 Hz to 8 kHz, in dB.
    low_pass_hz, high_pass_hz : cut-off frequencies (-3 dB) of filters of 24 and 12 dB an octave.
    decay_s : reverberation time (RT60).
    wet_db : level of the reverberation relative to the direct sound, in dB.
    room_share : share of the clips with reverberation. Half of the clips get soft clipping, and each filter.
    noise_db : RMS of the noise relative to the clip, in dB; its power falls by 0 (white) to 6 dB (brown) an octave.
    """

    drive_db: Range
    tilt_db: float
    band_db: float
    low_pass_hz: Range
    high_pass_hz: Range
    decay_s: Range
    wet_db: Range
    room_share: float
    noise_db: Range


STRENGTHS = {
    "light": Strength(
        drive_db=(-20.0, -6.0),
        tilt_db=3.0,
        band_db=3.0,
        low_pass_hz=(5_000.0, 12_000.0),
        high_pass_hz=(30.0, 150.0),
        decay_s=(0.15, 0.6),
        wet_db=(-18.0, -6.0),
        room_share=0.5,
        noise_db=(-50.0, -25.0),
    ),
    "strong": Strength(
        drive_db=(-14.0, 0.0),
        tilt_db=5.0,
        band_db=5.0,
        low_pass_hz=(3_000.0, 12_000.0),
        high_pass_hz=(40.0, 300.0),
        decay_s=(0.2, 1.5),
        wet_db=(-12.0, 0.0),
        room_share=0.7,
        noise_db=(-40.0, -10.0),
    ),
}
"""The values of `train.augmentation` besides `none`."""

_FILTERED = 0.5
"""Share of the clips that get soft clipping, a low-pass, a high-pass."""

_OCTAVES = np.arange(-4, 4)
"""Bands of the equaliser, in octaves from 1 kHz."""

_LOWEST_HZ = 30.0
"""The slopes of equaliser and noise are flat below this frequency, where clips are inaudible."""

_TAIL_S = 1.0
"""Length of the reverberation: after a second even the longest has fallen by 40 dB."""

_PREDELAY_S = 0.005
"""From the direct sound to the reverberation."""


class AugmentedSet(ClipSet):
    """A data set with each clip augmented, float32 of mean 0 and RMS 1.

    The settings depend on `epoch` (from 0), which `trainer.SetEpoch` sets in a training.
    """

    def __init__(self, clips: ClipSet, strength: Strength, seed: int):
        self.clips, self.strength, self.seed = clips, strength, seed
        self.ids = clips.ids
        self.epoch = 0

    @property
    def content(self) -> tuple[Strength, int]:
        """What the augmented clips of the first epoch depend on, besides the clips and the code."""
        return self.strength, self.seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.clips[index]
        rng = generator(self.seed, Stream.AUGMENTATION, self.epoch, index)
        samples = augment(normalise(item["samples"]).numpy(), self.strength, rng)
        return {**item, "samples": normalise(torch.from_numpy(samples))}


def augmented_set(clips: ClipSet, name: str, seed: int) -> ClipSet:
    """The clips, augmented as `train.augmentation` says; the set itself for `none`."""
    return clips if name == "none" else AugmentedSet(clips, STRENGTHS[name], seed)


def augment(samples: np.ndarray, strength: Strength, rng: np.random.Generator) -> np.ndarray:
    """Soft clipping, equaliser and filters, reverberation and noise on a clip, float32 of shape (n,), with RMS 1."""
    if rng.random() < _FILTERED:
        drive = np.float32(amplitude(rng.uniform(*strength.drive_db)))
        samples = np.tanh(drive * samples) / drive
    size = fft.next_fast_len(samples.size + round(_TAIL_S * SAMPLE_RATE), real=True)
    spectrum = fft.rfft(samples, size)
    hertz = fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32)
    spectrum *= _equaliser(hertz, strength, rng)
    if rng.random() < strength.room_share:
        spectrum *= fft.rfft(_room(strength, rng), size)
    norm = float(np.linalg.norm(spectrum)) * math.sqrt(size / samples.size)
    spectrum += _noise(hertz, norm, strength, rng)
    return fft.irfft(spectrum, size)[: samples.size]


def _equaliser(hertz: np.ndarray, strength: Strength, rng: np.random.Generator) -> np.ndarray:
    """Zero-phase gain at each frequency, float32: tilt, bands, low-pass and high-pass."""
    octaves = np.log2(np.maximum(hertz, _LOWEST_HZ) / 1_000)
    gain_db = np.float32(rng.uniform(-1, 1) * strength.tilt_db) * octaves
    gain_db += np.interp(octaves, _OCTAVES, strength.band_db * rng.standard_normal(_OCTAVES.size)).astype(np.float32)
    power = 10 ** (gain_db / 10)
    if rng.random() < _FILTERED:
        power /= 1 + (hertz / _log_uniform(rng, strength.low_pass_hz)) ** 8
    if rng.random() < _FILTERED:
        fourth = (hertz / _log_uniform(rng, strength.high_pass_hz)) ** 4
        power *= fourth / (1 + fourth)
    return np.sqrt(power, dtype=np.float32)


def _room(strength: Strength, rng: np.random.Generator) -> np.ndarray:
    """A room's impulse response, float32: the direct sound, then noise that decays exponentially."""
    decay_s, wet_db = _log_uniform(rng, strength.decay_s), rng.uniform(*strength.wet_db)
    time = np.arange(round(min(decay_s, _TAIL_S - _PREDELAY_S) * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    tail = rng.standard_normal(time.size, dtype=np.float32) * 10 ** (-3 / decay_s * time)
    # Air and walls absorb high frequencies.
    tail[1:] += tail[:-1]
    tail *= amplitude(wet_db) / np.linalg.norm(tail)
    return np.concatenate([[1.0], np.zeros(round(_PREDELAY_S * SAMPLE_RATE) - 1), tail]).astype(np.float32)


def _noise(hertz: np.ndarray, norm: float, strength: Strength, rng: np.random.Generator) -> np.ndarray:
    """The spectrum of stationary noise, complex64, for a signal whose spectrum has this norm."""
    noise = rng.standard_normal((hertz.size, 2), dtype=np.float32).view(np.complex64)[:, 0]
    noise *= np.maximum(hertz, _LOWEST_HZ) ** np.float32(-rng.uniform(0, 1))
    noise[0] = 0
    return noise * np.float32(amplitude(rng.uniform(*strength.noise_db)) * norm / np.linalg.norm(noise))


def _log_uniform(rng: np.random.Generator, ends: Range) -> float:
    return math.exp(rng.uniform(*np.log(ends)))
