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
from tarkib.recordings import finding
from tarkib.recordings.finding import Recording
from tarkib.runtime.text import printable

_HELD = 64 << 20
"""Bytes of a recording's slices that wait in memory, not on the disk."""


class Cut(NamedTuple):
    """A slice: its number in the recording, its samples, shape (120000,), and its level in dB of full scale."""

    number: int
    samples: np.ndarray
    rms_dbfs: float

    @property
    def start_s(self) -> float:
        return self.number * audio.CLIP_SECONDS


def cut(pieces: Iterable[np.ndarray], params: Slice, folder: Path | None = None) -> Iterator[Cut]:
    """The slices to be kept of a recording, which comes in pieces as `audio.pieces` cuts it.

    Where there are more than `max_per_recording`, that many are taken, spread evenly over the recording. There are none
    for a recording that is too short or silent throughout.

    The first slice is given when the recording has been read to its end, so that one that is damaged there gives none.
    Until then the slices wait, of a long recording in a temporary file in `folder`: memory does not grow with it.
    """
    found: list[tuple[int, float]] = []
    with tempfile.SpooledTemporaryFile(_HELD, dir=folder) as waiting:
        for number, piece in enumerate(pieces):
            level = audio.decibels(audio.rms(piece))
            if piece.size >= params.min_seconds * audio.SAMPLE_RATE and level >= params.min_rms_dbfs:
                found.append((number, level))
                waiting.write(audio.fit(piece).astype(np.float32, copy=False).tobytes())
        size = audio.CLIP_SAMPLES * 4
        for k in np.linspace(0, len(found) - 1, min(len(found), params.max_per_recording or len(found))):
            number, level = found[round(k)]
            waiting.seek(round(k) * size)
            yield Cut(number, np.frombuffer(waiting.read(size), np.float32), level)


@dataclass(frozen=True)
class Job:
    """One shard to make: the recordings whose slices it holds, in order, and their splits by recording_id."""

    root: Path
    shard: Path
    recordings: tuple[Recording, ...]
    splits: dict[str, str]
    params: Slice


def plan(root: Path, folder: Path, found: Sequence[Recording], params: Slice) -> list[Job]:
    """Gather the usable recordings into jobs of about `clips.CLIPS_PER_SHARD` slices, judged by the files' lengths."""
    usable = [one for one in found if one.usable]
    splits = finding.split(usable, params.validation_share, params.seed)
    groups: list[list[Recording]] = []
    room = 0.0
    for one in usable:
        expected = min(audio.seconds(root / one.path) / audio.CLIP_SECONDS, params.max_per_recording or np.inf)
        if not groups or expected > room:
            groups.append([])
            room = clips.CLIPS_PER_SHARD
        groups[-1].append(one)
        room -= expected
    return [
        Job(
            root,
            folder / clips.shard_name(index),
            tuple(group),
            {one.recording_id: splits[one.recording_id] for one in group},
            params,
        )
        for index, group in enumerate(groups)
    ]


def slice_recordings(job: Job) -> tuple[list[dict], list[dict]]:
    """Write a job's shard. Returns rows for the tables of recordings and of slices.

    A recording that turns out to be unusable becomes a row with the reason.
    """
    recording_rows: list[dict] = []
    slice_rows: list[dict] = []

    def pieces() -> Iterator[tuple[str, np.ndarray]]:
        # A minute of one recording is in memory: the shard is written while this runs.
        for one in job.recordings:
            sound, count = audio.stream(job.root / one.path), 0
            try:
                for piece in cut(_read(sound), job.params, job.shard.parent):
                    count += 1
                    slice_rows.append(_slice_row(one, piece, job.splits[one.recording_id]))
                    yield slice_rows[-1]["slice_id"], piece.samples
            except TarkibError as error:
                recording_rows.append(recording_row(one.rejected(str(error))))
            else:
                recording_rows.append(recording_row(_judged(one, sound, count, job.params), sound))

    places = list(clips.write_shard(job.shard, pieces()))
    return recording_rows, [{**row, **place._asdict()} for row, place in zip(slice_rows, places, strict=True)]


def _slice_row(one: Recording, piece: Cut, split: str) -> dict:
    """A slice's row, but for its place."""
    return {
        "slice_id": f"{one.recording_id}-{piece.number:04d}",
        "recording_id": one.recording_id,
        "number": piece.number,
        "instrument": one.instrument,
        "dastgah": one.dastgah,
        "split": split,
        "start_s": piece.start_s,
        "rms_dbfs": piece.rms_dbfs,
    }


def _read(sound: audio.Stream) -> Iterator[np.ndarray]:
    """A recording's pieces. What the system says of the file is a fault of this recording, and no other file's."""
    try:
        yield from audio.pieces(sound)
    except OSError as error:
        raise TarkibError(f"cannot be read ({error.strerror or error})") from error


def _judged(one: Recording, sound: audio.Stream, slices: int, params: Slice) -> Recording:
    """A recording that was decoded, with a reason where it has no slices or something is odd about it."""
    if not slices and sound.file_seconds < params.min_seconds:
        return one.rejected(f"{sound.file_seconds:.2f} s long; slice.min_seconds is {params.min_seconds:g}")
    if not slices:
        return one.rejected(f"silent: no slice reaches slice.min_rms_dbfs, {params.min_rms_dbfs:g} dB")
    return replace(one, reason=f"used, but {'; '.join(sound.remarks)}") if sound.remarks else one


def recording_row(one: Recording, sound: audio.Stream | None = None) -> dict:
    """A recording's row in the table of recordings."""
    return {
        "recording_id": one.recording_id,
        "path": one.path,
        "sha256": one.sha256,
        "instrument": one.instrument,
        "dastgah": one.dastgah,
        "tonic_hz": one.tonic_hz,
        "bpm": one.bpm,
        "performer": one.performer,
        "seconds": sound and sound.file_seconds,
        "sample_rate": sound and sound.file_sample_rate,
        "status": "ok" if one.usable else "rejected",
        "reason": one.reason,
    }


def gather(
    found: Sequence[Recording], results: Iterable[tuple[list[dict], list[dict]]]
) -> tuple[list[dict], list[dict]]:
    """All recordings' rows, in the order of their paths, and all slices' rows, in the order of the shards.

    Raises TarkibError where not one recording could be used.
    """
    recording_rows = [recording_row(one) for one in found if not one.usable]
    slice_rows: list[dict] = []
    for some_recordings, some_slices in results:
        recording_rows += some_recordings
        slice_rows += some_slices
    recording_rows.sort(key=lambda one: one["path"])
    if not slice_rows:
        reasons = "\n  ".join(f"{printable(one['path'])}: {one['reason']}" for one in recording_rows[:20])
        raise TarkibError(f"no usable recording among {len(recording_rows)}:\n  {reasons}")
    return recording_rows, slice_rows


def summary(recording_rows: Sequence[dict], slice_rows: Sequence[dict]) -> list[str]:
    """What a person wants to know after slicing: counts, classes without material, and each recording with a remark."""
    used = [one for one in recording_rows if one["status"] == "ok"]
    lines = [f"{len(slice_rows)} slices from {len(used)} of {len(recording_rows)} recordings"]
    for split, consequence in (("train", "left out of the mixing"), ("validation", "not validated")):
        present = {one["instrument"] for one in slice_rows if one["split"] == split}
        if missing := [name for name in vocabulary.INSTRUMENTS if name not in present]:
            lines.append(f"no recordings for {split}, so {consequence}: {', '.join(missing)}")
    remarked = [one for one in recording_rows if one["reason"]]
    lines += [f"{printable(one['path'])}: {one['reason']}" for one in remarked[:20]]
    if len(remarked) > 20:
        lines.append(f"... and {len(remarked) - 20} more; all are in recordings.parquet")
    return lines
