"""Evidence: onset strength and pitch along a recording, from which everything else is estimated.

Evidence depends on the samples alone, not on labels or parameters. It is cached by the recording's checksum and the
version of the code (`key`), so annotating the same recording again takes milliseconds. Recordings are analysed as a
stream of blocks: memory does not grow with their samples.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from tarkib import audio
from tarkib.annotation.framing import segments
from tarkib.annotation.onset import OnsetDetector
from tarkib.annotation.pitch import Pitch, PitchDetector
from tarkib.runtime import fingerprint

_ROOM = Path(__file__).parent
_CODE = (*(_ROOM / f"{name}.py" for name in ("evidence", "framing", "onset", "pitch")), _ROOM.parent / "audio")
_LIBRARIES = ("numpy", "scipy", "librosa", "soundfile", "soxr")


@dataclass(frozen=True)
class Evidence:
    """Onset strength and pitch of one recording."""

    seconds: float
    """length of the recording"""
    onset: np.ndarray
    """onset strength, 100 frames a second, see `OnsetDetector.finish`"""
    pitch: Pitch


def extract(blocks: Iterable[np.ndarray]) -> Evidence:
    """Analyse a recording, mono at 24,000 Hz, that comes in blocks of float32 samples of shape (n,).

    Equal samples give equal bytes, in any blocks. Non-finite samples count as silence.
    """
    onsets, pitches, samples = OnsetDetector(), PitchDetector(), 0
    for segment in segments(blocks):
        onsets.add(segment)
        pitches.add(segment)
        samples = segment.start + segment.remaining
    return Evidence(samples / audio.SAMPLE_RATE, onsets.finish(), pitches.finish())


@functools.cache
def version() -> str:
    """Checksum of the analysing code and of the libraries that it computes with."""
    return fingerprint.of(fingerprint.of_files(_CODE), [metadata.version(name) for name in _LIBRARIES])


def key(sha256: str) -> str:
    """Cache key of the evidence of a recording file with this checksum."""
    return fingerprint.of(sha256, version())


def to_arrays(evidence: Evidence) -> dict[str, np.ndarray]:
    """Evidence as named arrays, for a cache; `from_arrays` is the inverse."""
    return {"seconds": np.array(evidence.seconds), "onset": evidence.onset, **evidence.pitch._asdict()}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Evidence:
    """Inverse of `to_arrays`."""
    pitches = Pitch(**{name: arrays[name] for name in Pitch._fields})
    return Evidence(float(arrays["seconds"]), arrays["onset"], pitches)
