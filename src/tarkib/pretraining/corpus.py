"""Unlabelled recordings, decoded once into short pieces, from which any five seconds are read quickly.

A corpus is a folder of shards (`tarkib.audio.clips`) with two tables: `pieces.parquet`, a row per piece, and
`recordings.parquet`, a row per recording with the reason if it is not used. A recording's pieces are consecutive, each
a clip long except the last. An item of pre-training is five seconds of a recording with a mask of frames to predict: a
dict of `samples`, float32 `[120000]`, and `distance`, int64 `[T]`, each frame's distance in frames to the nearest
visible one (0 in visible frames). Item i depends on the seed and i alone, not on the number of processes.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tarkib import audio, tables
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Places
from tarkib.errors import TarkibError
from tarkib.models.mert import mask_spans
from tarkib.params import Pretrain
from tarkib.recordings import folders
from tarkib.recordings.folders import Entry
from tarkib.runtime import fingerprint, parallel
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.streams import Stream, generator
from tarkib.runtime.text import printable

PIECES = tables.declare("pieces", "path shard samples:int offset:int size:int")
RECORDINGS = tables.declare("recordings", "path seconds:float reason?")

_MIN_SECONDS = 1.0
_SILENT_DBFS = -70.0
_HELD_OUT_SHARE = 0.05


def find(root: Path | str) -> list[Entry]:
    """Every audio file below a folder except hidden ones, by path, links followed; TarkibError if there is none."""
    root = Path(root)
    if not root.is_dir():
        raise TarkibError(f"{root}: no such folder; put recordings there or point pretrain.recordings to them")
    entries = folders.listing(root).entries
    if not entries:
        raise TarkibError(f"{root}: no recordings; pre-training reads {' '.join(sorted(audio.SUFFIXES))}")
    return entries


def cut(root: Path | str, cache: Path, *, workers: int | None = None, engine: str = "local") -> "Corpus":
    """Cut the recordings below `root` into a corpus below `cache`, or open the corpus of the same recordings there.

    Recordings that are unreadable, silent or shorter than a second are skipped and listed in `Corpus.skipped`;
    TarkibError if there is no other.
    """
    root = Path(root)
    entries = find(root)
    code = fingerprint.of_files([Path(__file__), Path(audio.__file__).parent])
    paths = [entry.path for entry in entries if entry.problem is None]
    readable = [root / path for path in paths if os.access(root / path, os.R_OK)]
    folder = cache / fingerprint.of(fingerprint.of_files(readable), [tuple(entry) for entry in entries], code)[:16]
    if not folder.is_dir():
        with atomic_dir(folder) as partial_folder:
            groups = clips.grouped(paths, lambda path: audio.seconds(root / path) / audio.CLIP_SECONDS)
            jobs = [(partial_folder / clips.shard_name(i), group) for i, group in enumerate(groups)]
            unread = [(printable(entry.path), entry.problem) for entry in entries if entry.problem is not None]
            recordings = [{"path": path, "seconds": 0.0, "reason": reason} for path, reason in unread]
            pieces: list[dict] = []
            job = partial(_cut, root)
            for rows in parallel.map_jobs(job, jobs, what="cutting", workers=workers, engine=engine):
                pieces += rows[0]
                recordings += rows[1]
            recordings.sort(key=lambda row: str(row["path"]).split("/"))
            PIECES.write(partial_folder / "pieces.parquet", pieces)
            RECORDINGS.write(partial_folder / "recordings.parquet", recordings)
            clips.check(partial_folder, pieces)
    return Corpus(folder, str(root))


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


def split(corpus: Corpus, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the recordings to train on and of those held out: 5 %, at least one."""
    count = len(corpus.lengths)
    if count < 2:
        raise TarkibError(
            "one usable recording is not enough, since another is held out for validation; add recordings or cut it in "
            "two"
        )
    order = generator(seed, Stream.PRETRAIN_HELD_OUT).permutation(count)
    held = max(1, round(_HELD_OUT_SHARE * count))
    return np.sort(order[held:]), np.sort(order[:held])


class Excerpts(Dataset):
    """Random five-second clips of some of a corpus's recordings, and a mask for each.

    A pass draws one clip per piece of sound, in random order, each beginning anywhere in its piece.

    `recordings` are indices; `count` is the number of items, None for one pass; `frames` is T, the length of a mask.
    """

    def __init__(
        self, corpus: Corpus, recordings: np.ndarray, count: int | None, frames: int, params: Pretrain
    ) -> None:
        self.corpus, self.frames, self.seed, self.span = corpus, frames, params.seed, params.mask_frames
        # If each frame begins a span with probability p, (1 - p)^length of the frames stay visible.
        self.density = self.span * (1 - (1 - params.mask_share) ** (1 / self.span))
        pieces = -(-corpus.lengths[recordings] // audio.CLIP_SAMPLES)
        self.owners = np.repeat(recordings, pieces)
        self.numbers = np.concatenate([np.arange(n) for n in pieces])
        self.count = len(self.owners) if count is None else count
        self._pass: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index >= self.count:
            raise IndexError(index)
        rng = generator(self.seed, Stream.PRETRAIN_EXCERPT, index)
        piece = self._order(index // len(self.owners))[index % len(self.owners)]
        recording = int(self.owners[piece])
        # Near a recording's end a clip begins earlier: only a recording shorter than a clip is padded.
        latest = max(0, int(self.corpus.lengths[recording]) - audio.CLIP_SAMPLES)
        start = int(self.numbers[piece]) * audio.CLIP_SAMPLES + int(rng.integers(audio.CLIP_SAMPLES))
        mask = mask_spans(rng, 1, self.frames, self.density, self.span, 1)[0]
        return {
            "samples": torch.from_numpy(self.corpus.read(recording, min(start, latest))),
            "distance": torch.from_numpy(distances_to_visible(mask)),
        }

    def _order(self, number: int) -> np.ndarray:
        """The order of the pieces in a pass; the last one is kept."""
        if self._pass is None or self._pass[0] != number:
            rng = generator(self.seed, Stream.PRETRAIN_ORDER, number)
            self._pass = number, rng.permutation(len(self.owners))
        return self._pass[1]


def distances_to_visible(mask: np.ndarray) -> np.ndarray:
    """Distance of each frame of a mask, bool `[T]`, to the nearest visible one, int64 `[T]`; T if none is visible.

    >>> distances_to_visible(np.array([True, True, False, True, True, True, False]))
    array([2, 1, 0, 1, 2, 1, 0])
    """
    distances = np.abs(np.arange(len(mask))[:, None] - np.flatnonzero(~mask))
    return distances.min(axis=1, initial=len(mask))
