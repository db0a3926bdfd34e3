"""Whether mixtures sound as their rows say: heard from the sound itself, not from the code that made it.

Conventions
-----------
An envelope is onset strength, the growth of the log spectrum, at `ENVELOPE_RATE` values a second, shape (frames,).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from tarkib import audio, clips
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.clips import ClipStore, Place
from tarkib.mixing.material import neighbour
from tarkib.mixing.rendering import PEAK_DBFS, Renderer, by_mixture
from tarkib.mixing.verification import Defect
from tarkib.params import Augment

ENVELOPE_RATE = 200
LEAST_LIKENESS = 0.6
"""Two envelopes less alike than this do not tell a speed: a steady tone has no onsets to compare."""

SPEED_OFF = 0.04
"""Share by which a component's speed may be heard off its row's stretch."""

_STEP = 0.004
_BLUR_S = 0.015  # what a stretcher moves an onset by
_TRANSFORM = ShortTimeFFT(hann(512, sym=False), SAMPLE_RATE // ENVELOPE_RATE, SAMPLE_RATE)


class Speed(NamedTuple):
    """How fast something is played, relative to its recording, and how alike the two then are, -1 to 1."""

    factor: float
    likeness: float


def envelope(samples: np.ndarray) -> np.ndarray:
    """Onset strength of samples, shape (n,): shape (about n / 120,)."""
    magnitudes = np.abs(_TRANSFORM.stft(samples, p0=0, p1=samples.size // _TRANSFORM.hop))
    power = np.log(magnitudes + 1e-3 * magnitudes.max(initial=1e-9))
    growth = np.maximum(np.diff(power, axis=1, prepend=power[:, :1]), 0.0).sum(axis=0)
    return gaussian_filter1d(growth, _BLUR_S * ENVELOPE_RATE)


def speed(recording: np.ndarray, played: np.ndarray, most: float) -> Speed:
    """The factor by which `played` is faster than `recording`; both begin at the same note, shape (n,).

    The recording's envelope is warped by every factor from 1 / `most` to `most` and a little beyond, and the one that
    is most like the played one's (Pearson's correlation) is the answer.
    """
    if min(played.size, recording.size) < SAMPLE_RATE:
        return Speed(1.0, -1.0)
    heard, original = envelope(played), envelope(recording)
    limit = np.log(most) + 0.05
    factors = np.exp(np.arange(-limit, limit + _STEP, _STEP))
    places = np.outer(factors, np.arange(heard.size))
    # Where a slow factor's recording would have to go on beyond what there is of it, nothing is compared.
    inside = places < original.size
    warped = np.interp(places, np.arange(original.size), original)
    likeness = _correlation(np.broadcast_to(heard, warped.shape), warped, inside)
    best = int(np.argmax(likeness))
    return Speed(float(factors[best]), float(likeness[best]))


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
    """Hold mixtures' sound against their rows: what is stored, its length and peak, and each component's speed.

    Parameters
    ----------
    folder : of the mixtures' shards.
    renderer : of their slices.
    mixtures, components : rows; of the mixtures those to listen to.
    """
    parts, defects, speeds, untold = by_mixture(components), [], 0, 0
    with ClipStore(folder) as store:
        for mixture in mixtures:
            mixture_id, some = mixture["mixture_id"], parts[mixture["mixture_id"]]
            stored = store.read(Place(mixture["shard"], mixture["offset"], mixture["size"]))
            defects += [Defect(mixture_id, "sound", one) for one in _sound(stored, renderer.mixture(mixture, some))]
            for row in some:
                heard = speed(_recording(renderer, row), renderer.component(row), params.max_stretch)
                told = heard.likeness >= LEAST_LIKENESS
                speeds, untold = speeds + told, untold + (not told)
                if told and abs(math.log(heard.factor / row["stretch"])) > math.log(1 + SPEED_OFF):
                    said = (
                        f"{row['slice_id']}: is played {heard.factor:.3f} times as fast, its row says {row['stretch']}"
                    )
                    defects.append(Defect(mixture_id, "speed", said))
    return Heard(defects, len(mixtures), speeds, untold)


def _sound(stored: np.ndarray, rendered: np.ndarray) -> Iterator[str]:
    """A stored clip is what its rows give, five seconds long and within the peak limit."""
    if stored.size != CLIP_SAMPLES:
        yield f"has {stored.size} samples, not {CLIP_SAMPLES}"
    elif not np.array_equal(stored, clips.decode(clips.encode(rendered))):
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
