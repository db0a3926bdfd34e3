"""Labels that the sound contradicts, for a person to check: a label is never changed.

A conflict is a label and a part of its recording where an estimate made without the label differs from it with a
confidence of at least `suspect_confidence`. Half and double tempi agree, as do tonics in other octaves and dastgahs of
the same scale (mahur and rast-panjgah).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tarkib.annotation import octaves, tonality
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.labels import Labels
from tarkib.annotation.tempo import TempoTrack
from tarkib.audio import CLIP_SECONDS
from tarkib.vocabulary import PERCUSSION, SCALES

TEMPO_TOLERANCE = 0.04
TONIC_TOLERANCE_CENTS = 50.0

_WINDOW_S = 60.0  # long enough for a scale to show, short enough to find where a recording changes its mode
_STEP_S = 30.0


class Conflict(NamedTuple):
    """A label that is contradicted from `start_s` to `end_s` of its recording."""

    what: str
    """`instrument`, `dastgah`, `tonic_hz` or `bpm`"""
    start_s: float
    end_s: float
    label: str
    estimate: str
    confidence: float


def find(evidence: Evidence, tempo: TempoTrack, labels: Labels, min_confidence: float) -> list[Conflict]:
    """The labels of a recording that its evidence contradicts with a confidence of at least `min_confidence`."""
    conflicts: list[Conflict] = []
    if labels.instrument in PERCUSSION:
        conflicts += _melody(evidence, labels)
    else:
        if labels.dastgah is not None:
            conflicts += _dastgah(evidence, labels.dastgah, min_confidence)
        if labels.tonic_hz is not None:
            conflicts += _tonic(evidence, labels.tonic_hz, labels.dastgah)
    if labels.bpm is not None:
        conflicts += _tempo(evidence, tempo, labels.bpm, min_confidence)
    return [conflict for conflict in conflicts if conflict.confidence >= min_confidence]


def _melody(evidence: Evidence, labels: Labels) -> Iterator[Conflict]:
    free = tonality.estimate(evidence.pitch)
    if free.family is not None:
        melody = f"a melody in {free.dastgah}"
        yield Conflict("instrument", 0.0, evidence.seconds, str(labels.instrument), melody, free.family_confidence)


def _dastgah(evidence: Evidence, label: str, min_confidence: float) -> Iterator[Conflict]:
    """The whole recording if its estimate is another dastgah, else the minutes of it where it is."""

    def other(start_s: float, end_s: float) -> Conflict | None:
        free = tonality.estimate(evidence.pitch.between(start_s, end_s))
        if free.dastgah is None or free.dastgah_confidence < min_confidence or SCALES[free.dastgah] == SCALES[label]:
            return None
        return Conflict("dastgah", start_s, end_s, label, free.dastgah, free.dastgah_confidence)

    whole = other(0.0, evidence.seconds)
    if whole is not None:
        yield whole
    elif evidence.seconds > 1.5 * _WINDOW_S:
        starts = np.arange(0.0, evidence.seconds - _WINDOW_S / 2, _STEP_S).tolist()
        minutes = [other(start, min(start + _WINDOW_S, evidence.seconds)) for start in starts]
        yield from merged([conflict for conflict in minutes if conflict is not None])


def merged(conflicts: list[Conflict]) -> Iterator[Conflict]:
    """Join overlapping conflicts, rising in time, of the same estimate; the highest confidence stays."""
    last: Conflict | None = None
    for conflict in conflicts:
        if last is None:
            last = conflict
        elif conflict.start_s <= last.end_s and conflict.estimate == last.estimate:
            last = last._replace(end_s=conflict.end_s, confidence=max(last.confidence, conflict.confidence))
        else:
            yield last
            last = conflict
    if last is not None:
        yield last


def _tonic(evidence: Evidence, label_hz: float, dastgah: str | None) -> Iterator[Conflict]:
    free = tonality.estimate(evidence.pitch, dastgah)
    if free.tonic_hz is not None and 1200.0 * octaves.apart(free.tonic_hz, label_hz) > TONIC_TOLERANCE_CENTS:
        values = f"{label_hz:.2f}", f"{free.tonic_hz:.2f}"
        yield Conflict("tonic_hz", 0.0, evidence.seconds, *values, free.tonic_confidence)


def _tempo(evidence: Evidence, tempo: TempoTrack, label: float, min_confidence: float) -> Iterator[Conflict]:
    """Parts of at least a slice's length that keep another tempo."""
    off = np.array([octaves.apart(bpm, label) > np.log2(1 + TEMPO_TOLERANCE) for bpm in tempo.bpm], bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], off & (tempo.confidence >= min_confidence), [0]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - begin >= CLIP_SECONDS:
            bpm, confidence = (float(np.median(values[begin:end])) for values in (tempo.bpm, tempo.confidence))
            end_s = min(float(end), evidence.seconds)
            yield Conflict("bpm", float(begin), end_s, f"{label:g}", f"{bpm:.1f}", confidence)
