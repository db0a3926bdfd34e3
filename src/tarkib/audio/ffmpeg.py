"""FFmpeg's decoders, which the extra `formats` brings for what libsndfile does not read.

A damaged WavPack file, or one that libsndfile refused, can crash FFmpeg and the interpreter with it. Such files are
decoded in a process of their own, whose death is that file's error.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import numpy as np

from tarkib.errors import TarkibError

SUFFIXES = frozenset({".m4a", ".aac", ".wma", ".mp4", ".mka", ".mkv", ".webm", ".mov", ".avi", ".wv", ".ape"})
"""Endings, in lower case, of files that only FFmpeg reads; of a video it reads the sound."""

_GUESSED = frozenset({"aac", "mp3", "ac3", "eac3", "dts"})  # no header: FFmpeg guesses the length from the file's size
_ASK = "import sys; from tarkib.audio import ffmpeg; print(*ffmpeg.length(sys.argv[1]))"
_SERVE = "import sys; from tarkib.audio import ffmpeg; ffmpeg.serve(sys.argv[1], int(sys.argv[2]))"

Block = tuple[int, np.ndarray]
"""The rate and samples of shape (n, channels)."""


def is_installed() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("avioflow") is not None


def seconds(path: Path) -> tuple[float, bool]:
    """Length of a file, 0 where it is not known, and whether its header gives it. Raises RuntimeError."""
    if _is_safe(path):
        return length(path)
    with _child(_ASK, path, stdout=subprocess.PIPE) as child:
        answer = child.communicate()[0].split()
    return (float(answer[0]), answer[1] == b"True") if answer else (0.0, False)


def length(path: Path | str) -> tuple[float, bool]:
    """As `seconds`, by FFmpeg in this process."""
    decoder = _library(Path(path)).AudioDecoder()
    metadata = decoder.load_file(str(path))
    # The container's length is that of the picture, too.
    lengths = [stream.duration for stream in decoder.get_streams() if stream.media_type == "audio"]
    first = next((length for length in lengths if length > 0), metadata.duration)
    return max(0.0, float(first)), metadata.container not in _GUESSED


def blocks(path: Path, most: int) -> Iterator[Block]:
    """The sound in blocks of at most a minute and about `most` numbers. Raises RuntimeError, at once or later on."""
    _library(path)
    return _decoded(path, most) if _is_safe(path) else _decoded_apart(path, most)


def _is_safe(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in SUFFIXES and file.read(4) != b"wvpk"


def _child(code: str, *arguments: object, stdout: int) -> subprocess.Popen[bytes]:
    """Another Python with this one's module path."""
    null, env = subprocess.DEVNULL, os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=null, stdout=stdout, stderr=null, env=env)


def serve(path: str, most: int) -> None:
    """Send the blocks to the standard output, each as its rate and channels, then its samples; or 0 and the error."""
    output = Connection(sys.stdout.fileno(), readable=False)
    try:
        for rate, block in _decoded(Path(path), most):
            output.send_bytes(f"{rate} {block.shape[1]}".encode())
            output.send_bytes(block.astype(np.float32).tobytes())
    except RuntimeError as error:
        output.send_bytes(f"0 {error}".encode())


def _decoded_apart(path: Path, most: int) -> Iterator[Block]:
    receiver, sender = Pipe(duplex=False)
    child = _child(_SERVE, path, most, stdout=sender.fileno())
    with child, receiver:
        sender.close()
        try:
            while True:
                rate, _, rest = receiver.recv_bytes().decode().partition(" ")
                if rate == "0":
                    raise RuntimeError(rest)
                yield int(rate), np.frombuffer(receiver.recv_bytes(), np.float32).reshape(-1, int(rest))
        except (EOFError, OSError):  # OSError where the output ends within a message
            if child.wait() != 0:
                raise RuntimeError("its decoder crashed") from None
        finally:
            child.kill()


def _decoded(path: Path, most: int) -> Iterator[Block]:
    decoder = _library(path).AudioDecoder()
    decoder.load_file(str(path))
    frames: list[np.ndarray] = []
    count, form = 0, (0, 0)
    while (frame := decoder.get_frame()) is not None:
        # Rate and channels change inside of files that were joined.
        frame_form = (int(decoder.get_metadata().sample_rate), len(frame))
        if frames and (frame_form != form or count >= min(60 * form[0], most // form[1])):
            yield form[0], np.concatenate(frames, axis=1).T
            frames, count = [], 0
        form = frame_form
        frames.append(np.asarray(frame))
        count += frame.shape[1]
    if frames:
        yield form[0], np.concatenate(frames, axis=1).T


def _library(path: Path) -> ModuleType:
    try:
        import avioflow
    except ImportError as error:
        raise TarkibError(f"this {path.suffix} file needs a decoder: pip install 'tarkib[formats]'") from error
    avioflow.set_log_level("quiet")
    return avioflow
