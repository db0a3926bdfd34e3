"""The clip store: thousands of five-second clips in a few tar files, each clip one read away.

Tens of thousands of small files make DVC slow, so clips are members ``<clip_id>.flac`` (mono, PCM 16) of uncompressed
tar shards of `CLIPS_PER_SHARD`. A table beside the shards holds for each clip its shard, offset and size in bytes. This
module is the only one that knows all this. Equal clips give equal bytes: the tar headers hold no time and no owner.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import soundfile

from tarkib.audio.samples import SAMPLE_RATE
from tarkib.errors import TarkibError

CLIPS_PER_SHARD = 1_000

Item = TypeVar("Item")

_REMEDY = "delete the folder and run dvc repro (or dvc checkout)"
_FULL_SCALE = 32_768  # of PCM 16; the same factor both ways, so that storing a clip twice changes nothing


class Place(NamedTuple):
    """Where a clip is, as its table says: its shard's file name, its FLAC file's byte offset and size in it."""

    shard: str
    offset: int
    size: int

    @classmethod
    def of(cls, row: Mapping) -> "Place":
        return cls(row["shard"], row["offset"], row["size"])


class Places(Sequence[Place]):
    """Places of many clips, from the rows of a table, in one array: a seventh of a list, and shared by forks."""

    def __init__(self, rows: Iterable[Mapping]) -> None:
        columns = [("shard", "S16"), ("offset", np.int64), ("size", np.int64)]
        self._rows = np.array([tuple(Place.of(row)) for row in rows], columns)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Place:  # type: ignore[override]
        shard, offset, size = self._rows[index].tolist()
        return Place(shard.decode(), offset, size)


def shard_name(index: int) -> str:
    """File name of the index-th shard, counted from 0."""
    return f"shard-{index:05d}.tar"


def grouped(items: Iterable[Item], expected: Callable[[Item], float]) -> list[list[Item]]:
    """Items in groups for one shard each, in their order; `expected` estimates how many clips an item gives."""
    groups: list[list[Item]] = []
    room = 0.0
    for item in items:
        count = expected(item)
        if not groups or count > room:
            groups.append([])
            room = CLIPS_PER_SHARD
        groups[-1].append(item)
        room -= count
    return groups


def encode(samples: np.ndarray) -> bytes:
    """FLAC file of samples, shape (n,), rounded to 16 bits and clipped to full scale."""
    pcm = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode(flac: bytes, begin: int = 0, end: int | None = None, dtype: str = "float32") -> np.ndarray:
    """Samples, shape (n,), of a FLAC file; as "int16" they are what is stored, 32,768 times the float32."""
    return soundfile.read(io.BytesIO(flac), start=begin, stop=end, dtype=dtype)[0]


def write_shard(path: Path, clips: Iterable[tuple[str, np.ndarray]]) -> Iterator[Place]:
    """Write clips (their ids and samples) as a shard, and yield where each was put, in their order."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for clip_id, samples in clips:
            flac = encode(samples)
            member = tarfile.TarInfo(f"{clip_id}.flac")
            member.size = len(flac)
            member.mode = 0o644
            offset = tar.offset + tarfile.BLOCKSIZE  # behind the member's header
            tar.addfile(member, io.BytesIO(flac))
            yield Place(path.name, offset, len(flac))


def check(folder: Path, rows: Iterable[Mapping]) -> None:
    """Raise TarkibError where a shard that a table's rows name is missing, or ends before one of its clips does."""
    ends: dict[str, int] = {}
    for row in rows:
        ends[row["shard"]] = max(ends.get(row["shard"], 0), row["offset"] + row["size"])
    for shard, end in ends.items():
        size = (folder / shard).stat().st_size if (folder / shard).exists() else 0
        if size < end:
            raise TarkibError(f"{shard}: has {size} of the {end} bytes that were written in {folder}; run again")


class ClipStore(AbstractContextManager):
    """Reads clips out of a folder of shards. Cheap to make; may be copied to other processes."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._files: dict[str, int] = {}

    def read(self, place: Place, begin: int = 0, end: int | None = None, dtype: str = "float32") -> np.ndarray:
        """Samples of the clip at a place, as `decode` gives them. Raises TarkibError where there is none, or damage."""
        flac = self.read_bytes(place)
        try:
            return decode(flac, begin, end, dtype)
        except RuntimeError as error:  # libsndfile's own error: FLAC has checksums
            where = f"{self.folder / place.shard}: the clip at byte {place.offset}"
            raise TarkibError(f"{where} is damaged ({getattr(error, 'error_string', error)}): {_REMEDY}") from error

    def read_bytes(self, place: Place) -> bytes:
        """The FLAC file at a place. Raises TarkibError where there is none."""
        path = self.folder / place.shard
        if place.shard not in self._files:
            try:
                self._files[place.shard] = os.open(path, os.O_RDONLY)
            except OSError as error:
                raise TarkibError(f"{path}: {error.strerror}; run dvc repro or dvc checkout") from error
        flac = os.pread(self._files[place.shard], place.size, place.offset)
        if len(flac) != place.size or not flac.startswith(b"fLaC"):
            raise TarkibError(f"{path}: no clip at byte {place.offset}, where the table has it: {_REMEDY}")
        return flac

    def __exit__(self, *_: object) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict:  # open files do not travel between processes
        return {"folder": self.folder, "_files": {}}
