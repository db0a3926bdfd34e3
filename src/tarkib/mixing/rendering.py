"""Rendering mixtures: equal rows of the tables give equal samples, at any time and in any order."""

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from python_stretch.Signalsmith import Stretch
from scipy.interpolate import make_interp_spline
from scipy.signal import ShortTimeFFT, fftconvolve, lfilter
from scipy.signal.windows import hann

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.runtime.streams import Stream

COMPONENT_RMS_DBFS = -26.0
"""RMS level of every component, without its silence, before its random gain, so that no recording masks the others and
five stay below the peak limit. Loudness (ITU-R BS.1770) would differ by 1 dB at most in the mean of an instrument,
while gains are drawn from a range of 12 dB."""

PEAK_DBFS = -1.0
"""Highest peak of a mixture; a louder one is scaled down as a whole, never clipped."""

# Ranges of random rooms, from a carpeted chamber to a hall: reverberation time, and level of the reverberation relative
# to the direct sound.
RT60_S, WET_DB = (0.2, 1.5), (-20.0, -6.0)

_FADE_SAMPLES = SAMPLE_RATE // 100
_MARGIN_SAMPLES = SAMPLE_RATE // 10  # the stretcher's first and last milliseconds are weak: they are cut off
_SILENCE = 1e-3  # of the peak: 60 dB below it
_STRETCHER_SEED = 1
# The stretcher's own blocks of 120 ms, but every 40 ms in place of 30: 0.7 of the time at nearly the same fidelity
# (docs/performance.md).
_BLOCK_SAMPLES, _INTERVAL_SAMPLES = SAMPLE_RATE * 120 // 1000, SAMPLE_RATE * 40 // 1000
_TONALITY_LIMIT = 8_000 / SAMPLE_RATE  # above it partials are shifted by a constant: noise and breath stay natural
_CACHED_SLICES = 256  # 0.5 MB each; only small data sets would meet more of them again
_FORMANT_WINDOW = 1024
_FORMANT_STFT = ShortTimeFFT(hann(_FORMANT_WINDOW, sym=False), 256, SAMPLE_RATE)
_LIFTER_S = 0.0015  # separates resonances 700 Hz apart, but not partials of notes below 600 Hz
_FORMANT_FLOOR = 1e-5
_FORMANT_GAIN = np.log(4.0)  # greatest correction of a frequency, up or down, so that silence is not amplified further
_PREDELAY_S = 0.01  # from the direct sound to the first reflection
_DAMPING = 0.5  # pole of a low-pass on the tail: walls and air absorb high frequencies first
_NO_SAMPLES = np.zeros(0, np.float32)


def stretch(samples: np.ndarray, factor: float, shift_cents: float = 0.0) -> np.ndarray:
    """Play samples, shape (n,), `factor` times as fast and transposed by some cents, shape (round(n / factor),).

    Tempo and pitch are independent (Signalsmith Stretch), and the formants stay where they were.
    """
    if factor == 1.0 and shift_cents == 0.0:
        return samples
    stretcher = Stretch(_STRETCHER_SEED)
    stretcher.configure(1, _BLOCK_SAMPLES, _INTERVAL_SAMPLES)
    stretcher.timeFactor = factor
    ratio = 2 ** (shift_cents / 1200)
    stretcher.setTransposeFactor(ratio, _TONALITY_LIMIT)
    played = np.asarray(stretcher.process(samples[np.newaxis]))[0]
    return played if shift_cents == 0.0 else restore_formants(played, ratio)


def restore_formants(samples: np.ndarray, ratio: float) -> np.ndarray:
    """Give transposed samples the formants (resonances of a body or mouth) that they had before, shape (n,).

    A transposition by `ratio` (2: an octave up) has moved the spectral envelope along with the notes: its value at f
    belongs at f / ratio. So each frequency is weighted with the envelope at f * ratio over the envelope at f, which is
    the cepstrum up to a quefrency of `_LIFTER_S` (cf. Röbel and Rodet, Efficient spectral envelope estimation, 2005).
    """
    if samples.size < _FORMANT_WINDOW:
        return samples
    spectrum = _FORMANT_STFT.stft(samples)
    cepstrum = np.fft.irfft(np.log(np.maximum(np.abs(spectrum), _FORMANT_FLOOR)), axis=0)
    quefrencies = int(_LIFTER_S * SAMPLE_RATE)
    cepstrum[quefrencies + 1 : -quefrencies] = 0.0
    envelope = np.fft.rfft(cepstrum, axis=0).real
    bins = np.arange(len(envelope))
    moved = make_interp_spline(bins, envelope, k=1)(np.minimum(bins * ratio, bins[-1]))
    corrected = spectrum * np.exp(np.clip(moved - envelope, -_FORMANT_GAIN, _FORMANT_GAIN))
    return _FORMANT_STFT.istft(corrected, k1=samples.size).astype(np.float32)


def component(
    before: np.ndarray,
    samples: np.ndarray,
    after: np.ndarray,
    *,
    offset_s: float = 0.0,
    factor: float = 1.0,
    shift_cents: float = 0.0,
    gain_db: float = 0.0,
) -> np.ndarray:
    """Render a component as it is added to a mixture, shape (120000,); `gain_db` is relative to `COMPONENT_RMS_DBFS`.

    `samples` is the slice, `before` and `after` are its neighbours in the recording or empty. The component begins at
    `offset_s`, in seconds of the recording from the slice's start. Before and after the recording it is silent.
    """
    around = np.concatenate([before, samples, after])
    begin = before.size + round(offset_s * SAMPLE_RATE)
    end = begin + math.ceil(CLIP_SAMPLES * factor)
    silent = min(round(max(-begin, 0) / factor), CLIP_SAMPLES)
    begin = max(begin, 0)
    lead = min(begin, _MARGIN_SAMPLES)
    played = stretch(around[begin - lead : end + _MARGIN_SAMPLES], factor, shift_cents)
    played = played[round(lead / factor) :][: CLIP_SAMPLES - silent].copy()
    # The level is measured without the padding of a recording's last slice.
    loud = np.abs(played) > _SILENCE * np.abs(played).max(initial=0.0)
    level = audio.rms(played[: played.size - int(np.argmax(loud[::-1]))])
    if level > 0:
        played *= audio.amplitude(COMPONENT_RMS_DBFS + gain_db) / level
    ramp = np.linspace(0.0, 1.0, min(_FADE_SAMPLES, played.size), dtype=np.float32)
    played[: ramp.size] *= ramp
    played[played.size - ramp.size :] *= ramp[::-1]
    return audio.fit(np.pad(played, (silent, 0)))


def room_response(rt60_s: float, wet_db: float) -> np.ndarray:
    """Impulse response of a room, float64 of shape (n,): 1 for the direct sound, then a tail of noise that decays.

    The simplest model of late reverberation (Moorer, About this reverberation business, 1979); equal for equal rooms.
    """
    rng = np.random.default_rng([Stream.MIX_REVERB, round(rt60_s * 1_000), round(-wet_db * 1_000)])
    time = np.arange(int((_PREDELAY_S + rt60_s) * SAMPLE_RATE)) / SAMPLE_RATE - _PREDELAY_S
    tail = np.where(time >= 0, rng.standard_normal(time.size) * 10 ** (-3 * time / rt60_s), 0.0)
    tail = lfilter([1 - _DAMPING], [1, -_DAMPING], tail)
    tail *= audio.amplitude(wet_db) / np.linalg.norm(tail)
    tail[0] = 1.0
    return tail


def _in_room(mixture: Mapping, samples: np.ndarray) -> np.ndarray:
    """Samples, shape (n,), in the mixture's room, if it has one: the reverberation after their end is cut off."""
    if mixture["room_rt60_s"] is None:
        return samples
    # In double precision, where the last bits in which processors differ do not reach the 16 bits of a file.
    response = room_response(mixture["room_rt60_s"], mixture["room_wet_db"])
    return fftconvolve(samples.astype(np.float64), response)[: samples.size].astype(np.float32)


def peak_scale(samples: np.ndarray) -> np.float32:
    """Factor of at most 1 that keeps the peak of samples, shape (n,), within `PEAK_DBFS`."""
    peak, most = float(np.abs(samples).max()), audio.amplitude(PEAK_DBFS)
    return np.float32(most / peak) if peak > most else np.float32(1.0)


class Neighbourhood(NamedTuple):
    """Places of a slice and of the slices next to it in its recording; None if there are none."""

    before: Place | None
    slice: Place
    after: Place | None


def places(slice_rows: Iterable[Mapping]) -> dict[str, Neighbourhood]:
    """Places of each slice of a table and its neighbours, by its id."""
    at = {(row["recording_id"], row["number"]): (row["slice_id"], Place.of(row)) for row in slice_rows}
    nothing = None, None
    return {
        slice_id: Neighbourhood(at.get((name, number - 1), nothing)[1], place, at.get((name, number + 1), nothing)[1])
        for (name, number), (slice_id, place) in at.items()
    }


class Renderer:
    """Renders mixtures from a store of slices; `places` says where each slice and its neighbours are, by its id."""

    def __init__(self, store: ClipStore, places: Mapping[str, Neighbourhood]) -> None:
        self.store, self.places = store, places
        self._slice = functools.lru_cache(_CACHED_SLICES)(store.read)

    def around(self, slice_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Samples of a slice between those of its neighbours: each of shape (120000,), or (0,) if not there."""
        before, samples, after = (self._slice(place) if place else _NO_SAMPLES for place in self.places[slice_id])
        return before, samples, after

    def component(self, row: Mapping) -> np.ndarray:
        """A row of the table of components as sound, shape (120000,), with its gain, without the room."""
        if row["slice_id"] not in self.places:
            raise TarkibError(
                f"{row['mixture_id']}: its slice {row['slice_id']} is not in {self.store.folder}; mixtures and slices "
                "do not belong together: run dvc repro (or dvc checkout)"
            )
        before, place, after = self.places[row["slice_id"]]
        factor, cents = row["stretch"], row["shift_cents"]
        margin = 0 if factor == 1.0 and cents == 0.0 else _MARGIN_SAMPLES
        begin = round(row["offset_s"] * SAMPLE_RATE)
        # Of the neighbours only what is played is decoded.
        first = max(CLIP_SAMPLES + begin - margin, 0)
        last = min(begin + math.ceil(CLIP_SAMPLES * factor) + margin - CLIP_SAMPLES, CLIP_SAMPLES)
        earlier = self.store.read(before, first, CLIP_SAMPLES) if before and first < CLIP_SAMPLES else _NO_SAMPLES
        later = self.store.read(after, 0, last) if after and last > 0 else _NO_SAMPLES
        options = {"offset_s": row["offset_s"], "factor": factor, "shift_cents": cents, "gain_db": row["gain_db"]}
        return component(earlier, self._slice(place), later, **options)

    def parts(self, mixture: Mapping, components: Sequence[Mapping]) -> list[np.ndarray]:
        """A mixture's components as they sound in it, each of shape (120000,): their sum is the mixture."""
        sounds = [_in_room(mixture, self.component(row)) for row in components]
        scale = peak_scale(np.asarray(np.sum(sounds, axis=0, dtype=np.float32)))
        return [sound * scale for sound in sounds]

    def mixture(self, mixture: Mapping, components: Sequence[Mapping]) -> np.ndarray:
        """A mixture as sound, shape (120000,): the sum of its components, scaled down as a whole if too loud."""
        total = np.asarray(np.sum([self.component(row) for row in components], axis=0, dtype=np.float32))
        total = _in_room(mixture, total)
        return total * peak_scale(total)


class Job(NamedTuple):
    """One shard to make: mixtures with their components' rows, and the places of their slices."""

    shard: Path
    slices: Path
    recipes: tuple[tuple[dict, list[dict]], ...]
    places: dict[str, Neighbourhood]


def by_mixture(components: Iterable[dict]) -> dict[str, list[dict]]:
    """Rows of components by their mixture's id."""
    parts = defaultdict(list)
    for row in components:
        parts[row["mixture_id"]].append(row)
    return dict(parts)


def plan(
    folder: Path, slices: Path, mixtures: Sequence[dict], components: Sequence[dict], slice_rows: Sequence[dict]
) -> list[Job]:
    """Divide mixtures into shards. `slices` is the folder of the slices' shards, `folder` that of the mixtures'."""
    parts, all_places = by_mixture(components), places(slice_rows)
    jobs = []
    for index, start in enumerate(range(0, len(mixtures), clips.CLIPS_PER_SHARD)):
        shard = mixtures[start : start + clips.CLIPS_PER_SHARD]
        recipes = tuple((mixture, parts[mixture["mixture_id"]]) for mixture in shard)
        needed = {row["slice_id"]: all_places[row["slice_id"]] for _, rows in recipes for row in rows}
        jobs.append(Job(folder / clips.shard_name(index), slices, recipes, needed))
    return jobs


def render_shard(job: Job) -> list[dict]:
    """Render and write a job's shard. Returns the rows of its mixtures with their places."""
    with ClipStore(job.slices) as store:
        renderer = Renderer(store, job.places)
        sounds = ((mixture["mixture_id"], renderer.mixture(mixture, parts)) for mixture, parts in job.recipes)
        written = list(clips.write_shard(job.shard, sounds))
    return [{**mixture, **place._asdict()} for (mixture, _), place in zip(job.recipes, written, strict=True)]
