"""Recordings cut into five-second slices, stored as clips.

Slices lie end to end from a recording's start. The last piece, or a whole recording, that is shorter than five seconds
is padded with silence where it has at least `min_seconds`. Silent slices are dropped. A slice's id names its recording
and its place in it (``tar-3f9a1c2b77de-0007`` begins at 35 s), so that slices of one recording never part unnoticed.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tarkib import audio, vocabulary
from tarkib.audio import clips
from tarkib.errors import TarkibError
from tarkib.params import Slice
from tarkib.recordings.finding import Recording
from tarkib.recordings.splits import split
from tarkib.runtime.text import printable

_IN_MEMORY = 64 << 20  # bytes of a recording's slices; more of them wait on the disk
_MOST_LINES = 20

Rows = tuple[list[dict], list[dict]]
"""Rows of the tables of recordings and of slices."""


class Cut(NamedTuple):
    """A slice: its number in the recording, its samples, shape (120000,), and its level in dB of full scale."""

    number: int
    samples: np.ndarray
    rms_dbfs: float


@dataclass(frozen=True)
class Job:
    """One shard to make: the recordings whose slices it holds, in order, each with its split."""

    root: Path
    shard: Path
    recordings: tuple[tuple[Recording, str], ...]
    params: Slice


def cut(pieces: Iterable[np.ndarray], params: Slice, folder: Path) -> Iterator[Cut]:
    """The slices to be kept of a recording, which comes in pieces as `audio.pieces` cuts it.

    Where there are more than `max_per_recording`, that many are taken, spread evenly over the recording. There are none
    for a recording that is too short or silent throughout.

    The first slice is given when the recording has been read to its end, so that one that is damaged there gives none.
    Until then the slices wait, of a long recording in a temporary file in `folder`: memory does not grow with it.
    """
    levels: list[tuple[int, float]] = []
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)) as waiting:
        for number, piece in enumerate(pieces):
            level = round(audio.decibels(audio.rms(piece)), 3)
            if piece.size >= params.min_seconds * audio.SAMPLE_RATE and level >= params.min_rms_dbfs:
                levels.append((number, level))
                waiting.write(audio.fit(piece).astype(np.float32, copy=False).tobytes())
        size = audio.CLIP_SAMPLES * 4
        count = min(len(levels), params.max_per_recording or len(levels))
        for k in np.linspace(0, len(levels) - 1, count).round().astype(int):
            number, level = levels[k]
            waiting.seek(k * size)
            yield Cut(number, np.frombuffer(waiting.read(size), np.float32), level)


def plan(root: Path, folder: Path, recordings: Sequence[Recording], params: Slice) -> list[Job]:
    """Gather the usable recordings into jobs of about `clips.CLIPS_PER_SHARD` slices, judged by the files' lengths."""
    usable = [recording for recording in recordings if recording.usable]
    split_of = split(usable, params.validation_share, params.seed)
    groups: list[list[tuple[Recording, str]]] = []
    room = 0.0
    for recording in usable:
        expected = min(audio.seconds(root / recording.path) / audio.CLIP_SECONDS, params.max_per_recording or np.inf)
        if not groups or expected > room:
            groups.append([])
            room = clips.CLIPS_PER_SHARD
        groups[-1].append((recording, split_of[recording.recording_id]))
        room -= expected
    return [Job(root, folder / clips.shard_name(i), tuple(group), params) for i, group in enumerate(groups)]


def slice_recordings(job: Job) -> Rows:
    """Write a job's shard. A recording that turns out to be unusable becomes a row with the reason."""
    recording_rows: list[dict] = []
    slice_rows: list[dict] = []

    def slices() -> Iterator[tuple[str, np.ndarray]]:
        # A minute of one recording is in memory: the shard is written while this runs.
        for recording, split_name in job.recordings:
            sound, before = audio.Stream(job.root / recording.path), len(slice_rows)
            try:
                for number, samples, level in cut(audio.pieces(sound), job.params, job.shard.parent):
                    slice_id = f"{recording.recording_id}-{number:04d}"
                    row = {
                        "slice_id": slice_id,
                        "recording_id": recording.recording_id,
                        "instrument": recording.instrument,
                        "dastgah": recording.dastgah,
                        "split": split_name,
                        "number": number,
                        "start_s": number * audio.CLIP_SECONDS,
                        "rms_dbfs": level,
                    }
                    slice_rows.append(row)
                    yield slice_id, samples
                recording = _judged(recording, sound, len(slice_rows) > before, job.params)
            except TarkibError as error:
                recording = recording.rejected(str(error))
            recording_rows.append(recording.row)

    places = list(clips.write_shard(job.shard, slices()))
    return recording_rows, [{**row, **place._asdict()} for row, place in zip(slice_rows, places, strict=True)]


def _judged(recording: Recording, sound: audio.Stream, is_used: bool, params: Slice) -> Recording:
    """A recording that was decoded, with a reason where it has no slices or something is odd about it."""
    recording = replace(recording, seconds=sound.file_seconds, sample_rate=sound.file_sample_rate)
    if is_used:
        return replace(recording, reason=f"used, but {'; '.join(sound.remarks)}" if sound.remarks else None)
    if sound.file_seconds < params.min_seconds:
        return recording.rejected(f"{sound.file_seconds:.2f} s long; slice.min_seconds is {params.min_seconds:g}")
    return recording.rejected(f"silent: no slice reaches slice.min_rms_dbfs, {params.min_rms_dbfs:g} dB")


def gather(recordings: Sequence[Recording], results: Iterable[Rows]) -> Rows:
    """All recordings' rows, in the order of their paths, and all slices' rows, in the order of the shards.

    Raises TarkibError where not one recording could be used.
    """
    recording_rows = [recording.row for recording in recordings if not recording.usable]
    slice_rows: list[dict] = []
    for job_recordings, job_slices in results:
        recording_rows += job_recordings
        slice_rows += job_slices
    recording_rows.sort(key=lambda row: row["path"])
    if not slice_rows:
        reasons = "\n  ".join(_remarks(recording_rows)[:_MOST_LINES])
        raise TarkibError(f"no usable recording among {len(recording_rows)}:\n  {reasons}")
    return recording_rows, slice_rows


def summary(recording_rows: Sequence[dict], slice_rows: Sequence[dict]) -> list[str]:
    """Lines for the user: counts, classes without material, and each recording with a remark."""
    used = sum(row["status"] == "ok" for row in recording_rows)
    lines = [f"{len(slice_rows)} slices from {used} of {len(recording_rows)} recordings"]
    for split_name, consequence in (("train", "left out of the mixing"), ("validation", "not validated")):
        present = {row["instrument"] for row in slice_rows if row["split"] == split_name}
        if missing := [name for name in vocabulary.INSTRUMENTS if name not in present]:
            lines.append(f"no recordings for {split_name}, so {consequence}: {', '.join(missing)}")
    remarks = _remarks(recording_rows)
    lines += remarks[:_MOST_LINES]
    if len(remarks) > _MOST_LINES:
        lines.append(f"... and {len(remarks) - _MOST_LINES} more; all are in recordings.parquet")
    return lines


def _remarks(recording_rows: Sequence[dict]) -> list[str]:
    return [f"{printable(row['path'])}: {row['reason']}" for row in recording_rows if row["reason"]]
