"""Where the sound of an MP3 file lies, by its frames.

Decoders stop, or give up, where something else lies between the frames: zeros, damage, the tags of a second file that
was joined. They also stop where an Info (or Xing, or VBRI) frame says that the sound ends, which is that of the first
of several joined files; without such a frame they guess the length. So frames are found here one by one. Each Info
frame, and each change of format, begins a part; a part whose length is missing or too small is given an Info frame.
"""

import mmap
import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from tarkib.audio.sndfile import Layout, Piece

_KBIT_S = {  # layer III, by the samples of a frame: MPEG-1 has 1152, MPEG-2 has 576 (ISO/IEC 11172-3 and 13818-3)
    1152: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    576: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the two bits of the version: 3 is MPEG-1, 2 MPEG-2, 0 its extension to low rates."""

_SOUGHT = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]|ID3[\x02-\x04]|APETAGEX|TAG")
_NOT_ZERO = re.compile(rb"[^\0]")
_VBRI_AT = 36  # in the frame
_LEAST_FRAMES = 4  # fewer that stand alone look like frames by chance


class _Frame(NamedTuple):
    """What the first four bytes of a frame say; its `format` differs between frames of different sounds."""

    head: bytes
    size: int
    samples: int
    rate: int
    mono: bool

    @property
    def format(self) -> tuple:
        return self[2:]

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
    runs: list[list[int]] = field(default_factory=list)  # begin and end of frames that touch
    frames: int = 0
    last_size: int = 0

    def add(self, begin: int, end: int) -> None:
        self.last_size = end - begin
        self.frames += 1
        if self.end == begin:
            self.runs[-1][1] = end
        else:
            self.runs.append([begin, end])

    def drop(self) -> int:
        """Leave out the last frame, and return its size."""
        self.runs[-1][1] -= self.last_size
        self.frames -= 1
        if self.runs[-1][0] == self.runs[-1][1]:
            self.runs.pop()
        return self.last_size

    @property
    def end(self) -> int:
        """Where the last frame ends; -1 where there is none."""
        return self.runs[-1][1] if self.runs else -1

    @property
    def promised(self) -> int:
        """Frames by the Info frame; 0 where it does not say."""
        return struct.unpack_from(">I", self.info, self.count_at)[0] if self.count_at else 0

    @property
    def missing_seconds(self) -> float:
        """How much more the Info frame promises, less what the bytes between the runs could have held."""
        held = sum(end - begin for begin, end in self.runs)
        lost = (self.end - self.runs[0][0] - held) / held * self.frames
        return max(0.0, self.promised - self.frames - lost) * self.first.samples / self.first.rate

    def pieces(self) -> tuple[Piece, ...]:
        """The part as a file of its own, whose Info frame counts at least the frames that are there."""
        info = self.info
        if not self.count_at:
            info = _info_frame(self.first, self.frames)
        elif self.promised < self.frames:
            info = info[: self.count_at] + struct.pack(">I", self.frames) + info[self.count_at + 4 :]
        return info, *(range(begin, end) for begin, end in self.runs)


def is_mp3(data: mmap.mmap) -> bool:
    """Whether a file begins with a frame, perhaps behind an ID3 tag."""
    at = _tag_size(data, 0)
    frame = _frame(data[at : at + 4])
    return frame is not None and _is_followed(data, frame, at)


def layout(data: mmap.mmap) -> Layout:
    """A part for each of the files that were joined; none where a decoder reads all by itself, or there is no frame."""
    parts, gaps = _scan(data)
    if not parts:
        return Layout()
    skipped = [gap for gap in gaps if not _is_padding(data, gap, parts)]
    remarks = []
    if skipped:
        places = f"{len(skipped):,} places" if len(skipped) > 1 else "one place"
        remarks.append(f"{sum(map(len, skipped)):,} bytes in {places} are no MP3 frames and were skipped")
    is_plain = len(parts) == 1 and len(parts[0].runs) == 1 and not gaps and parts[0].promised >= parts[0].frames
    missing = sum(part.missing_seconds for part in parts)
    return Layout(() if is_plain else tuple(part.pieces() for part in parts), tuple(remarks), missing)


def _scan(data: mmap.mmap) -> tuple[list[_Part], list[range]]:
    """The parts of a file, and what lies between, before and after them that is no tag."""
    parts: list[_Part] = []
    gaps: list[range] = []
    at = end = 0  # `end` is that of the last frame or tag
    doubted = -1
    while at < len(data) - 4:
        last = parts[-1] if parts else None
        frame = _frame(data[at : at + 4])
        continues = frame and last and last.end == at and frame.format == last.first.format
        if frame and not continues and not _is_followed(data, frame, at):
            frame = None  # it looks like one by chance
        if frame and at + frame.size > len(data):
            frame = None
        after = min(at + (frame.size if frame else _tag_size(data, at)), len(data))
        if after == at:
            # The frame before may be cut itself, so that the next one begins inside of it.
            inside = last.last_size if last and last.end == at == end != doubted else 0
            sought = _SOUGHT.search(data, at + 1 - inside)
            doubted = end
            at = sought.start() if sought else len(data)
            continue
        if at != end:
            if (frame or at < end) and last and last.end == end:
                end -= last.drop()
            gaps.append(range(end, at))
        if frame:
            count_at = _count_at(data, frame, at)
            if count_at is not None:
                parts.append(_Part(frame, data[at:after], count_at))
            else:
                if not last or last.first.format != frame.format:
                    parts.append(_Part(frame))
                parts[-1].add(at, after)
        at = end = after
    if end < len(data):
        gaps.append(range(end, len(data)))
    least = _LEAST_FRAMES if gaps or len(parts) > 1 else 1
    return [part for part in parts if part.frames >= least], gaps


def _is_followed(data: mmap.mmap, frame: _Frame, at: int) -> bool:
    """Whether the file ends behind a frame, or one of the same format follows."""
    after = at + frame.size
    following = _frame(data[after : after + 4])
    return after == len(data) or (following is not None and following.format == frame.format)


def _count_at(data: mmap.mmap, frame: _Frame, at: int) -> int | None:
    """Position in an Info frame of its count of frames, 0 where it has none; None for a frame of sound."""
    content = data[at : at + frame.size]
    if content[frame.info_at :].startswith((b"Info", b"Xing")):
        count_at = frame.info_at + 8 if int.from_bytes(content[frame.info_at + 4 : frame.info_at + 8]) & 1 else 0
    elif content[_VBRI_AT:].startswith(b"VBRI"):
        count_at = _VBRI_AT + 14
    else:
        return None
    return count_at if count_at + 4 <= frame.size else 0


def _info_frame(like: _Frame, frames: int) -> bytes:
    """An Info frame (as Xing defined it) of 64 kbit/s that counts so many frames."""
    bitrate = _KBIT_S[like.samples].index(64)
    head = bytes((0xFF, like.head[1] | 1, bitrate << 4 | like.head[2] & 0x0C, like.head[3]))
    content = head + bytes(like.info_at - 4) + b"Info" + struct.pack(">II", 1, frames)
    return content.ljust(like.samples // 8 * 64_000 // like.rate, b"\0")


def _is_padding(data: mmap.mmap, gap: range, parts: list[_Part]) -> bool:
    """Whether bytes before all frames or behind them mean nothing: zeros, or the beginning of a last frame."""
    if parts[0].runs[0][0] < gap.start and gap.stop < parts[-1].end:
        return False
    frame = _frame(data[gap.start : gap.start + 4])
    is_cut_frame = gap.stop == len(data) and (len(gap) < 4 or (frame is not None and len(gap) < frame.size))
    return is_cut_frame or _NOT_ZERO.search(data, gap.start, gap.stop) is None


def _tag_size(data: mmap.mmap, at: int) -> int:
    """Bytes of the tag (ID3v1 and v2, APE) that begins there; 0 where none does."""
    head = data[at : at + 32]
    if head.startswith(b"ID3") and len(head) >= 10:
        a, b, c, d = head[6:10]
        size = 10 + (a << 21 | b << 14 | c << 7 | d)
        return size if max(a, b, c, d) < 128 and at + size <= len(data) else 0
    if head.startswith(b"APETAGEX") and len(head) == 32:
        # A header is before its items; a footer alone is behind them, and they have been passed.
        is_header = int.from_bytes(head[20:24], "little") >> 29 & 1
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    if head.startswith(b"TAG") and len(data) - at in (128, 128 + 227):
        return len(data) - at
    return 0


@lru_cache(4096)
def _frame(head: bytes) -> _Frame | None:
    """The frame whose first four bytes these are; None where none of layer III and known size begins so."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, k = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or k == 3:
        return None
    rate = _RATES[version][k]
    samples = 1152 if version == 3 else 576
    size = samples // 8 * _KBIT_S[samples][bitrate] * 1_000 // rate + (head[2] >> 1 & 1)
    return _Frame(head, size, samples, rate, mono=head[3] >> 6 == 3)
