"""FFmpeg's decoders, which the extra `formats` brings for what libsndfile does not read."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from tarkib.errors import TarkibError

SUFFIXES = frozenset({".m4a", ".aac", ".wma", ".mp4", ".mka", ".mkv", ".webm", ".mov", ".avi", ".wv", ".ape"})
"""Endings, in lower case, of files that only FFmpeg reads; of a video it reads the sound."""


def is_there() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("avioflow") is not None


def seconds(path: Path) -> float:
    """Length of a file as its header says, 0 where it does not. Raises RuntimeError for what cannot be read."""
    return max(0.0, float(_library(path).info(str(path)).duration))


@contextmanager
def opened(path: Path, block_samples: int) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Rate of a file and its sound in blocks of shape (n, channels), of about so many numbers each.

    Raises RuntimeError where it cannot be decoded, at once or later on.
    """
    decoder = _library(path).AudioDecoder()
    rate = int(decoder.load_file(str(path)).sample_rate)

    def blocks() -> Iterator[np.ndarray]:
        frames: list[np.ndarray] = []
        held = 0
        while (frame := decoder.get_frame()) is not None:
            frames.append(np.asarray(frame))
            held += frames[-1].shape[1]
            if held >= min(60 * rate, block_samples // len(frames[-1])):
                yield np.concatenate(frames, axis=1).T
                frames, held = [], 0
        if frames:
            yield np.concatenate(frames, axis=1).T

    yield rate, blocks()


def _library(path: Path) -> ModuleType:
    try:
        import avioflow
    except ImportError as error:
        raise TarkibError(f"this {path.suffix} file needs a decoder: pip install 'tarkib[formats]'") from error
    avioflow.set_log_level("quiet")
    return avioflow
