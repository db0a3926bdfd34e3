"""Recordings put together from their slices, each annotated as a whole."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tarkib.annotation import annotate
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.clips import ClipStore, Place
from tarkib.params import Annotate


@dataclass(frozen=True)
class Job:
    """The slices of one recording, rows of their table, and the folder of their shards."""

    folder: Path
    slices: tuple[dict, ...]
    params: Annotate


def plan(folder: Path, slice_rows: Iterable[dict], params: Annotate) -> list[Job]:
    """One job for each recording, its slices in order of time."""
    by_recording = defaultdict(list)
    for row in slice_rows:
        by_recording[row["recording_id"]].append(row)
    return [Job(folder, tuple(sorted(rows, key=lambda row: row["start_s"])), params) for rows in by_recording.values()]


def assemble(store: ClipStore, slice_rows: Sequence[dict]) -> np.ndarray:
    """The recording that slices were cut from, float32 of shape (n,): silent where a slice was dropped."""
    starts = [round(row["start_s"] * SAMPLE_RATE) for row in slice_rows]
    samples = np.zeros(max(starts) + CLIP_SAMPLES, np.float32)
    for start, row in zip(starts, slice_rows, strict=True):
        samples[start : start + CLIP_SAMPLES] = store.read(Place(row["shard"], row["offset"], row["size"]))
    return samples


def annotate_recording(job: Job) -> list[dict]:
    """Rows of the table of annotations for a recording's slices."""
    with ClipStore(job.folder) as store:
        samples = assemble(store, job.slices)
    first = job.slices[0]
    starts_s = [row["start_s"] for row in job.slices]
    annotations = annotate(samples, starts_s, first["instrument"], first["dastgah"], job.params)
    return [{"slice_id": row["slice_id"], **asdict(one)} for row, one in zip(job.slices, annotations, strict=True)]
