"""From a recording's evidence and labels to the annotations of its slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tarkib.annotation import tempo, tonality
from tarkib.annotation.conflicts import TEMPO_TOLERANCE
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.labels import Labels
from tarkib.annotation.precision import SECONDS_DECIMALS
from tarkib.annotation.tempo import TempoTrack
from tarkib.annotation.tonality import Tonality
from tarkib.audio import CLIP_SECONDS
from tarkib.params import Annotate
from tarkib.vocabulary import PERCUSSION


@dataclass(frozen=True)
class Annotation:
    """A slice's tempo, tonic and dastgah. Confidences lie in [0, 1]; a source is `label`, `estimate` or `none`."""

    bpm: float | None
    """beats per minute; None if unknown: the slice is unmetered"""
    bpm_confidence: float
    """probability that the tempo is right, modulo octave"""
    bpm_source: str
    bpm_octaves: list[float]
    """of half and double the tempo those that fit the sound nearly as well"""
    beat_s: float | None
    """seconds from the slice's start to the first beat in it"""
    tonic_hz: float | None
    """first degree of the scale, in the octave where it sounds most"""
    tonic_confidence: float
    """probability that the tonic is right within 50 cents, modulo octave"""
    tonic_source: str
    dastgah: str | None
    dastgah_confidence: float
    dastgah_source: str
    family: str | None
    """dastgahs whose scales are close, see `tonality.FAMILY`"""
    family_confidence: float


@dataclass(frozen=True)
class Conclusion:
    """Estimates of a recording, along it and as a whole."""

    tempo: TempoTrack
    """as estimated, without the label"""
    beats_s: np.ndarray
    """shape (beats,), float64: seconds of the beats where the tempo is trusted"""
    tonality: Tonality
    """labels included; all None for percussion"""


def conclude(evidence: Evidence, labels: Labels, params: Annotate) -> Conclusion:
    """Estimate the tempo and, if they are not labelled, tonic and dastgah."""
    track = tempo.track(evidence.onset, params)
    tonal = Tonality()
    if labels.instrument not in PERCUSSION:
        tonal = tonality.estimate(evidence.pitch, labels.dastgah, labels.tonic_hz)
    return Conclusion(track, tempo.beats(evidence.onset, track, params.min_confidence), tonal)


def annotate(conclusion: Conclusion, starts_s: Sequence[float], labels: Labels, params: Annotate) -> list[Annotation]:
    """Annotate the slices of one recording, given where each begins in it, in seconds; in that order."""
    return [_annotation(conclusion, start, labels, params) for start in starts_s]


def _annotation(conclusion: Conclusion, start_s: float, labels: Labels, params: Annotate) -> Annotation:
    tonal, middle_s = conclusion.tonality, start_s + CLIP_SECONDS / 2
    min_tonal = params.min_tonal_confidence
    bpm, confidence = conclusion.tempo.at(middle_s)
    # The beats are those of the estimated tempo: without it, or with another one by label, there are none.
    trusted = confidence > 0.0 and confidence >= params.min_confidence
    has_beats = trusted and (labels.bpm is None or abs(bpm / labels.bpm - 1.0) <= TEMPO_TOLERANCE)
    beat_s = tempo.first_beat(conclusion.beats_s, start_s) if has_beats else None
    bpm_source = _source(bpm, confidence, params.min_confidence, labels.bpm)
    tonic_source = _source(tonal.tonic_hz, tonal.tonic_confidence, min_tonal, labels.tonic_hz)
    dastgah_source = _source(tonal.dastgah, tonal.dastgah_confidence, min_tonal, labels.dastgah)
    return Annotation(
        bpm={"label": labels.bpm, "estimate": bpm, "none": None}[bpm_source],
        bpm_confidence=1.0 if bpm_source == "label" else confidence,
        bpm_source=bpm_source,
        bpm_octaves=conclusion.tempo.octaves(middle_s) if bpm_source == "estimate" else [],
        beat_s=None if beat_s is None else round(beat_s, SECONDS_DECIMALS),
        tonic_hz=None if tonic_source == "none" else tonal.tonic_hz,
        tonic_confidence=tonal.tonic_confidence,
        tonic_source=tonic_source,
        dastgah=None if dastgah_source == "none" else tonal.dastgah,
        dastgah_confidence=tonal.dastgah_confidence,
        dastgah_source=dastgah_source,
        family=tonal.family if tonal.family_confidence >= min_tonal else None,
        family_confidence=tonal.family_confidence,
    )


def _source(value: object, confidence: float, min_confidence: float, label: object) -> str:
    """Source of a slice's value. An impossible value (a drum's tonic) is not even taken from a label."""
    if value is None:
        return "none"
    if label is not None:
        return "label"
    return "estimate" if confidence >= min_confidence and confidence > 0.0 else "none"
