"""Reading a checkpoint of TensorFlow 1 or 2 (a "tensor bundle") without TensorFlow.

`<prefix>.index` is a LevelDB table: its keys are the names of the tensors, its values messages (protocol buffers) with
each tensor's type, shape and place in `<prefix>.data-00000-of-00001`, where the numbers lie one after another. The last
48 bytes of the table, its footer, say where the index block is; this names the data blocks. A block's entries share
the beginning of their key with the entry before.
"""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tarkib.errors import TarkibError
from tarkib.runtime.text import bounded

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_FLOAT32 = 1


def read(prefix: str, checksums: tuple[str, str], remedy: str) -> dict[str, np.ndarray]:
    """Tensors by name of the checkpoint `<prefix>.index` and `<prefix>.data-00000-of-00001`.

    Parameters
    ----------
    prefix : the files' path up to their endings; it may end with a slash.
    checksums : SHA-256 of the index and of the data file, hexadecimal.
    remedy : ends every error.

    Returns float32 arrays. Raises TarkibError where a file cannot be read, has another checksum, or is not a checkpoint
    of float32 tensors in one uncompressed part.
    """
    index, data = (
        _content(Path(f"{prefix}{ending}"), checksum, remedy)
        for ending, checksum in zip((".index", ".data-00000-of-00001"), checksums, strict=True)
    )
    try:
        return dict(_tensors(index, data))
    except (ValueError, IndexError, KeyError, TypeError) as error:  # what slices and numbers of damaged bytes raise
        raise TarkibError(f"{prefix}.index: not a checkpoint that can be read ({bounded(error)}); {remedy}") from error


def _content(path: Path, checksum: str, remedy: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    if (found := hashlib.sha256(content).hexdigest()) != checksum:
        raise TarkibError(f"{path}: its SHA-256 is {found[:16]}… instead of {checksum[:16]}…; {remedy}")
    return content


def _tensors(index: bytes, data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    if len(index) < _FOOTER or index[-len(_MAGIC) :] != _MAGIC:
        raise ValueError("it does not end as a LevelDB table does")
    # The footer begins with two places: of a block that is of no use here, and of the index block.
    handles = _Bytes(index[-_FOOTER:])
    handles.place()
    for _, handle in _entries(index, handles.place()):
        for name, message in _entries(index, _Bytes(handle).place()):
            if name:  # the empty name is the header's
                yield name.decode(), _tensor(_fields(message), data)


def _tensor(fields: dict[int, list], data: bytes) -> np.ndarray:
    """The tensor of a BundleEntryProto: 1 type, 2 shape, 3 number of the data file, 4 offset, 5 size in bytes."""
    kind, part, offset, size = (fields.get(number, [0])[0] for number in (1, 3, 4, 5))
    shape = tuple(_fields(dimension).get(1, [0])[0] for dimension in _fields(fields.get(2, [b""])[0]).get(2, []))
    if kind != _FLOAT32 or part or 7 in fields:
        raise ValueError(f"a tensor of type {kind}, in part {part}; only float32 in one part is known")
    if size != 4 * math.prod(shape) or offset + size > len(data):
        raise ValueError(f"a tensor of shape {shape} has {size} bytes from {offset} on, of {len(data)}")
    return np.frombuffer(data, "<f4", math.prod(shape), offset).reshape(shape)


def _entries(table: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block at an offset, of a size; after it, a byte for the compression and a checksum."""
    offset, size = place
    block = table[offset : offset + size]
    if len(block) < size or size < 4 or table[offset + size]:
        raise ValueError("a block is compressed or ends too early")
    # It ends with positions at which keys are whole, and their number.
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    content, key = _Bytes(block[: max(end, 0)]), b""
    while content.left:
        shared, rest, length = content.varint(), content.varint(), content.varint()
        key = key[:shared] + content.take(rest)
        yield key, content.take(length)


def _fields(message: bytes) -> dict[int, list]:
    """Values of a protocol buffer by field number: whole numbers, or bytes."""
    content, fields = _Bytes(message), dict[int, list]()
    while content.left:
        number, kind = divmod(content.varint(), 8)
        if kind not in (0, 2, 5):
            raise ValueError(f"a field of kind {kind}")
        value = content.varint() if kind == 0 else content.take(content.varint() if kind == 2 else 4)
        fields.setdefault(number, []).append(value)
    return fields


class _Bytes:
    """Bytes that are read from the front; ValueError where they end too early."""

    def __init__(self, content: bytes):
        self.content, self.position = content, 0

    @property
    def left(self) -> int:
        return len(self.content) - self.position

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError("it ends too early")
        self.position += count
        return self.content[self.position - count : self.position]

    def varint(self) -> int:
        """A whole number, seven bits a byte, the lowest first; the last byte has its highest bit off."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise ValueError("a number has more than ten bytes")

    def place(self) -> tuple[int, int]:
        """Offset and size of a block."""
        return self.varint(), self.varint()
