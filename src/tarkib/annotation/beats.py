"""Where the beats fall along a recording whose tempo is known.

Conventions
-----------
Seconds from the recording's start. The beats are librosa's (Ellis, "Beat tracking by dynamic programming", Journal of
New Music Research 36, 2007), led by our tempo, second by second; only where that is trusted are they kept.
"""

import librosa
import numpy as np

from tarkib.annotation.onset import FRAME_RATE, HOP
from tarkib.annotation.tempo import TempoTrack
from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE


def beats(onset: np.ndarray, tempo: TempoTrack, least: float) -> np.ndarray:
    """Seconds of the beats where the tempo's confidence is at least `least`: shape (beats,), float64, rising."""
    trusted = (tempo.confidence >= least) & (tempo.confidence > 0.0)
    if not trusted.any():
        return np.zeros(0)
    frames = np.arange(len(onset))
    bpm = np.interp(frames / FRAME_RATE, np.arange(len(tempo.bpm)), tempo.bpm)
    _, found = librosa.beat.beat_track(
        onset_envelope=onset.sum(axis=1), sr=SAMPLE_RATE, hop_length=HOP, bpm=bpm, trim=False
    )
    seconds = np.asarray(found, float) / FRAME_RATE
    return seconds[trusted[np.clip(np.round(seconds).astype(int), 0, len(trusted) - 1)]]


def first_beat(beats_s: np.ndarray, start_s: float, seconds: float = CLIP_SECONDS) -> float | None:
    """Seconds from a slice's start to the first beat in it, None where there is none."""
    index = int(np.searchsorted(beats_s, start_s))
    if index == len(beats_s) or beats_s[index] >= start_s + seconds:
        return None
    return float(beats_s[index] - start_s)
