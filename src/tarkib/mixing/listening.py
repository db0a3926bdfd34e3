"""Whether mixtures sound as their rows say: heard from the sound itself, not from the code that made it.

Conventions
-----------
How a component was played is heard by comparing it with its recording: under each speed (or transposition) that could
have been, the recording would have an envelope (or a spectrum), and the one that is most like what is heard tells. The
likeness is Pearson's correlation, -1 to 1.

An envelope is onset strength, the growth of the log spectrum, at `ENVELOPE_RATE` values a second, shape (frames,).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.mixing.material import neighbour
from tarkib.mixing.recipes import MAX_SHIFT_CENTS
from tarkib.mixing.rendering import PEAK_DBFS, Renderer, by_mixture
from tarkib.mixing.verification import Defect
from tarkib.params import Augment

SPEED_OFF = 0.04
"""Share by which a component's speed may be heard off its row's stretch."""

SHIFT_OFF_CENTS = 50.0
"""How far a component's transposition may be heard off its row's."""

ENVELOPE_RATE = 200

_LEAST_LIKENESS = 0.6  # less alike than this, nothing is told: a steady tone has no onsets to compare
_LEAST_LEAD = 0.05  # over what its row says: with one onset at the very beginning all speeds are equally likely
_ROUNDING = 2 / 2**15  # other processors may round another way, by a last bit of 16
_SPEED_STEP = 0.004
_BLUR_S = 0.015  # what a stretcher moves an onset by
_ENVELOPE = ShortTimeFFT(hann(512, sym=False), SAMPLE_RATE // ENVELOPE_RATE, SAMPLE_RATE)
_SPECTRUM = ShortTimeFFT(hann(8_192, sym=False), 2_048, SAMPLE_RATE)
_STEP_CENTS = 10.0
_NOTES_HZ = 150.0 * 2 ** (np.arange(0, 6_000, _STEP_CENTS) / 1_200)  # five octaves


class Match(NamedTuple):
    """What was heard: a factor or cents, how alike the two then are, and how much more than under what was expected."""

    value: float
    likeness: float
    lead: float

    @property
    def told(self) -> bool:
        """Whether the two have enough in common to tell."""
        return self.likeness >= _LEAST_LIKENESS

    def denies(self, expected: float, most_off: float) -> bool:
        """Whether it tells that what was expected is not so, by more than `most_off`."""
        return self.told and self.lead >= _LEAST_LEAD and abs(self.value - expected) > most_off


_UNTOLD = Match(0.0, -1.0, 0.0)


def speed(recording: np.ndarray, played: np.ndarray, most: float, expected: float) -> Match:
    """The factor by which `played` is faster than `recording`; both begin at the same note, shape (n,).

    Factors from 1 / `most` to `most` and a little beyond are compared. Of less than a second nothing is told.
    """
    if min(played.size, recording.size) < SAMPLE_RATE:
        return _UNTOLD
    heard, original = envelope(played), envelope(recording)
    limit = math.log(most) + 0.05
    factors = np.exp(np.arange(-limit, limit + _SPEED_STEP, _SPEED_STEP))
    places = np.outer(factors, np.arange(heard.size))
    # Where a recording would have to go on beyond what there is of it, nothing is compared.
    inside = places < original.size
    warped = np.interp(places, np.arange(original.size), original)
    return _best(factors, _correlation(np.broadcast_to(heard, warped.shape), warped, inside), expected)


def envelope(samples: np.ndarray) -> np.ndarray:
    """Onset strength of samples, shape (n,): shape (about n / 120,)."""
    magnitudes = np.abs(_ENVELOPE.stft(samples, p0=0, p1=samples.size // _ENVELOPE.hop))
    power = np.log(magnitudes + 1e-3 * magnitudes.max(initial=1e-9))
    growth = np.maximum(np.diff(power, axis=1, prepend=power[:, :1]), 0.0).sum(axis=0)
    return gaussian_filter1d(growth, _BLUR_S * ENVELOPE_RATE)


def transposition(recording: np.ndarray, played: np.ndarray, expected: float) -> Match:
    """Cents by which the notes of `played` lie above those of `recording`, samples of shape (n,), at whatever speed.

    Up to a tone beyond `MAX_SHIFT_CENTS` is compared. Of less than a second nothing is told.
    """
    if min(played.size, recording.size) < SAMPLE_RATE:
        return _UNTOLD
    heard, original = _notes(played), _notes(recording)
    most = int((MAX_SHIFT_CENTS + 200.0) / _STEP_CENTS)
    steps = np.arange(-most, most + 1)
    places = np.arange(original.size) - steps[:, np.newaxis]
    inside = (places >= 0) & (places < original.size)
    moved = original[np.clip(places, 0, original.size - 1)]
    return _best(steps * _STEP_CENTS, _correlation(np.broadcast_to(heard, moved.shape), moved, inside), expected)


def _notes(samples: np.ndarray) -> np.ndarray:
    """Mean log spectrum over log frequency without its slow part, the timbre: shape (600,)."""
    power = (np.abs(_SPECTRUM.stft(samples)) ** 2).mean(axis=1)
    levels = np.log(power + 1e-6 * power.max(initial=1e-12))
    notes = np.interp(_NOTES_HZ, _SPECTRUM.f, levels)
    return notes - uniform_filter1d(notes, int(400 / _STEP_CENTS))


def _best(values: np.ndarray, likeness: np.ndarray, expected: float) -> Match:
    best, said = int(np.argmax(likeness)), int(np.argmin(np.abs(values - expected)))
    return Match(float(values[best]), float(likeness[best]), float(likeness[best] - likeness[said]))


def _correlation(ones: np.ndarray, others: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each row of one array with that of another, -1 where one does not vary."""
    ones, others = (array - array.mean(axis=1, where=where, keepdims=True) for array in (ones, others))
    ones, others = ones * where, others * where
    norms = np.linalg.norm(ones, axis=1) * np.linalg.norm(others, axis=1)
    return np.where(norms > 0, np.sum(ones * others, axis=1) / np.maximum(norms, 1e-30), -1.0)


class Heard(NamedTuple):
    """What listening to some mixtures found: defects, and of how many components the speed was, or was not, told."""

    defects: list[Defect]
    mixtures: int
    speeds: int
    untold: int

    def summary(self) -> str:
        """What a person wants to know after it, in a line."""
        untold = f", {self.untold} have too few onsets for that" if self.untold else ""
        return f"listened to {self.mixtures} mixtures: heard how fast {self.speeds} components are played{untold}"


def listen(
    folder: Path, renderer: Renderer, mixtures: Sequence[Mapping], components: Sequence[Mapping], params: Augment
) -> Heard:
    """Hold mixtures' sound against their rows: what is stored, its length and peak, each component's speed and notes.

    Parameters
    ----------
    folder : of the mixtures' shards.
    renderer : of their slices.
    mixtures, components : rows; of the mixtures those to listen to.
    """
    parts, defects, told, untold = by_mixture(components), [], 0, 0
    with ClipStore(folder) as store:
        for mixture in mixtures:
            mixture_id, some = mixture["mixture_id"], parts[mixture["mixture_id"]]
            stored = store.read(Place.of(mixture))
            defects += [Defect(mixture_id, "sound", one) for one in _sound(stored, renderer.mixture(mixture, some))]
            for row in some:
                recording, played = _recording(renderer, row), renderer.component(row)
                heard = speed(recording, played, params.max_stretch, row["stretch"])
                told, untold = told + heard.told, untold + (not heard.told)
                if heard.denies(row["stretch"], SPEED_OFF * row["stretch"]):
                    found = f"{row['slice_id']}: is played {heard.value:.3f} times as fast"
                    defects.append(Defect(mixture_id, "speed", f"{found}, its row says {row['stretch']}"))
                notes = transposition(recording, played, row["shift_cents"]) if row["shift_cents"] else _UNTOLD
                if notes.denies(row["shift_cents"], SHIFT_OFF_CENTS):
                    found = f"{row['slice_id']}: is heard {notes.value:.0f} cents from its recording"
                    defects.append(Defect(mixture_id, "notes", f"{found}, its row says {row['shift_cents']}"))
    return Heard(defects, len(mixtures), told, untold)


def _sound(stored: np.ndarray, rendered: np.ndarray) -> Iterator[str]:
    """A stored clip is what its rows give, five seconds long and within the peak limit."""
    if stored.size != CLIP_SAMPLES:
        yield f"has {stored.size} samples, not {CLIP_SAMPLES}"
    elif np.abs(stored - clips.decode(clips.encode(rendered))).max() > _ROUNDING:
        yield "is not what its rows give when rendered again"
    peak_db = audio.decibels(float(np.abs(stored).max(initial=0.0)))
    if peak_db > PEAK_DBFS + 0.001:
        yield f"peaks at {peak_db:.2f} dBFS, {PEAK_DBFS:g} is the most"


def _recording(renderer: Renderer, row: Mapping) -> np.ndarray:
    """What a component plays of its recording, from where it begins, and a little more."""
    before, samples, after = (renderer.slice(neighbour(row["slice_id"], step)) for step in (-1, 0, 1))
    begin = before.size + round(row["offset_s"] * SAMPLE_RATE)
    around = np.concatenate([np.zeros(max(-begin, 0), np.float32), before, samples, after])[max(begin, 0) :]
    return around[: round((row["stretch"] + 0.1) * CLIP_SAMPLES)]
