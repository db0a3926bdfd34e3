"""Where the streams of a FLAC file are.

Several may have been joined, of which libsndfile reads the first.
"""

import mmap
from pathlib import Path

from tarkib.audio.splice import Layout

_HEADS = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
"""Begin a stream: its first block of metadata describes the sound, has 34 bytes, and may be the last of them."""


def layout(path: Path) -> Layout:
    """A part for each stream; none where there is only one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begins, at = [0], 0
        while (at := data.find(b"fLaC", at + 1)) > 0:
            if data[at : at + 8] in _HEADS:
                begins.append(at)
        if len(begins) == 1:
            return Layout()
        ends = [*begins[1:], len(data)]
    return Layout(tuple((range(begin, end),) for begin, end in zip(begins, ends, strict=True)))
