"""Make recipes sound: any row of the tables becomes the same samples whenever and wherever it is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from python_stretch.Signalsmith import Stretch

from tarkib import audio, clips
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.clips import ClipStore, Place

COMPONENT_RMS_DBFS = -26.0
"""Level that every component is brought to before its drawn gain, so that no loud recording drowns the others.

Plain RMS over the component: what is to be balanced is energy in the model's input, and a percussive slice's RMS
already lies well below its peaks. It leaves room for five components before the peak limit is met."""

PEAK_DBFS = -1.0
"""Highest peak of a mixture; a louder one is scaled down whole, never clipped."""

_FADE_SAMPLES = SAMPLE_RATE // 100
_MARGIN_SAMPLES = SAMPLE_RATE // 10  # the stretcher's first and last milliseconds are weak: they are cut off
_STRETCHER_SEED = 1


def stretch(samples: np.ndarray, factor: float, shift_cents: float = 0.0) -> np.ndarray:
    """Play samples, shape (n,), `factor` times as fast and transposed by some cents, shape (round(n / factor),).

    Tempo and pitch are independent (Signalsmith Stretch). Factor 1 without a shift gives the samples as they are, which
    the stretcher itself would not.
    """
    if factor == 1.0 and shift_cents == 0.0:
        return samples
    stretcher = Stretch(_STRETCHER_SEED)
    stretcher.preset(1, SAMPLE_RATE)
    stretcher.timeFactor = factor
    # Above the limit partials are shifted by a constant instead of a factor, which keeps noise and breath natural.
    stretcher.setTransposeFactor(2 ** (shift_cents / 1200), 8_000 / SAMPLE_RATE)
    return np.asarray(stretcher.process(samples[np.newaxis]))[0]


def component(
    samples: np.ndarray, before: np.ndarray, after: np.ndarray, factor: float, shift_cents: float, gain_db: float
) -> np.ndarray:
    """One component as it is added to a mixture, shape (120000,).

    Parameters
    ----------
    samples : the slice, shape (120000,).
    before, after : what its recording holds next to it, shape (n,), maybe empty. A slice played faster goes on with
        `after`; where that ends too early it begins in `before`, and only where that ends too it falls silent.
    factor, shift_cents : as for `stretch`.
    gain_db : relative to `COMPONENT_RMS_DBFS`.
    """
    needed = int(np.ceil(CLIP_SAMPLES * factor))
    around = np.concatenate([before, samples, after])
    begin = min(before.size, max(0, around.size - needed))
    if factor == 1.0 and shift_cents == 0.0:
        begin = before.size
    lead = min(begin, _MARGIN_SAMPLES)
    played = stretch(around[begin - lead : begin + needed + _MARGIN_SAMPLES], factor, shift_cents)
    played = played[round(lead / factor) :][:CLIP_SAMPLES].copy()
    level = audio.rms(played)
    if level > 0:
        played *= audio.amplitude(COMPONENT_RMS_DBFS + gain_db) / level
    ramp = np.linspace(0.0, 1.0, min(_FADE_SAMPLES, played.size), dtype=np.float32)
    played[: ramp.size] *= ramp
    played[played.size - ramp.size :] *= ramp[::-1]
    return audio.fit(played)


def mix(components: Sequence[np.ndarray]) -> np.ndarray:
    """Sum of components, each of shape (120000,); scaled down whole where its peak would exceed `PEAK_DBFS`."""
    mixture = np.sum(components, axis=0, dtype=np.float32)
    peak, most = float(np.abs(mixture).max()), audio.amplitude(PEAK_DBFS)
    return mixture * np.float32(most / peak) if peak > most else mixture


def neighbour(slice_id: str, step: int) -> str:
    """Id that the slice `step` places later in the same recording has, if there is one."""
    recording_id, number = slice_id.rsplit("-", 1)
    return f"{recording_id}-{int(number) + step:04d}"


class Renderer:
    """Renders mixtures from a clip store of slices.

    Parameters
    ----------
    store : the slices.
    places : where each slice lies, by its id; neighbours that are not in it count as not recorded.
    """

    def __init__(self, store: ClipStore, places: Mapping[str, Place]) -> None:
        self.store, self.places = store, places

    def _read(self, slice_id: str) -> np.ndarray:
        place = self.places.get(slice_id)
        return np.zeros(0, np.float32) if place is None else self.store.read(place)

    def component(self, row: Mapping) -> np.ndarray:
        """A row of the table of components as sound, shape (120000,)."""
        slice_id, factor, shift_cents = row["slice_id"], row["stretch"], row["shift_cents"]
        nothing = np.zeros(0, np.float32)
        alone = factor == 1.0 and shift_cents == 0.0
        before = nothing if alone else self._read(neighbour(slice_id, -1))
        after = nothing if alone else self._read(neighbour(slice_id, 1))
        samples = self.store.read(self.places[slice_id])
        return component(samples, before, after, factor, shift_cents, row["gain_db"])

    def mixture(self, rows: Sequence[Mapping]) -> np.ndarray:
        """A mixture as sound, shape (120000,), of the rows of its components."""
        return mix([self.component(row) for row in rows])


@dataclass(frozen=True)
class Job:
    """One shard to make: mixtures with their components' rows, and the slices' places that they need."""

    shard: Path
    slices: Path
    recipes: tuple[tuple[dict, tuple[dict, ...]], ...]
    places: dict[str, Place]


def plan(
    folder: Path, slices: Path, mixtures: Sequence[dict], components: Sequence[dict], slice_rows: Sequence[dict]
) -> list[Job]:
    """Divide mixtures into shards. `slices` is the folder of the slices' shards, `folder` that of the mixtures'."""
    parts: dict[str, list[dict]] = {row["mixture_id"]: [] for row in mixtures}
    for row in components:
        parts[row["mixture_id"]].append(row)
    places = {row["slice_id"]: Place(row["shard"], row["offset"], row["size"]) for row in slice_rows}
    jobs = []
    for index, start in enumerate(range(0, len(mixtures), clips.CLIPS_PER_SHARD)):
        some = mixtures[start : start + clips.CLIPS_PER_SHARD]
        recipes = tuple((row, tuple(parts[row["mixture_id"]])) for row in some)
        needed = {
            one: places[one]
            for _, rows in recipes
            for row in rows
            for one in (neighbour(row["slice_id"], step) for step in (-1, 0, 1))
            if one in places
        }
        jobs.append(Job(folder / clips.shard_name(index), slices, recipes, needed))
    return jobs


def render_shard(job: Job) -> list[dict]:
    """Render and write a job's shard. Returns the rows of its mixtures, now with their places."""
    with ClipStore(job.slices) as store:
        renderer = Renderer(store, job.places)

        def sounds() -> Iterator[tuple[str, np.ndarray]]:
            for mixture, components in job.recipes:
                yield mixture["mixture_id"], renderer.mixture(components)

        places = list(clips.write_shard(job.shard, sounds()))
    return [{**row, **place._asdict()} for (row, _), place in zip(job.recipes, places, strict=True)]
