"""Where the streams of an Ogg file are.

Several may follow each other (chaining, RFC 3533), of which libsndfile reads the first.
"""

import mmap
from pathlib import Path

from tarkib.audio.splice import Layout

_HEAD = 27
_FIRST = 2  # flag of the page that begins a stream


def layout(path: Path) -> Layout:
    """A part for each link of the chain; none where there is only one."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begins, at, first = [], 0, False
        while 0 <= at < len(data):
            head = data[at : at + _HEAD]
            if len(head) < _HEAD or not head.startswith(b"OggS"):
                at = data.find(b"OggS", at + 1)
                continue
            # Streams that sound together begin together.
            if head[5] & _FIRST and not first:
                begins.append(at)
            first = bool(head[5] & _FIRST)
            end = at + _HEAD + head[26] + sum(data[at + _HEAD : at + _HEAD + head[26]])
            # A page that was cut ends where the next one begins.
            at = end if data[end : end + 4] in (b"OggS", b"") else data.find(b"OggS", at + 1)
        if len(begins) < 2:
            return Layout()
        ends = [*begins[1:], len(data)]
    return Layout(tuple((range(begin, end),) for begin, end in zip(begins, ends, strict=True)))
