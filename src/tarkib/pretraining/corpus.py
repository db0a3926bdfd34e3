"""Unlabelled recordings, of any format and length, cut once into pieces from which any five seconds are soon read.

A corpus is a folder of shards (`tarkib.audio.clips`) with two tables: `pieces.parquet`, a row for each piece, and
`recordings.parquet`, a row for each recording found, with the reason where it is not used. The pieces of a recording
lie end to end and are a clip long but for the last one. An hour takes about 100 MB.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarkib import audio
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.recordings import folders
from tarkib.recordings.folders import Entry
from tarkib.runtime import fingerprint, parallel
from tarkib.runtime.locks import file_lock
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.text import printable
from tarkib.tables import Table

PIECES = Table(
    "pieces",
    pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("samples", pa.int64(), nullable=False),
            pa.field("shard", pa.string(), nullable=False),
            pa.field("offset", pa.int64(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
        ]
    ),
)
RECORDINGS = Table(
    "recordings",
    pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            pa.field("reason", pa.string()),
        ]
    ),
)

_LEAST_SECONDS = 1.0
_SILENT_DBFS = -70.0


@dataclass(frozen=True)
class Job:
    """One shard to make, of these recordings, whose paths are relative to the root."""

    root: Path
    shard: Path
    paths: tuple[str, ...]


def find(root: Path | str) -> list[Entry]:
    """Every audio file below a folder but hidden ones, in the order of their paths, links followed.

    Raises TarkibError where the folder is missing or holds no audio file.
    """
    root = Path(root)
    if not root.is_dir():
        raise TarkibError(f"{root}: no such folder; put recordings there or point pretrain.recordings to them")
    found = folders.listing(root).entries
    if not found:
        raise TarkibError(f"{root}: no recordings; pre-training takes {' '.join(sorted(audio.SUFFIXES))}")
    return found


def cut(root: Path | str, cache: Path, *, workers: int | None = None, engine: str = "local") -> "Corpus":
    """Cut the recordings below `root` into a corpus below `cache`, or open the one that was cut of the same before.

    What cannot be read, is silent throughout or shorter than a second is named in `Corpus.skipped`, and the rest goes
    on. Where another process is at the same recordings, its corpus is waited for and taken. Raises TarkibError where
    the folder is missing, or not one recording in it can be used.
    """
    root = Path(root)
    found = find(root)
    code = fingerprint.of_files([Path(__file__), Path(audio.__file__).parent])
    readable = [root / one.path for one in found if one.problem is None and os.access(root / one.path, os.R_OK)]
    folder = cache / fingerprint.of(fingerprint.of_files(readable), [tuple(one) for one in found], code)[:16]
    if not folder.is_dir():
        # Not one after the other, as `atomic_dir` would have it: they would all cut the same.
        with file_lock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _fill(folder, root, found, workers, engine)
    return Corpus(folder, str(root))


def _fill(folder: Path, root: Path, found: list[Entry], workers: int | None, engine: str) -> None:
    """Cut the recordings into a folder that is there once it is whole."""
    with atomic_dir(folder) as partial:
        jobs = _plan(root, partial, [one.path for one in found if one.problem is None])
        results = parallel.map_jobs(_cut, jobs, what="cutting", workers=workers, engine=engine)
        pieces: list[dict] = []
        recordings = [
            {"path": printable(path), "seconds": 0.0, "reason": problem}
            for path, problem in found
            if problem is not None
        ]
        for some_pieces, some_recordings in results:
            pieces += some_pieces
            recordings += some_recordings
        recordings.sort(key=lambda row: row["path"].split("/"))
        PIECES.write(partial / "pieces.parquet", pieces)
        RECORDINGS.write(partial / "recordings.parquet", recordings)
        clips.check(partial, pieces)


def _plan(root: Path, folder: Path, paths: list[str]) -> list[Job]:
    """Gather the recordings into jobs of about `clips.CLIPS_PER_SHARD` pieces, judged by the files' lengths."""
    groups: list[list[str]] = []
    room = 0.0
    for path in paths:
        expected = audio.seconds(root / path) / audio.CLIP_SECONDS
        if not groups or expected > room:
            groups.append([])
            room = clips.CLIPS_PER_SHARD
        groups[-1].append(path)
        room -= expected
    return [Job(root, folder / clips.shard_name(i), tuple(group)) for i, group in enumerate(groups)]


def _cut(job: Job) -> tuple[list[dict], list[dict]]:
    """Write a job's shard; rows of its pieces and of its recordings."""
    pieces: list[dict] = []
    recordings: list[dict] = []

    def cuts() -> Iterator[tuple[str, np.ndarray]]:
        # A minute of one recording at a time is in memory: the shard is written while this runs.
        for index, path in enumerate(job.paths):
            length, loudest, reason = 0, 0.0, None
            try:
                for number, piece in enumerate(audio.pieces(audio.Stream(job.root / path))):
                    length += piece.size
                    loudest = max(loudest, audio.rms(piece))
                    pieces.append({"path": path, "samples": piece.size})
                    yield f"{index:05d}-{number:06d}", piece
            except (TarkibError, OSError) as error:
                reason = str(error) if isinstance(error, TarkibError) else f"cannot be opened ({error.strerror})"
            seconds = length / audio.SAMPLE_RATE
            if reason is None and seconds < _LEAST_SECONDS:
                reason = f"{seconds:.2f} s long, which is less than {_LEAST_SECONDS:g}"
            elif reason is None and audio.decibels(loudest) < _SILENT_DBFS:
                reason = "silent throughout"
            recordings.append({"path": path, "seconds": seconds, "reason": reason})

    places = list(clips.write_shard(job.shard, cuts()))
    rows = [{**row, **place._asdict()} for row, place in zip(pieces, places, strict=True)]
    unusable = {row["path"] for row in recordings if row["reason"]}
    return [row for row in rows if row["path"] not in unusable], recordings


class Corpus:
    """A corpus in a folder, as `cut` made it.

    Attributes
    ----------
    lengths : samples of each usable recording, int64 `[recordings]`.
    first : number of each recording's first piece, int64 `[recordings]`.
    skipped : a line for each recording that is not used, with the reason.
    identity : names the sound in it.

    Raises TarkibError where it holds no usable recording.
    """

    def __init__(self, folder: Path | str, name: str = "") -> None:
        folder = Path(folder)
        recordings = RECORDINGS.read(folder / "recordings.parquet")
        self.skipped = [f"{printable(row['path'])}: {row['reason']}; skipped" for row in recordings if row["reason"]]
        if len(self.skipped) == len(recordings):
            raise TarkibError("\n  ".join([f"{name or folder}: no usable recording", *self.skipped[:20]]))
        rows = PIECES.read(folder / "pieces.parquet")
        paths = np.array([row["path"] for row in rows])
        samples = np.array([row["samples"] for row in rows], dtype=np.int64)
        self.first = np.flatnonzero(np.concatenate([[True], paths[1:] != paths[:-1]]))
        self.lengths = np.add.reduceat(samples, self.first)
        # Numbers in arrays, not an object a piece, so that workers share them.
        self._shards, self._shard = np.unique([row["shard"] for row in rows], return_inverse=True)
        self._offset = np.array([row["offset"] for row in rows], dtype=np.int64)
        self._size = np.array([row["size"] for row in rows], dtype=np.int64)
        self._store = ClipStore(folder)
        self.identity = folder.name

    @property
    def seconds(self) -> float:
        """Length of all usable recordings."""
        return float(self.lengths.sum()) / audio.SAMPLE_RATE

    def read(self, recording: int, start: int) -> np.ndarray:
        """The clip, float32 `(CLIP_SAMPLES,)`, of a recording from a sample on; silence follows the recording's end."""
        piece, begin = divmod(start, audio.CLIP_SAMPLES)
        parts = [self._part(recording, piece, begin, audio.CLIP_SAMPLES)]
        if begin and (piece + 1) * audio.CLIP_SAMPLES < self.lengths[recording]:
            parts.append(self._part(recording, piece + 1, 0, begin))
        return audio.fit(np.concatenate(parts))

    def _part(self, recording: int, piece: int, begin: int, end: int) -> np.ndarray:
        end = min(end, int(self.lengths[recording]) - piece * audio.CLIP_SAMPLES)
        row = int(self.first[recording]) + piece
        place = Place(str(self._shards[self._shard[row]]), int(self._offset[row]), int(self._size[row]))
        return self._store.read(place, begin, end)
