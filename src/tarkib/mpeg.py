"""How long an MP3 file is, by its frames.

A file says so itself only where its first frame is a Xing or Info frame; where there is none, or several files were
joined, decoders guess, and some stop where their guess ends.
"""

import mmap
from pathlib import Path

_KBIT_S = {  # layer III, by MPEG version (ISO/IEC 11172-3 and 13818-3)
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the two bits of the version: 3 is MPEG-1, 2 MPEG-2, 0 its extension to low rates."""


def seconds(path: Path) -> float:
    """The duration of all whole layer III frames of a file; 0 where there are none, or their sizes are not told."""
    total = 0.0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, known = 0, False
        while 0 <= at < len(data) - 4:
            size, duration = _frame(data, at)
            # What looks like a frame among other bytes is one if another follows it.
            if size and at + size <= len(data) and (known or at + size == len(data) or _frame(data, at + size)[0]):
                total += duration
                at, known = at + size, True
                continue
            known = False
            # A tag holds pictures, in which much looks like a frame.
            if data[at : at + 3] == b"ID3":
                at += _tag_size(data, at)
                continue
            frame = data.find(b"\xff", at + 1)
            tag = data.find(b"ID3", at + 1, frame if frame >= 0 else len(data))
            at = tag if tag >= 0 else frame
    return total


def _frame(data: mmap.mmap, at: int) -> tuple[int, float]:
    """Bytes and seconds of the frame that begins there, zeros where none does."""
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0, 0.0
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return 0, 0.0
    hz = _RATES[version][rate]
    samples = 1152 if version == 3 else 576
    kbit_s = _KBIT_S[1 if version == 3 else 2][bitrate]
    return samples // 8 * kbit_s * 1_000 // hz + (head[2] >> 1 & 1), samples / hz


def _tag_size(data: mmap.mmap, at: int) -> int:
    """Bytes of the ID3v2 tag that begins there: ten and those that seven bits a byte tell."""
    a, b, c, d = (one & 127 for one in data[at + 6 : at + 10].ljust(4, b"\0"))
    return 10 + (a << 21 | b << 14 | c << 7 | d)
