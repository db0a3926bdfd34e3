"""Make recipes sound: any row of the tables becomes the same samples whenever and wherever it is asked for."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from python_stretch.Signalsmith import Stretch

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.mixing import formants
from tarkib.mixing.material import neighbour
from tarkib.mixing.room import Room

COMPONENT_RMS_DBFS = -26.0
"""Level that every component is brought to before its drawn gain, so that no loud recording drowns the others.

Plain RMS over what sounds: it is energy in the model's input that is to be balanced. The loudness of ITU-R BS.1770
would cost more and change little: on the demo's slices the two differ by about 1 dB at most in the mean of an
instrument, where gains are drawn over 12 dB. The level leaves room for five components before the peak limit is met."""

PEAK_DBFS = -1.0
"""Highest peak of a mixture; a louder one is scaled down whole, never clipped."""

_FADE_SAMPLES = SAMPLE_RATE // 100
_MARGIN_SAMPLES = SAMPLE_RATE // 10  # the stretcher's first and last milliseconds are weak: they are cut off
_SILENCE = 1e-3  # of the peak: 60 dB below it nothing is heard
_STRETCHER_SEED = 1
# The stretcher's own blocks of 120 ms, but every 40 ms in place of 30: 0.7 of the time at nearly the same fidelity
# (docs/performance.md).
_BLOCK_SAMPLES, _INTERVAL_SAMPLES = SAMPLE_RATE * 120 // 1000, SAMPLE_RATE * 40 // 1000
_KEPT_SLICES = 256  # 0.5 MB each; more would seldom be met again but in small data sets, where they all fit
_NOTHING = np.zeros(0, np.float32)


def stretch(samples: np.ndarray, factor: float, shift_cents: float = 0.0) -> np.ndarray:
    """Play samples, shape (n,), `factor` times as fast and transposed by some cents, shape (round(n / factor),).

    Tempo and pitch are independent (Signalsmith Stretch), and the timbre's formants stay where they were. Factor 1
    without a shift gives the samples as they are, which the stretcher itself would not.
    """
    if factor == 1.0 and shift_cents == 0.0:
        return samples
    stretcher = Stretch(_STRETCHER_SEED)
    stretcher.configure(1, _BLOCK_SAMPLES, _INTERVAL_SAMPLES)
    stretcher.timeFactor = factor
    ratio = 2 ** (shift_cents / 1200)
    # Above the limit partials are shifted by a constant instead of a factor, which keeps noise and breath natural.
    stretcher.setTransposeFactor(ratio, 8_000 / SAMPLE_RATE)
    played = np.asarray(stretcher.process(samples[np.newaxis]))[0]
    return played if shift_cents == 0.0 else formants.restored(played, ratio)


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
    """One component as it is added to a mixture, shape (120000,).

    Parameters
    ----------
    before, samples, after : the slice and what its recording holds next to it, shape (n,), the neighbours maybe empty.
    offset_s : where it begins, in seconds of the recording from the start of `samples`; where the recording has not
        begun or has ended, the component is silent.
    factor, shift_cents : as for `stretch`.
    gain_db : relative to `COMPONENT_RMS_DBFS`, to which what sounds is brought first.
    """
    around = np.concatenate([before, samples, after])
    begin = before.size + round(offset_s * SAMPLE_RATE)
    end = begin + math.ceil(CLIP_SAMPLES * factor)
    silent = min(round(max(-begin, 0) / factor), CLIP_SAMPLES)
    begin = max(begin, 0)
    lead = min(begin, _MARGIN_SAMPLES)
    played = stretch(around[begin - lead : end + _MARGIN_SAMPLES], factor, shift_cents)
    played = played[round(lead / factor) :][: CLIP_SAMPLES - silent].copy()
    level = audio.rms(_sounding(played))
    if level > 0:
        played *= audio.amplitude(COMPONENT_RMS_DBFS + gain_db) / level
    ramp = np.linspace(0.0, 1.0, min(_FADE_SAMPLES, played.size), dtype=np.float32)
    played[: ramp.size] *= ramp
    played[played.size - ramp.size :] *= ramp[::-1]
    return audio.fit(np.pad(played, (silent, 0)))


def _sounding(samples: np.ndarray) -> np.ndarray:
    """Samples without the silence at their end: a recording's last slice is padded."""
    loud = np.abs(samples) > _SILENCE * np.abs(samples).max(initial=0.0)
    return samples[: samples.size - int(np.argmax(loud[::-1]))]


def headroom(samples: np.ndarray) -> np.float32:
    """Factor of at most 1 that keeps the peak of samples, shape (n,), within `PEAK_DBFS`."""
    peak, most = float(np.abs(samples).max()), audio.amplitude(PEAK_DBFS)
    return np.float32(most / peak) if peak > most else np.float32(1.0)


class Renderer:
    """Renders mixtures from a clip store of slices.

    Parameters
    ----------
    store : the slices.
    places : where each slice lies, by its id; neighbours that are not in it count as not recorded.
    """

    def __init__(self, store: ClipStore, places: Mapping[str, Place]) -> None:
        self.store, self.places = store, places
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()

    def slice(self, slice_id: str) -> np.ndarray:
        """A slice's samples, read-only, shape (120000,); of one that is not there none, shape (0,)."""
        if slice_id not in self.places:
            return _NOTHING
        if slice_id not in self._kept:
            samples = self.store.read(self.places[slice_id])
            samples.setflags(write=False)
            self._kept[slice_id] = samples
            if len(self._kept) > _KEPT_SLICES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(slice_id)
        return self._kept[slice_id]

    def component(self, row: Mapping) -> np.ndarray:
        """A row of the table of components as sound, shape (120000,), with its gain, as if alone and in a dry room.

        Raises TarkibError where its slice is not there.
        """
        slice_id = row["slice_id"]
        if slice_id not in self.places:
            raise TarkibError(
                f"{row['mixture_id']}: its slice {slice_id} is not in {self.store.folder}; mixtures and slices do not "
                "belong together: run dvc repro (or dvc checkout)"
            )
        as_recorded = row["stretch"] == 1.0 and row["shift_cents"] == 0.0
        margin = 0 if as_recorded else _MARGIN_SAMPLES
        begin = round(row["offset_s"] * SAMPLE_RATE)
        end = begin + math.ceil(CLIP_SAMPLES * row["stretch"])
        return component(
            self._part(neighbour(slice_id, -1), CLIP_SAMPLES + begin - margin, CLIP_SAMPLES),
            self.slice(slice_id),
            self._part(neighbour(slice_id, 1), 0, end + margin - CLIP_SAMPLES),
            offset_s=row["offset_s"],
            factor=row["stretch"],
            shift_cents=row["shift_cents"],
            gain_db=row["gain_db"],
        )

    def _part(self, slice_id: str, begin: int, end: int) -> np.ndarray:
        """Samples of a neighbour from `begin` to before `end`, as far as it has them, decoded no further than that."""
        begin, end = max(begin, 0), min(end, CLIP_SAMPLES)
        if begin >= end or slice_id not in self.places:
            return _NOTHING
        if slice_id in self._kept:
            return self._kept[slice_id][begin:end]
        return self.store.read(self.places[slice_id], begin, end)

    def parts(self, mixture: Mapping, components: Sequence[Mapping]) -> list[np.ndarray]:
        """A mixture's components as they sound in it, each of shape (120000,): their sum is the mixture.

        Parameters
        ----------
        mixture, components : rows of the tables.
        """
        sounds = [_in_room(mixture, self.component(row)) for row in components]
        scale = headroom(_sum(sounds))
        return [one * scale for one in sounds]

    def mixture(self, mixture: Mapping, components: Sequence[Mapping]) -> np.ndarray:
        """A mixture as sound, shape (120000,): the sum of its components, scaled down whole where it is too loud."""
        total = _in_room(mixture, _sum([self.component(row) for row in components]))
        return total * headroom(total)


def _sum(sounds: Sequence[np.ndarray]) -> np.ndarray:
    return np.sum(sounds, axis=0, dtype=np.float32)


def _in_room(mixture: Mapping, samples: np.ndarray) -> np.ndarray:
    if mixture["room_rt60_s"] is None:
        return samples
    return Room(mixture["room_rt60_s"], mixture["room_wet_db"]).sounding(samples)


@dataclass(frozen=True)
class Job:
    """One shard to make: mixtures with their components' rows, and the slices' places that they need."""

    shard: Path
    slices: Path
    recipes: tuple[tuple[dict, tuple[dict, ...]], ...]
    places: dict[str, Place]


def places(slice_rows: Sequence[dict]) -> dict[str, Place]:
    """Where each slice of a table lies, by its id."""
    return {row["slice_id"]: Place.of(row) for row in slice_rows}


def by_mixture(components: Sequence[dict]) -> dict[str, list[dict]]:
    """Rows of components by their mixture's id."""
    parts: dict[str, list[dict]] = {}
    for row in components:
        parts.setdefault(row["mixture_id"], []).append(row)
    return parts


def plan(
    folder: Path, slices: Path, mixtures: Sequence[dict], components: Sequence[dict], slice_rows: Sequence[dict]
) -> list[Job]:
    """Divide mixtures into shards. `slices` is the folder of the slices' shards, `folder` that of the mixtures'."""
    parts, all_places = by_mixture(components), places(slice_rows)
    jobs = []
    for index, start in enumerate(range(0, len(mixtures), clips.CLIPS_PER_SHARD)):
        some = mixtures[start : start + clips.CLIPS_PER_SHARD]
        recipes = tuple((row, tuple(parts[row["mixture_id"]])) for row in some)
        needed = {
            one: all_places[one]
            for _, rows in recipes
            for row in rows
            for one in (neighbour(row["slice_id"], step) for step in (-1, 0, 1))
            if one in all_places
        }
        jobs.append(Job(folder / clips.shard_name(index), slices, recipes, needed))
    return jobs


def render_shard(job: Job) -> list[dict]:
    """Render and write a job's shard. Returns the rows of its mixtures, now with their places."""
    with ClipStore(job.slices) as store:
        renderer = Renderer(store, job.places)

        def sounds() -> Iterator[tuple[str, np.ndarray]]:
            for mixture, components in job.recipes:
                yield mixture["mixture_id"], renderer.mixture(mixture, components)

        found = list(clips.write_shard(job.shard, sounds()))
    return [{**row, **place._asdict()} for (row, _), place in zip(job.recipes, found, strict=True)]
