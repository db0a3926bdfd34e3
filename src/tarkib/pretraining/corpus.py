"""Unlabelled recordings, decoded once into short pieces, from which any five seconds are read quickly.

A corpus is a folder of shards (`tarkib.audio.clips`) with two tables: `pieces.parquet`, a row per piece, and
`recordings.parquet`, a row per recording with the reason if it is not used. A recording's pieces are consecutive, each
a clip long except the last. An hour takes about 100 MB.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarkib import audio
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Places
from tarkib.errors import TarkibError
from tarkib.recordings import folders
from tarkib.recordings.folders import Entry
from tarkib.runtime import fingerprint, parallel
from tarkib.runtime.locks import file_lock
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.text import printable
from tarkib.tables import Table

_NUMBERS = [pa.field(name, pa.int64(), nullable=False) for name in ("samples", "offset", "size")]
_PATH = pa.field("path", pa.string(), nullable=False)
PIECES = Table("pieces", pa.schema([_PATH, pa.field("shard", pa.string(), nullable=False), *_NUMBERS]))
RECORDINGS = Table(
    "recordings",
    pa.schema([_PATH, pa.field("seconds", pa.float64(), nullable=False), pa.field("reason", pa.string())]),
)

_MIN_SECONDS = 1.0
_SILENT_DBFS = -70.0


def find(root: Path | str) -> list[Entry]:
    """Every audio file below a folder except hidden ones, sorted by path, links followed.

    Raises TarkibError if the folder is missing or holds no audio file.
    """
    root = Path(root)
    if not root.is_dir():
        raise TarkibError(f"{root}: no such folder; put recordings there or point pretrain.recordings to them")
    entries = folders.listing(root).entries
    if not entries:
        raise TarkibError(f"{root}: no recordings; pre-training reads {' '.join(sorted(audio.SUFFIXES))}")
    return entries


def cut(root: Path | str, cache: Path, *, workers: int | None = None, engine: str = "local") -> "Corpus":
    """Cut the recordings below `root` into a corpus below `cache`, or open the corpus of the same recordings there.

    Recordings that are unreadable, silent or shorter than a second are skipped and listed in `Corpus.skipped`. If
    another process is cutting the same recordings, its corpus is used. Raises TarkibError if the folder is missing or
    holds no usable recording.
    """
    root = Path(root)
    entries = find(root)
    code = fingerprint.of_files([Path(__file__), Path(audio.__file__).parent])
    paths = [entry.path for entry in entries if entry.problem is None]
    readable = [root / path for path in paths if os.access(root / path, os.R_OK)]
    folder = cache / fingerprint.of(fingerprint.of_files(readable), [tuple(entry) for entry in entries], code)[:16]
    # `atomic_dir` alone would let each process cut the recordings in turn.
    with file_lock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            with atomic_dir(folder) as partial_folder:
                jobs = [(partial_folder / clips.shard_name(i), group) for i, group in enumerate(_groups(root, paths))]
                pieces: list[dict] = []
                recordings = [
                    {"path": printable(entry.path), "seconds": 0.0, "reason": entry.problem}
                    for entry in entries
                    if entry.problem is not None
                ]
                for rows in parallel.map_jobs(
                    partial(_cut, root), jobs, what="cutting", workers=workers, engine=engine
                ):
                    pieces += rows[0]
                    recordings += rows[1]
                recordings.sort(key=lambda row: str(row["path"]).split("/"))
                PIECES.write(partial_folder / "pieces.parquet", pieces)
                RECORDINGS.write(partial_folder / "recordings.parquet", recordings)
                clips.check(partial_folder, pieces)
    return Corpus(folder, str(root))


def _groups(root: Path, paths: list[str]) -> list[list[str]]:
    """Group recordings into shards of about `clips.CLIPS_PER_SHARD` pieces, estimated from their headers."""
    groups: list[list[str]] = []
    room = 0.0
    for path in paths:
        expected = audio.seconds(root / path) / audio.CLIP_SECONDS
        if not groups or expected > room:
            groups.append([])
            room = clips.CLIPS_PER_SHARD
        groups[-1].append(path)
        room -= expected
    return groups


def _cut(root: Path, job: tuple[Path, list[str]]) -> tuple[list[dict], list[dict]]:
    """Write a shard of some recordings; rows of its pieces and of the recordings."""
    shard, paths = job
    pieces: list[dict] = []
    recordings: list[dict] = []

    def samples() -> Iterator[tuple[str, np.ndarray]]:
        # The shard is written while this runs, so that only a minute of a recording is in memory.
        for index, path in enumerate(paths):
            length, loudest, reason = 0, 0.0, None
            try:
                for number, piece in enumerate(audio.pieces(audio.Stream(root / path))):
                    length += piece.size
                    loudest = max(loudest, audio.rms(piece))
                    pieces.append({"path": path, "samples": piece.size})
                    yield f"{index:05d}-{number:06d}", piece
            except (TarkibError, OSError) as error:
                reason = str(error) if isinstance(error, TarkibError) else f"cannot be opened ({error.strerror})"
            seconds = length / audio.SAMPLE_RATE
            if reason is None and seconds < _MIN_SECONDS:
                reason = f"{seconds:.2f} s long, which is less than {_MIN_SECONDS:g}"
            elif reason is None and audio.decibels(loudest) < _SILENT_DBFS:
                reason = "silent throughout"
            recordings.append({"path": path, "seconds": seconds, "reason": reason})

    places = list(clips.write_shard(shard, samples()))
    unusable = {row["path"] for row in recordings if row["reason"]}
    rows = [{**row, **place._asdict()} for row, place in zip(pieces, places, strict=True)]
    return [row for row in rows if row["path"] not in unusable], recordings


class Corpus:
    """A corpus in a folder, as `cut` made it; TarkibError if it holds no usable recording.

    Attributes
    ----------
    lengths : samples of each usable recording, int64 `[recordings]`.
    skipped : a line for each recording that is not used, with the reason.
    identity : checksum of the sound in it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        recordings = RECORDINGS.read(folder / "recordings.parquet")
        self.skipped = [f"{printable(row['path'])}: {row['reason']}; skipped" for row in recordings if row["reason"]]
        if len(self.skipped) == len(recordings):
            raise TarkibError("\n  ".join([f"{name}: no usable recording", *self.skipped[:20]]))
        rows = PIECES.read(folder / "pieces.parquet")
        paths = np.array([row["path"] for row in rows])
        # The row of each recording's first piece.
        self._first = np.flatnonzero(np.concatenate([[True], paths[1:] != paths[:-1]]))
        self.lengths = np.add.reduceat(np.array([row["samples"] for row in rows], dtype=np.int64), self._first)
        self._places, self._store = Places(rows), ClipStore(folder)
        self.identity = folder.name

    @property
    def seconds(self) -> float:
        """Length of all usable recordings."""
        return float(self.lengths.sum()) / audio.SAMPLE_RATE

    def read(self, recording: int, start: int) -> np.ndarray:
        """A clip, float32 `(CLIP_SAMPLES,)`, of a recording from sample `start` on, zero beyond the recording's end."""
        piece, begin = divmod(start, audio.CLIP_SAMPLES)
        parts = [self._part(recording, piece, begin, audio.CLIP_SAMPLES)]
        if begin and (piece + 1) * audio.CLIP_SAMPLES < self.lengths[recording]:
            parts.append(self._part(recording, piece + 1, 0, begin))
        return audio.fit(np.concatenate(parts))

    def _part(self, recording: int, piece: int, begin: int, end: int) -> np.ndarray:
        end = min(end, int(self.lengths[recording]) - piece * audio.CLIP_SAMPLES)
        return self._store.read(self._places[int(self._first[recording]) + piece], begin, end)
