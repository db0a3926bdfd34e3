"""What is heard in a recording, before anything is concluded from it: onsets and pitches along it.

Conventions
-----------
Evidence follows from a recording's samples alone: neither labels nor parameters have a say in it, so it is kept by the
recording's checksum and the version of the code that hears (`key`), and every other annotation of the same recording
takes milliseconds. A recording is heard as it passes, in blocks of any length: memory does not grow with its samples.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from tarkib import audio
from tarkib.annotation import onset, pitch
from tarkib.annotation.onset import OnsetListener
from tarkib.annotation.pitch import Pitch, PitchListener
from tarkib.runtime import fingerprint

_HEARING = (Path(__file__), Path(onset.__file__), Path(pitch.__file__), Path(audio.__file__).parent)
_LIBRARIES = ("numpy", "scipy", "librosa", "soundfile", "soxr")


@dataclass(frozen=True)
class Evidence:
    """Onsets and pitches of one recording."""

    seconds: float
    """length of the recording"""
    onset: np.ndarray
    """onset strength, 100 frames a second, as `OnsetListener` gives it"""
    pitch: Pitch


def listen(blocks: Iterable[np.ndarray]) -> Evidence:
    """Hear a recording, mono at 24,000 Hz, that comes in blocks of float32 samples of shape (n,).

    Equal samples give equal bytes, however they are cut into blocks. Values that are not finite count as silence.
    """
    onsets, pitches, count = OnsetListener(), PitchListener(), 0
    for block in blocks:
        if not np.isfinite(block).all():
            block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        onsets.feed(block)
        pitches.feed(block)
        count += len(block)
    return Evidence(count / audio.SAMPLE_RATE, onsets.finish(), pitches.finish())


@functools.cache
def version() -> str:
    """Checksum of the code that hears: this module, those it calls, and the libraries that compute for them."""
    return fingerprint.of(fingerprint.of_files(_HEARING), [metadata.version(name) for name in _LIBRARIES])


def key(sha256: str) -> str:
    """Under which the evidence of a recording file with this checksum is kept."""
    return fingerprint.of(sha256, version())


def to_arrays(heard: Evidence) -> dict[str, np.ndarray]:
    """Evidence as named arrays, for a cache; `from_arrays` is the inverse."""
    return {"seconds": np.array(heard.seconds), "onset": heard.onset, **heard.pitch._asdict()}


def from_arrays(arrays: dict[str, np.ndarray]) -> Evidence:
    """Inverse of `to_arrays`."""
    pitches = Pitch(**{name: arrays[name] for name in Pitch._fields})
    return Evidence(float(arrays["seconds"]), arrays["onset"], pitches)
