"""Files made of parts of another: what a decoder is given where it would not find the sound by itself."""

import bisect
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

Piece = bytes | range
"""Bytes of its own, or the positions of those in the other file."""


@dataclass(frozen=True)
class Layout:
    """Where the sound of a file is.

    parts : sounds that follow each other, each a file made of pieces; none where the file is to be read as it is.
    remarks : what is odd about it, each a clause that follows "used, but".
    missing_seconds : how much longer the file calls itself than what there is; None where the decoder finds that out,
        and a file that is cut short is refused.
    """

    parts: tuple[tuple[Piece, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    missing_seconds: float | None = None


class Splice(io.RawIOBase):
    """A readable file of pieces of another one; closing it closes that."""

    def __init__(self, path: Path, pieces: Sequence[Piece]) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._pieces = [piece for piece in pieces if len(piece)]
        self._ends = list(accumulate(map(len, self._pieces)))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1] if self._ends else 0}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as the file goes; its length in bytes."""
        target, done = memoryview(buffer).cast("B"), 0
        k = bisect.bisect_right(self._ends, self._at)
        while done < len(target) and k < len(self._pieces):
            piece = self._pieces[k]
            begin = len(piece) - (self._ends[k] - self._at)
            wanted = min(len(piece) - begin, len(target) - done)
            if isinstance(piece, bytes):
                target[done : done + wanted] = piece[begin : begin + wanted]
                got = wanted
            else:
                self._file.seek(piece.start + begin)
                got = self._file.readinto(target[done : done + wanted])
            done += got
            self._at += got
            if got < wanted:
                break
            k += 1
        return done

    def close(self) -> None:
        self._file.close()
        super().close()
