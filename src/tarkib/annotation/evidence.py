"""Evidence: onset strength and pitch along a recording, from which everything else is estimated.

It depends on the samples alone, not on labels or parameters, and is cached by the recording's checksum and the version
of the code. Recordings are analysed in segments of five seconds, however they come in blocks: a transform of many
frames may round differently from one of few. Equal samples give equal bytes, and memory does not grow with them.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tarkib.annotation import notes, onset, pitch
from tarkib.annotation.pitch import Pitch
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.runtime import fingerprint

_ROOM = Path(__file__).parent
_CODE = (*(_ROOM / f"{name}.py" for name in ("evidence", "notes", "onset", "pitch")), _ROOM.parent / "audio")
_LIBRARIES = ("numpy", "scipy", "librosa", "soundfile", "soxr")
_BEFORE, _AFTER = 512, 6_000  # samples by which the frames of a segment reach beyond it


@dataclass(frozen=True)
class Evidence:
    """Onset strength and pitch of one recording."""

    seconds: float
    """length of the recording"""
    onset: np.ndarray
    """onset strength, 100 frames a second: columns of `onset.Detector.finish`, then of `notes.changes`"""
    pitch: Pitch


class _Segment(NamedTuple):
    """A segment of `CLIP_SAMPLES` with what lies around it; outside of the recording there is silence."""

    samples: np.ndarray  # float32 of shape (_BEFORE + CLIP_SAMPLES + _AFTER,)
    remaining: int  # the recording's samples from the segment's start on, as far as they lie in `samples`
    start: int  # where the segment starts in the recording

    def frames(self, window: int, hop: int, before: int = 0) -> np.ndarray:
        """Frames of the segment, shape (frames, `window`); frame *i* begins at sample *i* * `hop` - `before`.

        A frame reaches at most `before` samples beyond the recording; a recording too short for one has one.
        """
        inside = 1 + (self.remaining + 2 * before - window) // hop
        count = min(max(inside, int(self.start == 0)), CLIP_SAMPLES // hop)
        return sliding_window_view(self.samples[_BEFORE - before :], window)[::hop][:count]


def extract(blocks: Iterable[np.ndarray]) -> Evidence:
    """Analyse a recording, mono at 24,000 Hz, in float32 blocks of shape (n,); non-finite samples count as silence."""
    onsets, pitches, samples = onset.Detector(), pitch.Detector(), 0
    for segment in _segments(blocks):
        onsets.add(segment.frames(onset.WINDOW, onset.HOP, before=onset.WINDOW // 2))
        pitches.add(segment.frames(pitch.WINDOW, pitch.HOP), segment.frames(pitch.PEAK_WINDOW, pitch.PEAK_HOP))
        samples = segment.start + segment.remaining
    strength, found = onsets.finish(), pitches.finish()
    columns = np.concatenate([strength, notes.changes(found, len(strength))[:, None]], axis=1)
    return Evidence(samples / SAMPLE_RATE, columns, found)


def _segments(blocks: Iterable[np.ndarray]) -> Iterator[_Segment]:
    size = _BEFORE + CLIP_SAMPLES + _AFTER
    waiting, start = np.zeros(_BEFORE, np.float32), 0
    for piece in (block[i : i + CLIP_SAMPLES] for block in blocks for i in range(0, len(block), CLIP_SAMPLES)):
        waiting = np.concatenate([waiting, np.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)])
        while len(waiting) >= size:
            yield _Segment(waiting[:size], CLIP_SAMPLES + _AFTER, start)
            waiting, start = waiting[CLIP_SAMPLES:], start + CLIP_SAMPLES
    remaining = len(waiting) - _BEFORE
    waiting = np.pad(waiting, (0, 2 * CLIP_SAMPLES))
    for skipped in range(0, remaining + 1, CLIP_SAMPLES):
        yield _Segment(waiting[skipped:][:size], remaining - skipped, start + skipped)


@functools.cache
def _version() -> str:
    return fingerprint.of(fingerprint.of_files(_CODE), [metadata.version(name) for name in _LIBRARIES])


def key(sha256: str) -> str:
    """Cache key of a recording file's evidence: by its checksum, the analysing code, and the code's libraries."""
    return fingerprint.of(sha256, _version())


def to_arrays(evidence: Evidence) -> dict[str, np.ndarray]:
    """Evidence as named arrays, for a cache."""
    return {"seconds": np.array(evidence.seconds), "onset": evidence.onset, **evidence.pitch._asdict()}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Evidence:
    """Inverse of `to_arrays`."""
    pitches = Pitch(**{name: arrays[name] for name in Pitch._fields})
    return Evidence(float(arrays["seconds"]), arrays["onset"], pitches)
