"""From a recording's evidence and labels to the annotations of its slices, and to labels that the sound contradicts.

A label is never changed. A conflict, for a person to check, is a label and a part of its recording where an estimate
made without the label differs from it with a confidence of at least `suspect_confidence`. Half and double tempi agree,
as do tonics in other octaves and dastgahs of the same scale (mahur and rast-panjgah).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tarkib.annotation import modulation, octaves, tempo, tonality
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.modulation import Part
from tarkib.annotation.tempo import TempoTrack
from tarkib.annotation.tonality import Tonality
from tarkib.audio import CLIP_SECONDS
from tarkib.params import Annotate
from tarkib.vocabulary import PERCUSSION, SCALES

TEMPO_TOLERANCE = 0.04
TONIC_TOLERANCE_CENTS = 50.0

_SECONDS_DECIMALS = 3


class Labels(NamedTuple):
    """What people say of a whole recording; None if unlabelled. Percussion gets no tonic and no dastgah."""

    instrument: str | None = None
    dastgah: str | None = None
    tonic_hz: float | None = None
    bpm: float | None = None


@dataclass(frozen=True)
class Annotation:
    """A slice's tempo, tonic and dastgah, None where unknown.

    Confidences are probabilities, of tempo and tonic modulo octave; a source is `label`, `estimate` or `none`.
    """

    bpm: float | None
    bpm_confidence: float
    bpm_source: str
    bpm_octaves: list[float]
    """of half and double the tempo those that fit the sound nearly as well"""
    beat_s: float | None
    """seconds from the slice's start to the first beat in it"""
    tonic_hz: float | None
    tonic_confidence: float
    tonic_source: str
    dastgah: str | None
    dastgah_confidence: float
    dastgah_source: str
    family: str | None
    """dastgahs whose scales are close, see `tonality.FAMILY`"""
    family_confidence: float


class Conclusion(NamedTuple):
    """Estimates of a recording, along it and as a whole."""

    tempo: TempoTrack
    """as estimated, without the label"""
    beats_s: np.ndarray
    """shape (beats,), float64: seconds of the beats where the tempo is trusted"""
    parts: list[Part]
    """of the recording, in order, each in a mode of its own; labels included; one with all None for percussion"""

    def tonality_at(self, second: float) -> Tonality:
        """Tonality around a moment of the recording (clamped to its ends)."""
        return next((part.tonality for part in self.parts if second < part.end_s), self.parts[-1].tonality)


class Conflict(NamedTuple):
    """A label, by its name in `Labels`, that is contradicted from `start_s` to `end_s` of its recording."""

    what: str
    start_s: float
    end_s: float
    label: str
    estimate: str
    confidence: float


def conclude(evidence: Evidence, labels: Labels, params: Annotate) -> Conclusion:
    """Estimate the tempo and, if they are not labelled, tonic and dastgah."""
    track = tempo.track(evidence.onset, params, labels.instrument)
    parts = [Part(0.0, evidence.seconds, Tonality())]
    if labels.instrument not in PERCUSSION:
        parts = modulation.parts(evidence.pitch, evidence.seconds, labels.dastgah, labels.tonic_hz)
    return Conclusion(track, tempo.beats(evidence.onset, track, params.min_confidence), parts)


def annotate(conclusion: Conclusion, starts_s: Sequence[float], labels: Labels, params: Annotate) -> list[Annotation]:
    """Annotate the slices of one recording, given where each begins in it, in seconds; in that order."""
    return [_annotation(conclusion, start, labels, params) for start in starts_s]


def _annotation(conclusion: Conclusion, start_s: float, labels: Labels, params: Annotate) -> Annotation:
    middle_s, min_tonal = start_s + CLIP_SECONDS / 2, params.min_tonal_confidence
    tonal = conclusion.tonality_at(middle_s)
    estimate, confidence = conclusion.tempo.at(middle_s)
    bpm, bpm_source = _chosen(labels.bpm, estimate, confidence, params.min_confidence)
    tonic_hz, tonic_source = _chosen(labels.tonic_hz, tonal.tonic_hz, tonal.tonic_confidence, min_tonal)
    dastgah, dastgah_source = _chosen(labels.dastgah, tonal.dastgah, tonal.dastgah_confidence, min_tonal)
    beat_s = None
    # The beats are those of the estimated tempo: without it, or with another one by label, there are none.
    if 0.0 < confidence >= params.min_confidence and abs(estimate / (bpm or estimate) - 1.0) <= TEMPO_TOLERANCE:
        beat_s = tempo.first_beat(conclusion.beats_s, start_s)
    return Annotation(
        bpm=bpm,
        bpm_confidence=1.0 if bpm_source == "label" else confidence,
        bpm_source=bpm_source,
        bpm_octaves=conclusion.tempo.octaves(middle_s) if bpm_source == "estimate" else [],
        beat_s=None if beat_s is None else round(beat_s, _SECONDS_DECIMALS),
        tonic_hz=tonic_hz,
        tonic_confidence=tonal.tonic_confidence,
        tonic_source=tonic_source,
        dastgah=dastgah,
        dastgah_confidence=tonal.dastgah_confidence,
        dastgah_source=dastgah_source,
        family=tonal.family if tonal.family_confidence >= min_tonal else None,
        family_confidence=tonal.family_confidence,
    )


def _chosen(label: Any, estimate: Any, confidence: float, least: float) -> tuple[Any, str]:
    """A slice's value and its source. An impossible value (a drum's tonic) is not even taken from a label."""
    if estimate is not None and label is not None:
        return label, "label"
    return (estimate, "estimate") if estimate is not None and 0.0 < confidence >= least else (None, "none")


def conflicts(evidence: Evidence, conclusion: Conclusion, labels: Labels, params: Annotate) -> list[Conflict]:
    """The labels of a recording that its evidence contradicts."""
    found: list[Conflict] = []
    if labels.instrument in PERCUSSION:
        free = tonality.estimate(evidence.pitch)
        if free.family is not None:
            values = str(labels.instrument), f"a melody in {free.dastgah}"
            found.append(Conflict("instrument", 0.0, evidence.seconds, *values, free.family_confidence))
    else:
        if labels.dastgah is not None:
            found += _dastgah_conflicts(evidence, labels.dastgah, params.suspect_confidence)
        if labels.tonic_hz is not None:
            found += _tonic_conflict(evidence, labels.tonic_hz, labels.dastgah)
    if labels.bpm is not None:
        found += _tempo_conflicts(evidence.seconds, conclusion.tempo, labels.bpm, params.suspect_confidence)
    return [conflict for conflict in found if conflict.confidence >= params.suspect_confidence]


def _dastgah_conflicts(evidence: Evidence, label: str, least: float) -> list[Conflict]:
    """The parts of the recording that are in another dastgah; or all of it, if none of its parts says so surely."""

    def against(parts: Iterable[modulation.Part]) -> list[Conflict]:
        return [
            Conflict("dastgah", start_s, end_s, label, free.dastgah, free.dastgah_confidence)
            for start_s, end_s, free in parts
            if free.dastgah and SCALES[free.dastgah] != SCALES[label]
        ]

    parts = modulation.parts(evidence.pitch, evidence.seconds)
    found = against(parts)
    if len(found) < len(parts) or any(conflict.confidence >= least for conflict in found):
        return found
    return against([modulation.Part(0.0, evidence.seconds, tonality.estimate(evidence.pitch))])


def _tonic_conflict(evidence: Evidence, label_hz: float, dastgah: str | None) -> Iterator[Conflict]:
    free = tonality.estimate(evidence.pitch, dastgah)
    if free.tonic_hz is not None and 1200.0 * octaves.apart(free.tonic_hz, label_hz) > TONIC_TOLERANCE_CENTS:
        values = f"{label_hz:.2f}", f"{free.tonic_hz:.2f}"
        yield Conflict("tonic_hz", 0.0, evidence.seconds, *values, free.tonic_confidence)


def _tempo_conflicts(seconds: float, track: TempoTrack, label: float, least: float) -> Iterator[Conflict]:
    """Parts of at least a slice's length that keep another tempo."""
    off = np.array([octaves.apart(bpm, label) > np.log2(1 + TEMPO_TOLERANCE) for bpm in track.bpm], bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], off & (track.confidence >= least), [0]])))
    for begin, end in edges.reshape(-1, 2).tolist():
        if end - begin >= CLIP_SECONDS:
            bpm, confidence = (float(np.median(values[begin:end])) for values in (track.bpm, track.confidence))
            yield Conflict("bpm", float(begin), min(float(end), seconds), f"{label:g}", f"{bpm:.1f}", confidence)
