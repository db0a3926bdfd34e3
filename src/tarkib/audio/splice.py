"""Files put together from parts of another: what a decoder is given where it would not find the sound by itself."""

import bisect
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

Piece = bytes | range
"""Bytes to insert, or positions of bytes in the other file."""


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


def open_splice(path: Path, pieces: Sequence[Piece]) -> BinaryIO:
    """Open pieces of a file as a file of their own."""
    return io.BufferedReader(_Splice(path, pieces))


class _Splice(io.RawIOBase):
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
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._at = max(0, start + offset)
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
