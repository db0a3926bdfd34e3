"""Where the sound of an MP3 file is, by its frames.

Decoders stop, or give up, where something else lies between the frames: zeros, damage, the tags of a second file that
was joined. They also stop where an Info (or Xing, or VBRI) frame says that the sound ends, which is that of the first
of several joined files; where there is none they guess. So frames are found here one by one; each run of one format,
and each Info frame, begins a part, and a part that says nothing or too little of its length is given an Info frame.
"""

import bisect
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tarkib.audio.splice import Layout, Piece

_KBIT_S = {  # layer III, by MPEG version (ISO/IEC 11172-3 and 13818-3)
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the two bits of the version: 3 is MPEG-1, 2 MPEG-2, 0 its extension to low rates."""

_SOUGHT = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]|ID3[\x02-\x04]|APETAGEX|TAG|LYRICSBEGIN")
_INFO = (b"Info", b"Xing", b"VBRI")
_VBRI_AT = _FARTHEST = 36  # in the frame; the other words stand nearer to its beginning
_LEAST_FRAMES = 4
"""Fewer that stand alone look like frames by chance."""


@dataclass(frozen=True)
class _Frame:
    """What the first four bytes of a frame say; `format` differs between frames that do not belong together."""

    head: bytes
    size: int
    samples: int
    rate: int
    mono: bool
    format: tuple[int, int, bool]

    @property
    def info_at(self) -> int:
        """Position of the word Info or Xing in the frame: behind the side information."""
        narrow, wide = (9, 17) if self.samples == 576 else (17, 32)
        return 4 + (narrow if self.mono else wide)


@dataclass
class _Part:
    """Frames of one format, and the Info frame before them; `count_at` is where that has their count, 0 if nowhere."""

    first: _Frame
    info: bytes = b""
    count_at: int = 0
    runs: list[list[int]] = field(default_factory=list)
    frames: int = 0
    last: int = 0
    """size of the last frame"""
    sizes: dict[bytes, int] = field(default_factory=dict)
    """of frames by their heads, of which a file has few; read anew for each, they would take most of the time"""

    def add(self, data: mmap.mmap, begin: int, border: int) -> int:
        """Take the frame that begins there and those that follow at once, up to a border; where they end."""
        at = begin
        while at == begin or at < border:
            head = data[at : at + 4]
            if (size := self.sizes.get(head)) is None:
                frame = _frame(head)
                if frame is None or frame.format != self.first.format:
                    break
                size = self.sizes[head] = frame.size
            if at + size > len(data):
                break
            at += size
            self.last = size
            self.frames += 1
        if self.runs and self.runs[-1][1] == begin:
            self.runs[-1][1] = at
        else:
            self.runs.append([begin, at])
        return at

    def drop(self) -> int:
        """Leave out the last frame, and return its size."""
        self.runs[-1][1] -= self.last
        self.frames -= 1
        if self.runs[-1][0] == self.runs[-1][1]:
            self.runs.pop()
        return self.last

    @property
    def promised(self) -> int:
        """Frames by the Info frame; 0 where it does not say."""
        return struct.unpack_from(">I", self.info, self.count_at)[0] if self.count_at else 0

    @property
    def seconds(self) -> float:
        return self.frames * self.first.samples / self.first.rate

    @property
    def missing_seconds(self) -> float:
        """How much longer it calls itself, but for what the bytes between its runs could have held."""
        held = sum(end - begin for begin, end in self.runs)
        lost = (self.runs[-1][1] - self.runs[0][0] - held) / held * self.frames
        return max(0.0, self.promised - self.frames - lost) * self.seconds / self.frames

    def pieces(self) -> tuple[Piece, ...]:
        """The part as a file of its own, whose Info frame counts at least the frames that are there."""
        info = self.info
        if not self.count_at:
            info = _info_frame(self.first, self.frames)
        elif self.promised < self.frames:
            info = info[: self.count_at] + struct.pack(">I", self.frames) + info[self.count_at + 4 :]
        return info, *(range(begin, end) for begin, end in self.runs)


def is_mp3(path: Path) -> bool:
    """Whether a file begins with a frame, perhaps behind an ID3 tag."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _tag_size(data, 0)
        frame = _frame(data[at : at + 4])
        return frame is not None and _is_followed(data, frame, at)


def layout(path: Path) -> Layout:
    """A part for each of the files that were joined; none where a decoder reads all by itself, or finds no frame."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        parts, gaps = _found(data)
        as_it_is = len(parts) == 1 and len(parts[0].runs) == 1 and not gaps and parts[0].promised >= parts[0].frames
        skipped = [gap for gap in gaps if not _is_padding(data, gap, parts)]
    if not parts:
        return Layout()
    remarks = []
    if skipped:
        places = f"{len(skipped):,} places" if len(skipped) > 1 else "one place"
        remarks.append(f"{sum(map(len, skipped)):,} bytes in {places} are no MP3 frames and were skipped")
    missing = sum(part.missing_seconds for part in parts)
    return Layout(() if as_it_is else tuple(part.pieces() for part in parts), tuple(remarks), missing)


def _found(data: mmap.mmap) -> tuple[list[_Part], list[range]]:
    """The parts of a file, and what lies between, before and after them that is no tag."""
    parts: list[_Part] = []
    gaps: list[range] = []
    words = sorted(at for word in _INFO for at in _places(data, word))
    at = end = 0  # `end` is where what was understood ends
    doubted = -1
    while at < len(data) - 4:
        frame = _frame(data[at : at + 4])
        # What looks like a frame among other bytes is one if another of its format follows it.
        if frame and (at + frame.size > len(data) or not (_ends_at(parts, at, frame) or _is_followed(data, frame, at))):
            frame = None
        after = at + (frame.size if frame else _tag_size(data, at))
        if after == at:
            # The frame before may be cut itself, so that the next one begins inside of it.
            inside = at == end != doubted and _ends_at(parts, at)
            sought = _SOUGHT.search(data, at + 1 - (parts[-1].last if inside else 0))
            doubted = end
            at = sought.start() if sought else len(data)
            continue
        if at != end:
            if (frame or at < end) and _ends_at(parts, end):
                end -= parts[-1].drop()
            gaps.append(range(end, at))
        count_at = _count_at(data, frame, at) if frame else None
        if frame and count_at is not None:
            parts.append(_Part(frame, data[at:after], count_at))
        elif frame:
            if not parts or parts[-1].first.format != frame.format:
                parts.append(_Part(frame))
            next_word = bisect.bisect(words, at)
            border = words[next_word] - _FARTHEST if next_word < len(words) else len(data)
            after = parts[-1].add(data, at, border)
        at = end = min(after, len(data))
    if end < len(data):
        gaps.append(range(end, len(data)))
    least = _LEAST_FRAMES if gaps or len(parts) > 1 else 1
    return [part for part in parts if part.frames >= least], gaps


def _places(data: mmap.mmap, word: bytes) -> Iterator[int]:
    """Where a word stands; many times faster than a regular expression."""
    at = data.find(word)
    while at >= 0:
        yield at
        at = data.find(word, at + 1)


def _ends_at(parts: list[_Part], at: int, like: _Frame | None = None) -> bool:
    """Whether the last frame, one of the same format as another, ends there."""
    if not parts or not parts[-1].runs or parts[-1].runs[-1][1] != at:
        return False
    return like is None or parts[-1].first.format == like.format


def _is_followed(data: mmap.mmap, frame: _Frame, at: int) -> bool:
    """Whether the file ends behind a frame, or one of the same format follows."""
    after = at + frame.size
    following = _frame(data[after : after + 4])
    return after == len(data) or (following is not None and following.format == frame.format)


def _count_at(data: mmap.mmap, frame: _Frame, at: int) -> int | None:
    """Position in an Info frame of its count of frames, 0 where it has none; None for a frame of sound."""
    content = data[at : at + frame.size]
    if content[_VBRI_AT:].startswith(b"VBRI"):
        count_at = _VBRI_AT + 14
    elif content[frame.info_at :].startswith((b"Info", b"Xing")):
        count_at = frame.info_at + 8 if int.from_bytes(content[frame.info_at + 4 : frame.info_at + 8]) & 1 else 0
    else:
        return None
    return count_at if count_at + 4 <= frame.size else 0


def _info_frame(like: _Frame, frames: int) -> bytes:
    """An Info frame (as Xing defined it) of 64 kbit/s that counts so many frames."""
    version, rate_and_rest = like.head[1] | 1, like.head[2] & 0x0C
    bitrate = _KBIT_S[1 if like.samples == 1152 else 2].index(64)
    head = bytes((0xFF, version, bitrate << 4 | rate_and_rest, like.head[3]))
    content = head + bytes(like.info_at - 4) + b"Info" + struct.pack(">II", 1, frames)
    return content.ljust(_frame(head).size, b"\0")


def _is_padding(data: mmap.mmap, gap: range, parts: list[_Part]) -> bool:
    """Whether bytes before all frames or behind them mean nothing: zeros, or the beginning of a last frame."""
    if parts and parts[0].runs[0][0] < gap.start and gap.stop < parts[-1].runs[-1][1]:
        return False
    begun = _frame(data[gap.start : gap.start + 4])
    if gap.stop == len(data) and (len(gap) < 4 or (begun and len(gap) < begun.size)):
        return True
    return not any(data[k : min(k + _BLOCK, gap.stop)].strip(b"\0") for k in range(gap.start, gap.stop, _BLOCK))


def _tag_size(data: mmap.mmap, at: int) -> int:
    """Bytes of the tag (ID3v1 and v2, APE, Lyrics3) that begins there; 0 where none does."""
    head = data[at : at + 32]
    if head.startswith(b"ID3") and len(head) >= 10:
        a, b, c, d = head[6:10]
        size = 10 + (a << 21 | b << 14 | c << 7 | d)
        return size if max(a, b, c, d) < 128 and at + size <= len(data) else 0
    if head.startswith(b"APETAGEX") and len(head) == 32:
        # A header stands before its items; where there is only a footer, they have been passed.
        is_header = int.from_bytes(head[20:24], "little") >> 29 & 1
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    if head.startswith(b"TAG") and len(data) - at in (128, 128 + 227):
        return len(data) - at
    if head.startswith(b"LYRICSBEGIN"):
        ends = (data.find(word, at, at + _BLOCK) for word in (b"LYRICS200", b"LYRICSEND"))
        return min((end + 9 - at for end in ends if end >= 0), default=0)
    return 0


def _frame(head: bytes) -> _Frame | None:
    """The frame whose first four bytes these are; None where none of layer III and known size begins so."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, k = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or k == 3:
        return None
    rate = _RATES[version][k]
    samples = 1152 if version == 3 else 576
    kbit_s = _KBIT_S[1 if version == 3 else 2][bitrate]
    size = samples // 8 * kbit_s * 1_000 // rate + (head[2] >> 1 & 1)
    mono = head[3] >> 6 == 3
    return _Frame(head, size, samples, rate, mono, (samples, rate, mono))


_BLOCK = 1 << 20
