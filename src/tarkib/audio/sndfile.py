"""libsndfile: kept from the terminal, and given files put together from parts of another where that reads badly."""

import bisect
import ctypes
import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import soundfile

from tarkib.audio.samples import LOUDEST

BLOCK_SAMPLES = 1 << 25  # of all channels together, 128 MiB

Piece = bytes | range
"""Bytes to insert, or positions of bytes in the other file."""

_OPENING = threading.Lock()  # libsndfile keeps the reason of a failed opening in one variable for all threads


@dataclass(frozen=True)
class Layout:
    """Where the sound of a file is.

    parts : sounds that follow each other, each a file made of pieces; none where the file is to be read as it is.
    remarks : what is odd about it, each a clause that follows "used, but".
    missing_seconds : how much shorter the sound is than the file's headers say; None where the decoder finds that out,
        and a file that is cut short is refused.
    """

    parts: tuple[tuple[Piece, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    missing_seconds: float | None = None


def info(path: Path) -> soundfile._SoundFileInfo:
    """Description of a file. Raises LibsndfileError for a format that is not known."""
    with _OPENING, _QUIET:
        return soundfile.info(path)


@contextmanager
def opened(path: Path, part: tuple[Piece, ...] | None) -> Iterator[soundfile.SoundFile]:
    """A file, or a part of it, open in libsndfile."""
    with nullcontext(path) if part is None else io.BufferedReader(_Splice(path, part)) as source:
        with _OPENING, _QUIET:
            file = _File(source)
        with file:
            yield file


def blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """Blocks of an open file, of at most a minute: float32 of shape (frames, channels)."""
    most = max(1, min(60 * file.samplerate, BLOCK_SAMPLES // file.channels))
    left = file.frames  # no further: the rest may be anything
    while left:
        with _QUIET:
            block = file.read(min(most, left), dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        if file.format == "MP3":  # a damaged frame can decode to anything
            np.clip(block, -LOUDEST, LOUDEST, out=block)
        left -= len(block)
        yield block


class _File(soundfile.SoundFile):
    def seekable(self) -> bool:
        """False: else `read` seeks after each block, and Ogg files with lost pages then repeat sound."""
        return False


class _Splice(io.RawIOBase):
    """Pieces of a file as a file of their own."""

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        self._file = path.open("rb", buffering=0)
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(map(len, self._pieces)))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, max(self._ends, default=0))[whence])
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from one piece: the buffered reader asks until it has enough."""
        k = bisect.bisect_right(self._ends, self._at)
        if k == len(self._pieces):
            return 0
        piece, left = self._pieces[k], self._ends[k] - self._at
        count = min(left, len(buffer))
        if isinstance(piece, range):
            self._file.seek(piece.stop - left)
            count = self._file.readinto(buffer[:count])
        else:
            buffer[:count] = piece[len(piece) - left :][:count]
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Quiet:
    """Discard what C code, not Python, writes to the standard error: libmpg123 warns of every damaged MP3 file.

    From when the first thread enters it until the last one leaves.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._kept = threading.Lock(), 0, _STDERR.value

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._kept, _STDERR.value = _STDERR.value, _NULL or _STDERR.value
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _STDERR.value = self._kept


def _streams() -> tuple[ctypes.c_void_p, int | None]:
    """C's variable for the standard error, and a stream to the null device; None where either is not known."""
    try:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        stderr = ctypes.c_void_p.in_dll(library, {"linux": "stderr", "darwin": "__stderrp"}[sys.platform])
        return stderr, library.fopen(os.devnull.encode(), b"w")
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return ctypes.c_void_p(), None


_STDERR, _NULL = _streams()
_QUIET = _Quiet()
