"""What a slice needs to be mixed with others: its tempo, its tonic and its dastgah, each with a confidence.

Conventions
-----------
Everything is estimated on the whole recording and handed to its slices, since five seconds alone say too little: tempo
from the ten seconds or so around each slice and the way it moves along the recording, tonality from all of it. What is
not known is None, never 0; every number is finite. A slice without a trusted tempo is unmetered.

`tempo` and `tonality` hold the methods, `pitch` the evidence that tonality is estimated from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tarkib.annotation import tempo, tonality
from tarkib.audio import CLIP_SECONDS
from tarkib.vocabulary import PERCUSSION

__all__ = ["Annotation", "TempoParams", "annotate"]


class TempoParams(Protocol):
    """The parameters of `annotate` (`params.Annotate` is one)."""

    min_bpm: float
    max_bpm: float
    prior_bpm: float
    prior_octaves: float
    min_confidence: float


@dataclass(frozen=True)
class Annotation:
    """A slice's tempo, tonic and dastgah. Confidences lie in [0, 1]."""

    bpm: float | None
    """beats per minute; None where the confidence is below `min_confidence`"""
    bpm_confidence: float
    tonic_hz: float | None
    """first degree of the scale, in the octave where it sounds most"""
    tonic_confidence: float
    dastgah: str | None
    dastgah_confidence: float
    dastgah_source: str
    """`label`, `estimate` or `none`"""


def annotate(
    samples: np.ndarray, starts_s: Sequence[float], instrument: str, dastgah: str | None, params: TempoParams
) -> list[Annotation]:
    """Annotate the slices of one recording, in the order of `starts_s`.

    Parameters
    ----------
    samples: shape (n,), float32
        The whole recording, mono, 24,000 Hz. Values that are not finite count as silence.
    starts_s: seconds
        Where each five-second slice starts in it.
    instrument: one of `vocabulary.INSTRUMENTS`
        Percussion gets no tonic and no dastgah.
    dastgah: one of `vocabulary.DASTGAHS` or None
        The recording's label. It wins over any estimate and leaves only the tonic to be found.
    """
    if not np.isfinite(samples).all():
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    tempi = tempo.track(samples, params.min_bpm, params.max_bpm, params.prior_bpm, params.prior_octaves)
    if instrument in PERCUSSION:
        tonal, source = tonality.NONE, "none"
    else:
        tonal = tonality.estimate(samples, dastgah)
        source = "label" if dastgah is not None else "none" if tonal.dastgah is None else "estimate"
    annotations = []
    for start in starts_s:
        bpm, confidence = tempi.at(start + CLIP_SECONDS / 2)
        trusted = confidence >= params.min_confidence and confidence > 0.0
        annotations.append(Annotation(bpm if trusted else None, confidence, *tonal, source))
    return annotations
