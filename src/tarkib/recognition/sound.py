"""The sound of recordings in blocks, decoded by threads while other blocks are being recognised.

Threads are for a GPU, which would wait for the decoder. On a CPU the network keeps all cores busy.
"""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from tarkib import audio
from tarkib.errors import TarkibError

Sound = Path | str | tuple[np.ndarray, int]
"""A file; or samples and their rate in Hz, as `Recogniser` takes them."""

_AT_ONCE = 4
"""Blocks of a minute, 6 MB each, that a thread decodes in a row."""


class Blocks:
    """A recording in blocks of mono samples, float32 of shape (n,) at `SAMPLE_RATE`: iterate over it, once.

    With a pool, one of its threads decodes blocks before they are asked for: at most twice `_AT_ONCE` are in memory.
    Iterating raises TarkibError where the sound cannot be used. `remarks` are its oddities, complete afterwards.
    """

    def __init__(self, sound: Sound, pool: ThreadPoolExecutor | None = None) -> None:
        self.remarks: list[str] = []
        self._blocks, self._pool = self._decoded(sound), pool
        self._next = pool.submit(self._some) if pool else None

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._pool is None or self._next is None:
            yield from self._blocks
            return
        while some := self._next.result():
            self._next = self._pool.submit(self._some)
            yield from some

    def _some(self) -> list[np.ndarray]:
        return list(islice(self._blocks, _AT_ONCE))

    def _decoded(self, sound: Sound) -> Iterator[np.ndarray]:
        if not isinstance(sound, str | os.PathLike):
            yield _resampled(*sound)
        elif os.path.isdir(sound) or not Path(sound).exists():
            raise TarkibError("is a folder; name the files in it" if os.path.isdir(sound) else "no such file")
        else:
            stream = audio.Stream(Path(sound))
            self.remarks = stream.remarks
            yield from stream


def open_sounds(sounds: Iterable[Sound], threads: int) -> Generator[Blocks]:
    """Yield the blocks of each recording, in order; `threads` recordings are decoded ahead (0: none).

    Exhaust a recording's blocks before asking for the next. Closing waits for the blocks that threads are decoding.
    """
    if not threads:
        yield from map(Blocks, sounds)
        return
    pool, waiting = ThreadPoolExecutor(threads, "decoding"), deque[Blocks]()
    try:
        for sound in sounds:
            waiting.append(Blocks(sound, pool))
            if len(waiting) > threads:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples of `Sound` as mono, float32 of shape (n,) at `SAMPLE_RATE`."""
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise TarkibError(
            f"samples have shape {samples.shape}; give (n,), (n, channels) or (channels, n), n at least 1"
        )
    if samples.dtype in (np.int16, np.int32):
        samples = samples / np.float32(np.iinfo(samples.dtype).max)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise TarkibError(f"samples are {samples.dtype}; give floating-point numbers within -1..1, int16 or int32")
    audio.check_rate(rate)
    samples = np.atleast_2d(samples.astype(np.float32))
    mono = audio.Mix(rate)(np.ascontiguousarray(samples if samples.shape[1] < samples.shape[0] else samples.T))
    audio.check_samples(mono, rate)
    return audio.resample(mono, rate)
