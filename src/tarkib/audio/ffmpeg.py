"""FFmpeg's decoders, which the extra `formats` brings for what libsndfile does not read.

A damaged WavPack file can crash FFmpeg's decoder, and the interpreter with it. It is decoded in a process of its own,
whose death is that file's error.
"""

import importlib.util
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from tarkib.errors import TarkibError

SUFFIXES = frozenset({".m4a", ".aac", ".wma", ".mp4", ".mka", ".mkv", ".webm", ".mov", ".avi", ".wv", ".ape"})
"""Endings, in lower case, of files that only FFmpeg reads; of a video it reads the sound."""

_GUESSED = frozenset({"aac", "mp3", "ac3", "eac3", "dts"})
"""Formats without a header, whose length FFmpeg guesses from the file's size."""
_WAVPACK_RATES = (6, 8, 9.6, 11.025, 12, 16, 22.05, 24, 32, 44.1, 48, 64, 88.2, 96, 192)  # kHz, by four bits
_SERVE = "import sys; from tarkib.audio import ffmpeg; ffmpeg.serve(sys.argv[1], int(sys.argv[2]))"

_HEAD = struct.Struct("<qqq")
"""Before a block on its way between processes: rate, samples, channels; 0 for the rate where it is an error."""

Block = tuple[int, np.ndarray]
"""The rate and samples of shape (n, channels)."""


def is_there() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("avioflow") is not None


def seconds(path: Path) -> tuple[float, bool]:
    """Length of a file, 0 where it is not known, and whether its header gives it. Raises RuntimeError."""
    head = _wavpack(path)
    if head:
        samples, rate = int.from_bytes(head[12:16], "little"), int.from_bytes(head[24:28], "little") >> 23 & 15
        known = samples < 0xFFFFFFFF and rate < len(_WAVPACK_RATES)
        return (samples / (1_000 * _WAVPACK_RATES[rate]), True) if known else (0.0, False)
    decoder = _library(path).AudioDecoder()
    about = decoder.load_file(str(path))
    # The container's length is that of the picture, too.
    streams = (one.duration for one in decoder.get_streams() if one.media_type == "audio" and one.duration > 0)
    return max(0.0, float(next(streams, about.duration))), about.container not in _GUESSED


def blocks(path: Path, samples: int) -> Iterator[Block]:
    """The sound in blocks of a minute, or of about so many numbers; each of one rate and one count of channels.

    Raises RuntimeError where it cannot be decoded, at once or later on.
    """
    _library(path)
    return _apart(path, samples) if _wavpack(path) else _decoded(path, samples)


def serve(path: str, samples: int) -> None:
    """Write the blocks, or the error, to the standard output: what the process of a WavPack file does."""
    out = sys.stdout.buffer
    try:
        for rate, block in _decoded(Path(path), samples):
            out.write(_HEAD.pack(rate, *block.shape) + block.astype("<f4").tobytes())
    except RuntimeError as error:
        message = str(error).encode()
        out.write(_HEAD.pack(0, len(message), 0) + message)


def _apart(path: Path, samples: int) -> Iterator[Block]:
    command = [sys.executable, "-P", "-c", _SERVE, str(path), str(samples)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            while len(head := child.stdout.read(_HEAD.size)) == _HEAD.size:
                rate, count, channels = _HEAD.unpack(head)
                if rate == 0:
                    raise RuntimeError(child.stdout.read(count).decode())
                content = np.frombuffer(child.stdout.read(count * channels * 4), "<f4")
                if content.size == count * channels:
                    yield rate, content.reshape(count, channels)
            if child.wait() != 0:
                raise RuntimeError("its decoder crashed")
        finally:
            child.kill()


def _decoded(path: Path, samples: int) -> Iterator[Block]:
    decoder = _library(path).AudioDecoder()
    decoder.load_file(str(path))
    frames: list[np.ndarray] = []
    held, format_ = 0, (0, 0)
    while (frame := decoder.get_frame()) is not None:
        # Files that were joined change both inside.
        now = (int(decoder.get_metadata().sample_rate), len(frame))
        if frames and (now != format_ or held >= min(60 * now[0], samples // now[1])):
            yield format_[0], np.concatenate(frames, axis=1).T
            frames, held = [], 0
        format_ = now
        frames.append(np.asarray(frame))
        held += frame.shape[1]
    if frames:
        yield format_[0], np.concatenate(frames, axis=1).T


def _wavpack(path: Path) -> bytes:
    """The head of a WavPack file; nothing of another."""
    with path.open("rb") as file:
        head = file.read(32)
    return head if head.startswith(b"wvpk") and len(head) == 32 else b""


def _library(path: Path) -> ModuleType:
    try:
        import avioflow
    except ImportError as error:
        raise TarkibError(f"this {path.suffix} file needs a decoder: pip install 'tarkib[formats]'") from error
    avioflow.set_log_level("quiet")
    return avioflow
