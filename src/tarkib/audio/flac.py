"""Where the streams of a FLAC file are, and how long.

Several may have been joined, of which libsndfile reads the first. It also stops where the header says that the sound
ends, so that a header which says too little, or nothing as that of a stream, is given the length that the last frame
has.
"""

import mmap
import re
from pathlib import Path

from tarkib.audio.splice import Layout

_HEADS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
"""Begin a stream: its first block of metadata describes the sound, has 34 bytes, and may be the last of them."""
_TOTAL_AT = 21
"""Of a stream's samples in its head: four bits, and four bytes."""
_FRAME = re.compile(rb"\xff[\xf8\xf9]")
_TAIL = 1 << 16  # bytes, more than the last two frames have


def layout(path: Path) -> Layout:
    """A part for each stream; none where libsndfile reads all by itself."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begins, at = [0], 0
        while (at := data.find(b"fLaC", at + 1)) > 0:
            if data[at : at + 8] in _HEADS:
                begins.append(at)
        ends = [*begins[1:], len(data)]
        heads = [_head(data, begin, end) for begin, end in zip(begins, ends, strict=True)]
    if len(begins) == 1 and not heads[0][0]:
        return Layout()
    parts = [(head, range(begin + len(head), end)) for begin, end, (head, _) in zip(begins, ends, heads, strict=True)]
    is_wrong = any(said for head, said in heads if head)
    return Layout(tuple(parts), ("its header says too little of its length; all was read",) if is_wrong else ())


def _head(data: mmap.mmap, begin: int, end: int) -> tuple[bytes, int]:
    """A stream's head with the length that it has, nothing where that is not longer than what it says, and that."""
    at = begin + _TOTAL_AT
    said = int.from_bytes(data[at : at + 5], "big") & (1 << 36) - 1
    there = _samples(data[max(begin, end - _TAIL) : end], int.from_bytes(data[begin + 8 : begin + 10], "big"))
    if there <= said:
        return b"", said
    total = (data[at] & 0xF0) << 32 | there
    return data[begin:at] + total.to_bytes(5, "big"), said


def _samples(tail: bytes, block: int) -> int:
    """Samples of a stream by its last frames, of which one follows the other; 0 where none are found.

    A frame alone can be chance: its head has a checksum of eight bits.
    """
    there = following = 0
    for found in _FRAME.finditer(tail):
        head = tail[found.start() : found.start() + 16].ljust(16, b"\0")
        number, at = _number(head)
        # Behind the number stand the size of the block and the rate, where their codes say so.
        code = head[2] >> 4
        extra = {6: 1, 7: 2}.get(code, 0)
        end = at + extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
        if number is None or _crc8(head[:end]) != head[end]:
            continue
        if extra:
            size = int.from_bytes(head[at : at + extra], "big") + 1
        else:
            size = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
        begin = number if head[1] & 1 else number * block
        if begin == following:
            there = begin + size
        following = begin + size
    return there


def _number(head: bytes) -> tuple[int | None, int]:
    """A frame's number, coded as UTF-8 codes characters, and where it ends in the head; None where there is none."""
    first = head[4]
    size = 8 - (first ^ 0xFF).bit_length()  # ones that it begins with
    if size in (1, 8) or head[2] >> 4 == 0:
        return None, 0
    number = first & 0xFF >> size + 1
    for byte in head[5 : 4 + size]:
        number = number << 6 | byte & 0x3F
    return number, 4 + max(1, size)


def _crc8(head: bytes) -> int:
    crc = 0
    for byte in head:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 0xFF
    return crc
