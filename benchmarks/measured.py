"""Recordings annotated in all the ways that the accuracy report compares."""

from dataclasses import dataclass

import librosa
import mir_eval
import numpy as np

from benchmarks.known import Known
from tarkib import params
from tarkib.annotation import evidence, tonality
from tarkib.annotation.conclusion import Labels, conclude
from tarkib.annotation.tempo import TempoTrack
from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE
from tarkib.vocabulary import SCALES


@dataclass(frozen=True)
class Slice:
    """A slice's tempo: the truth (None in free rhythm), what is estimated, and what librosa says (0: nothing).

    None where librosa was not asked.
    """

    true_bpm: float | None
    bpm: float
    confidence: float
    librosa_bpm: float | None


@dataclass(frozen=True)
class Measured:
    """What was found in one recording."""

    known: Known
    seconds: float
    slices: tuple[Slice, ...]
    beat_f: float | None
    """F-measure of the beats; None where none are annotated"""
    free: tonality.Tonality
    """with no label at all"""
    given: tonality.Tonality | None
    """with the dastgah's label"""
    librosa_dastgah: str | None
    librosa_tonic_hz: float | None
    """with the dastgah's label"""


def measure(one: Known, with_librosa: bool = True) -> Measured:
    """Annotate a recording in all the ways that are compared."""
    samples = one.samples()
    features = evidence.extract([samples])
    conclusion = conclude(features, Labels(one.instrument or None), params.Annotate())
    theirs = _librosa_tonality(samples, one.dastgah) if one.dastgah and with_librosa else (None, None)
    return Measured(
        one,
        features.seconds,
        tuple(_slices(one, samples if with_librosa else None, features.seconds, conclusion.tempo)),
        _beat_f(one, conclusion.beats_s),
        tonality.estimate(features.pitch),
        tonality.estimate(features.pitch, one.dastgah) if one.dastgah else None,
        *theirs,
    )


def _slices(one: Known, samples: np.ndarray | None, seconds: float, tempo: TempoTrack) -> list[Slice]:
    found = []
    for start_s, true_bpm in one.slices(seconds):
        theirs = None
        if samples is not None:
            begin = round(start_s * SAMPLE_RATE)
            piece = samples[begin : begin + CLIP_SAMPLES]
            theirs = float(np.atleast_1d(librosa.beat.beat_track(y=piece, sr=SAMPLE_RATE)[0])[0])
        found.append(Slice(true_bpm, *tempo.at(start_s + CLIP_SECONDS / 2), theirs))
    return found


def _beat_f(one: Known, beats_s: np.ndarray) -> float | None:
    """F-measure within 70 ms, the first five seconds left out as is the custom (mir_eval)."""
    if not one.beats_s:
        return None
    true, found = (mir_eval.beat.trim_beats(np.asarray(some)) for some in (one.beats_s, beats_s))
    return float(mir_eval.beat.f_measure(true, found))


def _librosa_tonality(samples: np.ndarray, dastgah: str) -> tuple[str, float]:
    """The dastgah, and given the dastgah the tonic, by mean 24-bin chroma."""
    chroma = librosa.feature.chroma_cqt(y=samples, sr=SAMPLE_RATE, n_chroma=24, bins_per_octave=48, n_octaves=6)
    return by_scale(chroma.mean(axis=1), dastgah)


def by_scale(classes: np.ndarray, dastgah: str) -> tuple[str, float]:
    """The dastgah, and given `dastgah` the tonic in Hz, whose scale correlates best with 24 pitch classes from C on."""
    profile = classes - classes.mean()
    scores = {}
    for name, degrees in SCALES.items():
        scale = np.zeros(24)
        scale[[round(cents / 50) for cents in degrees]] = 1.0
        scale -= scale.mean()
        scores[name] = np.array([np.dot(profile, np.roll(scale, k)) for k in range(24)])
    best = max(scores, key=lambda name: scores[name].max())
    return best, float(librosa.note_to_hz("C4") * 2 ** (int(scores[dastgah].argmax()) / 24))
