"""Where the sound lies in WAV, FLAC, Ogg and AIFF files that are joined, cut short, or whose headers are wrong.

A layout without parts means that libsndfile reads the file as it is.
"""

import mmap
import re
import struct

from tarkib.audio.sndfile import Layout, Piece
from tarkib.errors import TarkibError

_RIFF = (b"RIFF", b"RF64", b"BW64")
_UNKNOWN = 0x7FFF0000  # sizes from here on are what SoX and FFmpeg write into the header of a stream
_WRAP = 1 << 32
_FEW = 1 << 10  # meaningless bytes that some programs leave behind the sound
_CHUNKS = frozenset((b"data", b"fmt ", b"fact", b"LIST", b"bext", b"iXML", b"cue ", b"smpl", b"PEAK", b"JUNK", b"id3 "))
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # of other formats, put behind the sound by some taggers

_FLAC_HEADS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")  # STREAMINFO of 34 bytes, perhaps the only block of metadata
_FLAC_TOTAL = 21  # position of the count of samples: four bits, and four bytes
_FLAC_FRAME = re.compile(rb"\xff[\xf8\xf9]")
_FLAC_TAIL = 1 << 16  # bytes, more than the last two frames have
_FLAC_DENSEST = 65_536 // 8  # samples in a byte: the longest frame, and its shortest head

_OGG_HEAD = 27
_OGG_FIRST = 2  # flag of the page that begins a stream


def layout(data: mmap.mmap) -> Layout | None:
    """Layout of a file with these bytes, None for other formats. Raises TarkibError where it is cut short."""
    if data[:4] in _RIFF and data[8:12] == b"WAVE":
        return _wav(data)
    reader = {b"OggS": _ogg, b"fLaC": _flac, b"FORM": _aiff}.get(data[:4])
    return reader(data) if reader else None


def _wav(data: mmap.mmap) -> Layout:
    """A part where the header's size of the sound is wrong, or the sound lies where libsndfile does not find it.

    The size is right where the file ends there, but for a few bytes, or another chunk begins. It is wrong where other
    bytes follow (a killed recorder wrote 0, sizes over 4 GB wrap around), and where it exceeds the file and is at least
    `_UNKNOWN`: then all up to the end is sound. A smaller size that exceeds the file means that it is cut short.
    """
    chunks, is_unpadded = _chunks(data)
    if b"fmt " not in chunks or b"data" not in chunks:
        return Layout()
    begin, promised = chunks[b"data"]
    available = len(data) - begin
    if b"ds64" in chunks and promised == _WRAP - 1:
        at = chunks[b"ds64"][0] + 8
        promised = int.from_bytes(data[at : at + 8], "little")
    right = _right_size(data, begin, promised)
    if right is None and available < promised < _UNKNOWN:
        raise _cut_short(promised, available)
    size = available if right is None else right
    after = data[begin + size : begin + size + 5]
    is_joined = right is not None and any(kind in after for kind in _RIFF)
    if right == promised and not is_unpadded and not is_joined and data[:4] != b"BW64":
        return Layout()
    remarks = []
    if size != promised:
        remarks.append(f"its header wrongly promises {promised:,} bytes of sound; the {size:,} that follow were read")
    if is_joined:
        remarks.append(f"another WAV file of {available - size:,} bytes was joined to it, which was not read; split it")
    part: tuple[Piece, ...] = (_rf64_header(data, chunks, size), range(begin, begin + size))
    return Layout((part,), tuple(remarks))


def _chunks(data: mmap.mmap) -> tuple[dict[bytes, tuple[int, int]], bool]:
    """Position and size of the content of each chunk up to the sound; whether one lacks its padding byte."""
    chunks: dict[bytes, tuple[int, int]] = {}
    is_unpadded, at = False, 12
    while at + 8 <= len(data) and b"data" not in chunks:
        name, size = struct.unpack("<4sI", data[at : at + 8])
        chunks.setdefault(name, (at + 8, size))
        at += 8 + size
        if size % 2 and (data[at + 1 : at + 5] in _CHUNKS or data[at : at + 4] not in _CHUNKS):
            at += 1
        elif size % 2 and name != b"data":
            is_unpadded = True
    return chunks, is_unpadded


def _right_size(data: mmap.mmap, begin: int, promised: int) -> int | None:
    """Size of the sound where the header's can be right, perhaps with the bits that 32 do not hold; None if not."""
    for size in range(promised, len(data) - begin + 1, _WRAP):
        # A size of 0 with nothing behind it is right for a file without sound.
        end = begin + size
        left = len(data) - end
        is_end = left < 8 or left < min(_FEW, size // 10)
        if is_end or _begins_chunk(data[end : end + 12], left) or _begins_chunk(data[end + 1 : end + 12], left - 1):
            return size
    return None


def _begins_chunk(head: bytes, left: int) -> bool:
    """Whether a chunk or a tag, of which `left` bytes could be there, begins so."""
    name, size = struct.unpack("<4sI", head[:8].ljust(8, b"\0"))
    is_chunk = name in _CHUNKS or (name.isascii() and name.strip().isalnum() and size <= left - 8)
    return is_chunk or head.startswith((*_TAGS, *_RIFF))


def _rf64_header(data: mmap.mmap, chunks: dict[bytes, tuple[int, int]], size: int) -> bytes:
    """A header for a sound of any size, in the file's format."""
    inner = b""
    for name in (b"fmt ", b"fact"):
        if name in chunks:
            begin, length = chunks[name]
            content = data[begin : begin + min(length, 1 << 16)]
            inner += struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)
    inner += struct.pack("<4sI", b"data", _WRAP - 1)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + len(inner) + size, size, 0, 0)
    return struct.pack("<4sI4s", b"RF64", _WRAP - 1, b"WAVE") + sizes + inner


def _aiff(data: mmap.mmap) -> Layout:
    """Only checked: libsndfile would read an AIFF file that is cut short without a word."""
    promised = int.from_bytes(data[4:8], "big")
    if len(data) - 8 < promised < _WRAP - 1:
        raise _cut_short(promised, len(data) - 8)
    return Layout()


def _cut_short(promised: int, available: int) -> TarkibError:
    return TarkibError(
        f"is cut short: its header promises {promised:,} bytes of sound, {available:,} are there; copy it again"
    )


def _ogg(data: mmap.mmap) -> Layout:
    """A part for each link of a chain (RFC 3533), of which libsndfile reads the first alone."""
    begins, at, was_first = [], 0, False
    while 0 <= at < len(data):
        head = data[at : at + _OGG_HEAD]
        if len(head) < _OGG_HEAD or not head.startswith(b"OggS"):
            at = data.find(b"OggS", at + 1)
            continue
        is_first = bool(head[5] & _OGG_FIRST)
        if is_first and not was_first:  # streams that sound together begin together
            begins.append(at)
        was_first = is_first
        end = at + _OGG_HEAD + head[26] + sum(data[at + _OGG_HEAD : at + _OGG_HEAD + head[26]])
        # A page that was cut ends where the next one begins.
        at = end if data[end : end + 4] in (b"OggS", b"") else data.find(b"OggS", at + 1)
    if len(begins) < 2:
        return Layout()
    return Layout(tuple((range(begin, end),) for begin, end in zip(begins, [*begins[1:], len(data)], strict=True)))


def _flac(data: mmap.mmap) -> Layout:
    """A part for each of the streams that were joined, of which libsndfile reads the first alone.

    A header whose length is missing (as in a live stream), too small or impossible is given that of the last frame.
    """
    begins, at = [0], 0
    while (at := data.find(b"fLaC", at + 1)) > 0:
        if data[at : at + 8] in _FLAC_HEADS:
            begins.append(at)
    parts: list[tuple[Piece, ...]] = []
    is_wrong = has_new_head = False
    for begin, end in zip(begins, [*begins[1:], len(data)], strict=True):
        at = begin + _FLAC_TOTAL
        promised = int.from_bytes(data[at : at + 5], "big") & (1 << 36) - 1
        block_size = int.from_bytes(data[begin + 8 : begin + 10], "big")
        available = _flac_samples(data[max(begin, end - _FLAC_TAIL) : end], block_size)
        head = b""
        if available > promised or promised > (end - begin) * _FLAC_DENSEST:
            has_new_head, is_wrong = True, is_wrong or 0 < promised < available
            head = data[begin:at] + ((data[at] & 0xF0) << 32 | available).to_bytes(5, "big")
        parts.append((head, range(begin + len(head), end)))
    if len(parts) == 1 and not has_new_head:
        return Layout()
    return Layout(tuple(parts), ("its header gives too small a length; all was read",) if is_wrong else ())


def _flac_samples(tail: bytes, block_size: int) -> int:
    """Samples of a stream by its last two frames that follow each other, for a frame alone can be chance; or 0."""
    count = expected = 0
    for match in _FLAC_FRAME.finditer(tail):
        head = tail[match.start() : match.start() + 16].ljust(16, b"\0")
        number, at = _flac_number(head)
        # Behind the number are the size of the block and the rate, where their codes say so.
        code = head[2] >> 4
        extra = {6: 1, 7: 2}.get(code, 0)
        end = at + extra + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
        if number is None or _crc8(head[:end]) != head[end]:
            continue
        if extra:
            size = int.from_bytes(head[at : at + extra], "big") + 1
        else:
            size = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
        begin = number if head[1] & 1 else number * block_size
        if begin == expected:
            count = begin + size
        expected = begin + size
    return count


def _flac_number(head: bytes) -> tuple[int | None, int]:
    """A frame's number, coded as UTF-8 codes characters, and the position behind it; None where there is none."""
    size = 8 - (head[4] ^ 0xFF).bit_length()  # leading ones
    if size in (1, 8) or head[2] >> 4 == 0:
        return None, 0
    number = head[4] & 0xFF >> size + 1
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
