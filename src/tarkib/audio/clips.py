"""The clip store: thousands of five-second clips in a few tar files, each clip one read away.

Tens of thousands of small files make DVC slow, so clips live in uncompressed tar shards of `CLIPS_PER_SHARD`, named
``shard-00000.tar`` and so on, with members ``<clip_id>.flac`` (mono, PCM 16). A table beside the shards holds for each
clip its shard, offset and size in bytes. This module is the only one that knows all this.

Equal clips give equal bytes: the tar headers carry no time, owner or mode of their own.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from tarkib.audio import SAMPLE_RATE
from tarkib.errors import TarkibError

CLIPS_PER_SHARD = 1_000

_REMEDY = "delete the folder and run dvc repro (or dvc checkout)"
_FULL_SCALE = 32_768  # of PCM 16; the same factor both ways, so that storing a clip twice changes nothing


class Place(NamedTuple):
    """Where a clip is: its shard's file name, and the byte offset and size of its FLAC file in it."""

    shard: str
    offset: int
    size: int

    @classmethod
    def of(cls, row: Mapping) -> "Place":
        """Where a table's row says that its clip is."""
        return cls(row["shard"], row["offset"], row["size"])


class Places(Sequence[Place]):
    """Places of many clips as numbers in one array: 24 bytes a clip, whatever their count.

    A list of `Place` takes nine times as much, and a forked process that only looks at one of its objects copies the
    page it is on, to count the reference.

    Parameters
    ----------
    rows : of a table that has shard, offset and size.
    """

    def __init__(self, rows: Iterable[Mapping]) -> None:
        names: dict[str, int] = {}
        # shape (n, 3): the shard's number in the order of appearance, offset and size
        self._numbers = np.array(
            [(names.setdefault(row["shard"], len(names)), row["offset"], row["size"]) for row in rows], dtype=np.int64
        ).reshape(-1, 3)
        self._shards = tuple(names)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Place:
        shard, offset, size = self._numbers[index].tolist()
        return Place(self._shards[shard], offset, size)


def shard_name(index: int) -> str:
    """File name of the index-th shard, counted from 0."""
    return f"shard-{index:05d}.tar"


def encode(samples: np.ndarray) -> bytes:
    """FLAC file of samples, shape (n,), rounded to 16 bits; what lies outside full scale is clipped."""
    pcm = np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode(flac: bytes, begin: int = 0, end: int | None = None) -> np.ndarray:
    """Samples, float32 of shape (n,), of a FLAC file, or those from `begin` to before `end`.

    Inverse of `encode` but for its rounding. A part costs little more than its share of the whole.
    """
    return soundfile.read(io.BytesIO(flac), start=begin, stop=end, dtype="float32")[0]


def decode_pcm(flac: bytes) -> np.ndarray:
    """Samples as they are stored, int16 of shape (n,): 32,768 times what `decode` gives, in half the bytes."""
    return soundfile.read(io.BytesIO(flac), dtype="int16")[0]


def write_shard(path: Path, clips: Iterable[tuple[str, np.ndarray]]) -> Iterator[Place]:
    """Write clips (their ids and samples) as a shard, and yield where each was put, in their order."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for clip_id, samples in clips:
            flac = encode(samples)
            member = tarfile.TarInfo(f"{clip_id}.flac")
            member.size = len(flac)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(flac))
            # addfile has padded the member to whole blocks; its data began right behind its own header.
            padded = -(-len(flac) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            yield Place(path.name, tar.offset - padded, len(flac))


def check(folder: Path, rows: Iterable[Mapping]) -> None:
    """Raise TarkibError where a shard that a table's rows name is missing, or ends before one of its clips does."""
    ends: dict[str, int] = {}
    for row in rows:
        ends[row["shard"]] = max(ends.get(row["shard"], 0), row["offset"] + row["size"])
    for shard, end in ends.items():
        try:
            found = (folder / shard).stat().st_size
        except FileNotFoundError:
            found = 0
        if found < end:
            raise TarkibError(
                f"{shard}: has {found} of the {end} bytes that were written; something else deletes files in {folder}; "
                "nothing was replaced; run again"
            )


class ClipStore:
    """Reads clips out of a folder of shards. Cheap to make; may be copied to other processes.

    Parameters
    ----------
    folder : the folder that holds the shards.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._files: dict[str, int] = {}

    def read(self, place: Place, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Samples, float32 of shape (n,), of the clip at a place, or those from `begin` to before `end`.

        Raises TarkibError where the shard is missing, does not hold a clip there, or a damaged one.
        """
        return self._decoded(place, lambda flac: decode(flac, begin, end))

    def read_pcm(self, place: Place) -> np.ndarray:
        """Samples as they are stored, as `decode_pcm` gives them; raises as `read` does."""
        return self._decoded(place, decode_pcm)

    def _decoded(self, place: Place, decoder: Callable[[bytes], np.ndarray]) -> np.ndarray:
        flac = self.read_bytes(place)
        try:
            return decoder(flac)
        except RuntimeError as error:  # FLAC has checksums: libsndfile's own error is one
            reason = str(getattr(error, "error_string", error)).rstrip(".")
            raise TarkibError(
                f"{self.folder / place.shard}: the clip at byte {place.offset} is damaged ({reason}): {_REMEDY}"
            ) from error

    def read_bytes(self, place: Place) -> bytes:
        """The FLAC file at a place, as it is. Raises TarkibError where there is none."""
        flac = os.pread(self._file(place.shard), place.size, place.offset)
        if len(flac) != place.size or not flac.startswith(b"fLaC"):
            raise TarkibError(
                f"{self.folder / place.shard}: no clip at byte {place.offset}; "
                f"shards and table do not belong together: {_REMEDY}"
            )
        return flac

    def _file(self, shard: str) -> int:
        if shard not in self._files:
            try:
                self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
            except OSError as error:
                raise TarkibError(f"{self.folder / shard}: {error.strerror}; run dvc repro or dvc checkout") from error
        return self._files[shard]

    def close(self) -> None:
        """Close the shards that have been read from."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __enter__(self) -> "ClipStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict:
        # Open files do not travel between processes.
        return {"folder": self.folder, "_files": {}}
