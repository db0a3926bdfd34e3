"""Where the sound of a WAV file is, also where its header is wrong (RIFF, RF64 and BW64).

One rule for the size that the header gives to the sound. It is meant where the file ends there, but for a few bytes,
or another chunk begins.
It is not where other bytes follow (a killed recorder wrote 0, another one stopped correcting it, and sizes over 4 GB
wrap around), nor where it goes beyond the end of the file and is at least `_UNKNOWN`, as programs write that stream
(SoX, FFmpeg): then all that is there is sound. A smaller size beyond the end is a file that is cut short.
"""

import re
import struct
from pathlib import Path
from typing import BinaryIO

from tarkib.audio.splice import Layout, Piece
from tarkib.errors import TarkibError

_KINDS = (b"RIFF", b"RF64", b"BW64")
_KIND = re.compile(b"|".join(_KINDS))
_UNKNOWN = 0x7FFF0000
_WRAP = 1 << 32
_FEW = 1 << 10  # bytes of no meaning, which some programs leave behind the sound
_NAMES = (
    "data,fmt ,fact,LIST,list,bext,iXML,axml,aXML,chna,cue ,smpl,inst,PEAK,JUNK,junk,PAD ,FLLR,id3 ,ID3 ,acid,DISP,"
    "disp,cart,umid,afsp,levl,plst,slnt,wavl,minf,elm1,regn,link,strc,note,labl,_PMX,Cr8r,ds64,mext,clm ,ResU,LGWV"
)
_CHUNKS = frozenset(_NAMES.encode().split(b","))
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
"""Begin what taggers of other formats put behind the sound."""


def is_wav(head: bytes) -> bool:
    """Whether a file that begins so is one."""
    return head[:4] in _KINDS and head[8:12] == b"WAVE"


def layout(path: Path) -> Layout:
    """Where the sound is. Raises TarkibError for a file that is cut short."""
    size = path.stat().st_size
    with path.open("rb") as file:
        chunks, odd = _chunks(file, size)
        if b"fmt " not in chunks or b"data" not in chunks:
            return Layout()
        begin, said = chunks[b"data"]
        there = size - begin
        if b"ds64" in chunks and said == _WRAP - 1:
            file.seek(chunks[b"ds64"][0] + 8)
            said = int.from_bytes(file.read(8), "little")
        meant = _meant(file, size, begin, said)
        if meant is None and there < said < _UNKNOWN:
            raise TarkibError(
                f"is cut short: its header promises {said:,} bytes of sound, {there:,} are there; copy it anew"
            )
        file.seek(begin + (meant or 0))
        joined = meant is not None and _KIND.search(file.read(5)) is not None
        file.seek(0)
        if meant == said and not odd and not joined and file.read(4) != b"BW64":
            return Layout()  # libsndfile reads it
        length = there if meant is None else meant
        header = _header(length, *(_content(file, name, chunks) for name in (b"fmt ", b"fact")))
    remarks = []
    if length != said:
        remarks.append(
            f"its header promises {said:,} bytes of sound, which cannot be meant; the {length:,} that follow were read"
        )
    if joined:
        remarks.append(f"another WAV file of {there - length:,} bytes was joined to it, which was not read; split it")
    parts: tuple[tuple[Piece, ...], ...] = ((header, range(begin, begin + length)),)
    return Layout(parts, tuple(remarks))


def _chunks(file: BinaryIO, size: int) -> tuple[dict[bytes, tuple[int, int]], bool]:
    """Where the content of each chunk up to the sound begins and its size; whether one lacks its padding byte."""
    chunks: dict[bytes, tuple[int, int]] = {}
    odd, at = False, 12
    while at + 8 <= size and b"data" not in chunks:
        file.seek(at)
        name, length = struct.unpack("<4sI", file.read(8))
        chunks.setdefault(name, (at + 8, length))
        at += 8 + length
        if length % 2:
            file.seek(at)
            after = file.read(5)
            # An odd chunk is filled up to an even size, but some programs forget it.
            if after[1:] not in _CHUNKS and after[:4] in _CHUNKS:
                odd = odd or name != b"data"
            else:
                at += 1
    return chunks, odd


def _meant(file: BinaryIO, size: int, begin: int, said: int) -> int | None:
    """Size of the sound where the header's can be meant, perhaps with the bits that 32 do not hold; None if not."""
    for length in range(said, size - begin + 1, _WRAP):
        end = begin + length
        # A size of 0 with nothing behind it is the truth of a file without sound.
        file.seek(end)
        after = file.read(12)
        few = size - end < min(_FEW, length // 10)
        if len(after) < 8 or few or _begins_chunk(after, size - end) or _begins_chunk(after[1:], size - end - 1):
            return length
    return None


def _begins_chunk(head: bytes, left: int) -> bool:
    """Whether a chunk or a tag, of which `left` bytes could be there, begins so."""
    if head.startswith((*_TAGS, *_KINDS)):
        return True
    name, length = struct.unpack("<4sI", head[:8].ljust(8, b"\0"))
    return name in _CHUNKS or (name.isascii() and name.strip().isalnum() and length <= left - 8)


def _content(file: BinaryIO, name: bytes, chunks: dict[bytes, tuple[int, int]]) -> bytes:
    """A chunk, its head included; nothing where it is not there."""
    if name not in chunks:
        return b""
    begin, length = chunks[name]
    file.seek(begin)
    content = file.read(min(length, 1 << 16))
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def _header(length: int, format_: bytes, fact: bytes) -> bytes:
    """A header for so many bytes of sound."""
    if length < _UNKNOWN:
        inner = format_ + fact + struct.pack("<4sI", b"data", length)
        return struct.pack("<4sI4s", b"RIFF", 4 + len(inner) + length, b"WAVE") + inner
    inner = format_ + fact + struct.pack("<4sI", b"data", _WRAP - 1)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, 4 + 36 + len(inner) + length, length, 0, 0)
    return struct.pack("<4sI4s", b"RF64", _WRAP - 1, b"WAVE") + sizes + inner
