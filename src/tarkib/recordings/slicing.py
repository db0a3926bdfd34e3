"""Recordings split into training and validation, and cut into five-second slices, stored as clips.

Slices lie end to end from a recording's start. The last piece, or a whole recording, that is shorter than five seconds
is padded with silence where it has at least `min_seconds`. Silent slices are dropped. A slice's id names its recording
and its place in it (``tar-3f9a1c2b77de-0007`` begins at 35 s), so that slices of one recording never part unnoticed.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tarkib import audio, vocabulary
from tarkib.audio import clips
from tarkib.errors import TarkibError
from tarkib.params import Slice
from tarkib.recordings import folders
from tarkib.recordings.finding import Recording
from tarkib.runtime.streams import Stream, generator
from tarkib.runtime.text import counted, printable
from tarkib.tables import Roots

_IN_MEMORY = 64 << 20  # bytes of a recording's slices; more of them wait on the disk
_MOST_LINES = 20

Rows = tuple[list[dict], list[dict]]
"""Rows of the tables of recordings and of slices."""


@dataclass(frozen=True)
class Job:
    """One shard to make: the recordings whose slices it holds, in order, each with its split."""

    roots: Roots
    shard: Path
    recordings: tuple[tuple[Recording, str], ...]
    params: Slice


def split(recordings: Iterable[Recording], share: float, seed: int) -> dict[str, str]:
    """Decide for usable recordings, by recording_id, whether they are for ``train`` or ``validation``.

    The unit is the performer where one is named, in any case and keyboard, else the recording, so that no voice
    and no room is in both. Of each instrument about `share` of its units go to validation, at least one where it has
    two, and never the last one left for training. A performer of several instruments goes whole. The result depends
    on the seed and on the set of units.
    """
    recordings = list(recordings)
    performers = sorted({recording.performer for recording in recordings if recording.performer})
    spelling = dict(zip(performers, folders.one_spelling(performers), strict=True))
    members = defaultdict(list)
    for recording in recordings:
        name = recording.performer and spelling[recording.performer]
        members[f"performer {name}" if name else f"recording {recording.recording_id}"].append(recording)
    units = sorted(members)
    generator(seed, Stream.SPLIT).shuffle(units)
    plays = {unit: {recording.instrument or "" for recording in members[unit]} for unit in units}
    left = {name: sum(name in plays[unit] for unit in units) for name in vocabulary.INSTRUMENTS}
    wanted = {name: max(1, round(share * n)) if share > 0 and n > 1 else 0 for name, n in left.items()}
    split_of: dict[str, str] = {}
    for unit in units:
        is_held_out = any(wanted[name] > 0 for name in plays[unit]) and all(left[name] > 1 for name in plays[unit])
        for name in plays[unit] if is_held_out else ():
            wanted[name] -= 1
            left[name] -= 1
        for recording in members[unit]:
            split_of[recording.recording_id] = "validation" if is_held_out else "train"
    return split_of


def plan(roots: Roots, folder: Path, recordings: Sequence[Recording], params: Slice) -> list[Job]:
    """Gather the usable recordings into jobs of about `clips.CLIPS_PER_SHARD` slices, judged by the files' lengths.

    Each origin is split alone, so that one's own recordings are split alike with data.fill and without it. No performer
    is of both origins.
    """
    usable = [recording for recording in recordings if recording.usable]
    split_of: dict[str, str] = {}
    for origin in Roots._fields:
        alike = [recording for recording in usable if recording.origin == origin]
        split_of |= split(alike, params.validation_share, params.seed)

    def expected(pair: tuple[Recording, str]) -> float:
        return min(audio.seconds(roots.file(pair[0].row)) / audio.CLIP_SECONDS, params.max_per_recording or np.inf)

    groups = clips.grouped([(recording, split_of[recording.recording_id]) for recording in usable], expected)
    return [Job(roots, folder / clips.shard_name(i), tuple(group), params) for i, group in enumerate(groups)]


def cut(pieces: Iterable[np.ndarray], params: Slice, folder: Path) -> Iterator[tuple[int, np.ndarray, float]]:
    """The slices to be kept of a recording, which comes in pieces as `audio.pieces` cuts it.

    Yields a slice's number in the recording, its samples, shape (120000,), and its level in dB of full scale. Of more
    than `max_per_recording` that many are taken, spread evenly over the recording.

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
            waiting.seek(k * size)
            number, level = levels[k]
            yield number, np.frombuffer(waiting.read(size), np.float32), level


def slice_recordings(job: Job) -> Rows:
    """Write a job's shard. A recording that turns out to be unusable becomes a row with the reason."""
    recording_rows: list[dict] = []
    slice_rows: list[dict] = []

    def slices() -> Iterator[tuple[str, np.ndarray]]:
        # A minute of one recording is in memory: the shard is written while this runs.
        for recording, split_name in job.recordings:
            sound, before = audio.Stream(job.roots.file(recording.row)), len(slice_rows)
            try:
                for number, samples, level in cut(audio.pieces(sound), job.params, job.shard.parent):
                    slice_id = f"{recording.recording_id}-{number:04d}"
                    row = {
                        "slice_id": slice_id,
                        "recording_id": recording.recording_id,
                        "origin": recording.origin,
                        "instrument": recording.instrument,
                        "dastgah": recording.dastgah,
                        "avaz": recording.avaz,
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
    """All recordings' rows, one's own first, by path, and all slices' rows, in the order of the shards.

    Raises TarkibError where not one recording of an origin could be used: the orchestra completes recordings, it does
    not stand in for a folder of unusable ones.
    """
    recording_rows = [recording.row for recording in recordings if not recording.usable]
    slice_rows: list[dict] = []
    for job_recordings, job_slices in results:
        recording_rows += job_recordings
        slice_rows += job_slices
    recording_rows.sort(key=lambda row: (Roots._fields.index(row["origin"]), row["path"]))
    for origin in Roots._fields:
        alike = [row for row in recording_rows if row["origin"] == origin]
        if alike and all(row["status"] != "ok" for row in alike):
            reasons = "\n  ".join(_remarks(alike, ""))
            raise TarkibError(f"no usable recording among {len(alike)}:\n  {reasons}")
    return recording_rows, slice_rows


def summary(recording_rows: Sequence[dict], slice_rows: Sequence[dict]) -> list[str]:
    """Lines for the user: counts by origin, classes without material, each recording with a remark."""
    lines = []
    for origin, whose in (("own", "own recordings"), ("demo", "recordings of the synthetic orchestra")):
        if found := [row for row in recording_rows if row["origin"] == origin]:
            usable = sum(row["status"] == "ok" for row in found)
            played = {row["instrument"] for row in slice_rows if row["origin"] == origin}
            names = ", ".join(name for name in vocabulary.INSTRUMENTS if name in played)
            slices = counted(sum(row["origin"] == origin for row in slice_rows), "slice")
            lines.append(f"{whose}: {len(found)} ({usable} usable), {slices}: {names}")
    for split_name, consequence in (("train", "left out of the mixing"), ("validation", "not validated")):
        present = {row["instrument"] for row in slice_rows if row["split"] == split_name}
        if missing := [name for name in vocabulary.INSTRUMENTS if name not in present]:
            lines.append(f"no recordings for {split_name}, so {consequence}: {', '.join(missing)}")
    return lines + _remarks(recording_rows, "; all are in recordings.parquet")


def _remarks(recording_rows: Sequence[dict], where: str) -> list[str]:
    remarks = [f"{printable(row['path'])}: {row['reason']}" for row in recording_rows if row["reason"]]
    more = [f"... and {len(remarks) - _MOST_LINES} more{where}"]
    return remarks[:_MOST_LINES] + (more if len(remarks) > _MOST_LINES else [])
