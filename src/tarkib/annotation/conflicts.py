"""Labels that the sound contradicts, for a person to look at: a label is never changed.

Conventions
-----------
A suspect is a label and a stretch of its recording, in seconds, in which an estimate made without that label says
something else with a confidence (a probability) of at least `suspect_confidence`. Tempi that are halves or doubles of
each other agree, as do tonics in other octaves and dastgahs of one scale (mahur and rast-panjgah).
"""

from collections.abc import Iterable, Iterator
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


class Suspect(NamedTuple):
    """A label that is contradicted, from `start_s` to `end_s` of its recording."""

    what: str
    """`instrument`, `dastgah`, `tonic_hz` or `bpm`"""
    start_s: float
    end_s: float
    label: str
    estimate: str
    confidence: float


def find(heard: Evidence, tempo: TempoTrack, labels: Labels, least: float) -> list[Suspect]:
    """The labels of a recording that its evidence contradicts with a confidence of at least `least`."""
    found: list[Suspect] = []
    if labels.instrument in PERCUSSION:
        found += _melody(heard, labels.instrument, least)
    else:
        if labels.dastgah is not None:
            found += _dastgah(heard, labels.dastgah, least)
        if labels.tonic_hz is not None:
            found += _tonic(heard, labels, least)
    if labels.bpm is not None:
        found += _tempo(heard, tempo, labels.bpm, least)
    return found


def _melody(heard: Evidence, instrument: str, least: float) -> Iterator[Suspect]:
    free = tonality.estimate(heard.pitch)
    if free.family is not None and free.family_confidence >= least:
        yield Suspect(
            "instrument", 0.0, heard.seconds, instrument, f"a melody in {free.dastgah}", free.family_confidence
        )


def _dastgah(heard: Evidence, label: str, least: float) -> Iterator[Suspect]:
    """The whole recording where it speaks for another dastgah, else the minutes of it that do."""
    whole = _another(tonality.estimate(heard.pitch), label, least)
    if whole is not None:
        yield Suspect("dastgah", 0.0, heard.seconds, label, *whole)
    elif heard.seconds > 1.5 * _WINDOW_S:
        starts = np.arange(0.0, heard.seconds - _WINDOW_S / 2, _STEP_S)
        minutes = ((start, min(start + _WINDOW_S, heard.seconds)) for start in starts)
        judged = ((*span, _another(tonality.estimate(heard.pitch.between(*span)), label, least)) for span in minutes)
        yield from _joined(("dastgah", label), judged)


def _another(estimate: tonality.Tonality, label: str, least: float) -> tuple[str, float] | None:
    other = estimate.dastgah
    if other is None or estimate.dastgah_confidence < least or SCALES[other] == SCALES[label]:
        return None
    return other, estimate.dastgah_confidence


def _joined(
    named: tuple[str, str], judged: Iterable[tuple[float, float, tuple[str, float] | None]]
) -> Iterator[Suspect]:
    """Overlapping windows that say the same become one suspect, with the highest of their confidences."""
    what, label = named
    last: Suspect | None = None
    for start, end, other in judged:
        if other is None:
            continue
        if last is not None and start <= last.end_s and other[0] == last.estimate:
            last = last._replace(end_s=float(end), confidence=max(last.confidence, other[1]))
            continue
        if last is not None:
            yield last
        last = Suspect(what, float(start), float(end), label, *other)
    if last is not None:
        yield last


def _tonic(heard: Evidence, labels: Labels, least: float) -> Iterator[Suspect]:
    free = tonality.estimate(heard.pitch, labels.dastgah)
    if free.tonic_hz is None or free.tonic_confidence < least:
        return
    if 1200.0 * octaves.apart(free.tonic_hz, labels.tonic_hz) > TONIC_TOLERANCE_CENTS:
        yield Suspect(
            "tonic_hz", 0.0, heard.seconds, f"{labels.tonic_hz:.2f}", f"{free.tonic_hz:.2f}", free.tonic_confidence
        )


def _tempo(heard: Evidence, tempo: TempoTrack, label: float, least: float) -> Iterator[Suspect]:
    """Stretches of at least a slice's length that keep another tempo."""
    off = np.array([octaves.apart(one, label) > np.log2(1 + TEMPO_TOLERANCE) for one in tempo.bpm], bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], off & (tempo.confidence >= least), [0]])))
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= CLIP_SECONDS:
            estimate, confidence = np.median(tempo.bpm[begin:end]), np.median(tempo.confidence[begin:end])
            end_s = min(float(end), heard.seconds)
            yield Suspect("bpm", float(begin), end_s, f"{label:g}", f"{estimate:.1f}", float(confidence))
