"""Checks that mixtures sound as their rows say, measured from the sound and not from the code that made it.

Speed and transposition of a component are measured by comparing it with its recording. For each candidate value the
recording's onset envelope (or log spectrum) is scaled (or shifted) accordingly; the value with the highest Pearson
correlation (-1 to 1) is taken.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.mixing.recipes import MAX_SHIFT_CENTS
from tarkib.mixing.rendering import PEAK_DBFS, Renderer, by_mixture
from tarkib.mixing.verification import Defect
from tarkib.params import Augment
from tarkib.runtime.text import counted

_SPEED_TOLERANCE, _SHIFT_TOLERANCE_CENTS = 0.04, 50.0  # of a component's measured speed (share) and transposition
_MIN_CORRELATION = 0.6  # below it nothing is measured: a steady tone has no onsets to compare
_MIN_LEAD = 0.05  # over the row's value: with a single onset at the very beginning all speeds are equally likely
_ROUNDING = 2 / 2**15  # other processors may round another way, by a last bit of 16
_SPEED_STEP = 0.004
_ENVELOPE_RATE = 200
_BLUR_S = 0.015  # by which a stretcher moves an onset
_ENVELOPE = ShortTimeFFT(hann(512, sym=False), SAMPLE_RATE // _ENVELOPE_RATE, SAMPLE_RATE)
_SPECTRUM = ShortTimeFFT(hann(8_192, sym=False), 2_048, SAMPLE_RATE)
_STEP_CENTS = 10.0
_NOTES_HZ = 150.0 * 2 ** (np.arange(0, 6_000, _STEP_CENTS) / 1_200)  # five octaves


class Match(NamedTuple):
    """The best value (a factor, or cents), its correlation, and by how much that exceeds the expected value's."""

    value: float
    correlation: float
    lead: float

    @property
    def reliable(self) -> bool:
        return self.correlation >= _MIN_CORRELATION

    def contradicts(self, expected: float, tolerance: float) -> bool:
        """Whether the expected value is wrong by more than `tolerance`."""
        return self.reliable and self.lead >= _MIN_LEAD and abs(self.value - expected) > tolerance


_UNMEASURED = Match(0.0, -1.0, 0.0)


def speed(recording: np.ndarray, played: np.ndarray, most: float, expected: float) -> Match:
    """The factor by which `played` is faster than `recording`; both begin at the same note, shape (n,).

    Factors from 1 / `most` to `most` and a little beyond are compared, as far as the recording reaches.
    """
    limit = math.log(most) + 0.05
    factors = np.exp(np.arange(-limit, limit + _SPEED_STEP, _SPEED_STEP))
    return _match(_envelope, recording, played, expected, factors, scale=factors)


def transposition(recording: np.ndarray, played: np.ndarray, expected: float) -> Match:
    """Cents by which the notes of `played` lie above those of `recording`, samples of shape (n,), at any speed.

    Up to a tone beyond `MAX_SHIFT_CENTS` is compared.
    """
    most = int((MAX_SHIFT_CENTS + 200.0) / _STEP_CENTS)
    steps = np.arange(-most, most + 1)
    return _match(_log_spectrum, recording, played, expected, steps * _STEP_CENTS, shift=-steps)


def _match(
    curve: Callable[[np.ndarray], np.ndarray],
    recording: np.ndarray,
    played: np.ndarray,
    expected: float,
    values: np.ndarray,
    scale: ArrayLike = 1,
    shift: ArrayLike = 0,
) -> Match:
    """The value at which the curve of `recording`, read at scale * i + shift, is likest to that of `played`.

    By Pearson's correlation, -1 where a curve is flat; less than a second is not measured.
    """
    if min(played.size, recording.size) < SAMPLE_RATE:
        return _UNMEASURED
    curves, original = curve(played), curve(recording)
    at = np.reshape(scale, (-1, 1)) * np.arange(curves.size) + np.reshape(shift, (-1, 1))
    inside = (at >= 0) & (at < original.size)
    candidates = np.interp(at, np.arange(original.size), original)
    pair = [
        (rows - rows.mean(axis=1, where=inside, keepdims=True)) * inside
        for rows in (np.broadcast_to(curves, candidates.shape), candidates)
    ]
    norms = np.prod([np.linalg.norm(rows, axis=1) for rows in pair], axis=0)
    correlation = np.where(norms > 0, np.sum(pair[0] * pair[1], axis=1) / np.maximum(norms, 1e-30), -1.0)
    best, nearest = int(np.argmax(correlation)), int(np.argmin(np.abs(values - expected)))
    return Match(float(values[best]), float(correlation[best]), float(correlation[best] - correlation[nearest]))


def _envelope(samples: np.ndarray) -> np.ndarray:
    """Onset strength, the growth of the log spectrum, `_ENVELOPE_RATE` values a second."""
    magnitudes = np.abs(_ENVELOPE.stft(samples, p0=0, p1=samples.size // _ENVELOPE.hop))
    power = np.log(magnitudes + 1e-3 * magnitudes.max(initial=1e-9))
    growth = np.maximum(np.diff(power, axis=1, prepend=power[:, :1]), 0.0).sum(axis=0)
    return gaussian_filter1d(growth, _BLUR_S * _ENVELOPE_RATE)


def _log_spectrum(samples: np.ndarray) -> np.ndarray:
    """Mean log spectrum over log frequency without its slow part, the timbre: shape (600,)."""
    power = (np.abs(_SPECTRUM.stft(samples)) ** 2).mean(axis=1)
    levels = np.log(power + 1e-6 * power.max(initial=1e-12))
    notes = np.interp(_NOTES_HZ, _SPECTRUM.f, levels)
    return notes - uniform_filter1d(notes, int(400 / _STEP_CENTS))


class Measured(NamedTuple):
    """Defects of some mixtures, and of how many components the speed was measured, or could not be."""

    defects: list[Defect]
    mixtures: int
    speeds: int
    unmeasured: int

    def summary(self) -> str:
        """A line for the user."""
        mixtures, speeds = counted(self.mixtures, "mixture"), counted(self.speeds, "component")
        unmeasured = f"; too few onsets to measure: {self.unmeasured}" if self.unmeasured else ""
        return f"measured the sound of {mixtures} and the speed of {speeds}{unmeasured}"


def measure(
    folder: Path, renderer: Renderer, mixtures: Sequence[Mapping], components: Sequence[dict], params: Augment
) -> Measured:
    """Check these mixtures' sound against their rows: the stored clip, each component's speed and notes."""
    parts, defects, speeds = by_mixture(components), [], []
    with ClipStore(folder) as store:
        for mixture in mixtures:
            mixture_id, rows = mixture["mixture_id"], parts[mixture["mixture_id"]]
            sentences = _check_clip(store.read(Place.of(mixture)), renderer.mixture(mixture, rows))
            defects += [Defect(mixture_id, "sound", sentence) for sentence in sentences]
            for row in rows:
                recording, played = _recording_of(renderer, row), renderer.component(row)
                stretch, cents = row["stretch"], row["shift_cents"]
                speeds.append(speed(recording, played, params.max_stretch, stretch))
                if speeds[-1].contradicts(stretch, _SPEED_TOLERANCE * stretch):
                    sentence = f"{row['slice_id']}: plays {speeds[-1].value:.3f} times as fast, its row says {stretch}"
                    defects.append(Defect(mixture_id, "speed", sentence))
                notes = transposition(recording, played, cents) if cents else _UNMEASURED
                if notes.contradicts(cents, _SHIFT_TOLERANCE_CENTS):
                    sentence = f"{row['slice_id']}: is transposed by {notes.value:.0f} cents, its row says {cents}"
                    defects.append(Defect(mixture_id, "notes", sentence))
    reliable = sum(match.reliable for match in speeds)
    return Measured(defects, len(mixtures), reliable, len(speeds) - reliable)


def _check_clip(stored: np.ndarray, rendered: np.ndarray) -> Iterator[str]:
    """A stored clip is the one rendered from its rows, five seconds long and within the peak limit."""
    if stored.size != CLIP_SAMPLES:
        yield f"has {stored.size} samples, not {CLIP_SAMPLES}"
    elif np.abs(stored - clips.decode(clips.encode(rendered))).max() > _ROUNDING:
        yield "is not the sound rendered from its rows"
    peak_db = audio.decibels(float(np.abs(stored).max(initial=0.0)))
    if peak_db > PEAK_DBFS + 0.001:
        yield f"peaks at {peak_db:.2f} dBFS, {PEAK_DBFS:g} is the most"


def _recording_of(renderer: Renderer, row: Mapping) -> np.ndarray:
    """The part of its recording that a component plays, and a little more."""
    before, samples, after = renderer.around(row["slice_id"])
    begin = before.size + round(row["offset_s"] * SAMPLE_RATE)
    around = np.concatenate([np.zeros(max(-begin, 0), np.float32), before, samples, after])[max(begin, 0) :]
    return around[: round((row["stretch"] + 0.1) * CLIP_SAMPLES)]
