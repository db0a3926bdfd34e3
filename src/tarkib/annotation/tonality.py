"""The tonic and the dastgah of a recording, from its pitch-class profile.

Conventions
-----------
The tonic is the first degree of the scale as `vocabulary.SCALES` writes it. The *shahed*, the tone a mode circles
around, is the same in all dastgahs but homayoun, whose shahed is its second degree (measured on annotated ney and
setar; `shahed_cents`). Tuning is free: nothing assumes 440 Hz, and a tonic may stand between two keys of a piano.
Confidences are probabilities: of the tonic within 50 cents and modulo octave, of the dastgah, of its family.

A hypothesis is a dastgah on a tonic. Each has a template, Gaussians of 25 cents on the scale's degrees, and is scored
by its correlation with the compressed profile; a softmax makes probabilities of the scores, and what is asked for is
summed over all hypotheses that agree on it. Which weights the degrees get was measured: for telling dastgahs apart on
real recordings a heavier tonic matters most; where the dastgah is known, listening more to the time that the radif
spends on each degree finds the tonic more often. Rast-panjgah is never the answer: its scale is mahur's, and what the
radif dwells on did not tell the two apart on real recordings, so that mahur, much the commoner, stands for both and
leaves it a share of its probability.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from tarkib.annotation import pitch
from tarkib.annotation.pitch import Pitch
from tarkib.vocabulary import DASTGAHS, SCALES

RADIF_SHARES = {
    "shur": {0: 13, 150: 10, 300: 19, 500: 24, 650: 14, 700: 2, 800: 9, 1000: 8},
    "segah": {0: 14, 150: 13, 350: 19, 500: 13, 700: 10, 850: 20, 1050: 8},
    "nava": {0: 25, 200: 8, 300: 9, 500: 10, 700: 15, 850: 12, 1000: 16},
    "homayoun": {0: 16, 150: 15, 400: 11, 500: 20, 700: 17, 800: 7, 850: 4, 1000: 9},
    "chahargah": {0: 15, 150: 11, 400: 14, 500: 9, 700: 18, 850: 20, 1100: 8},
    "mahur": {0: 18, 200: 16, 400: 12, 500: 16, 700: 18, 850: 4, 900: 6, 1100: 6},
    "rast-panjgah": {0: 23, 200: 16, 350: 6, 400: 6, 500: 13, 700: 16, 850: 6, 900: 4, 1100: 7},
}
"""Percent of the time that the radif spends on each degree, cents above the tonic (Radif Corpus, CC BY 4.0)."""

_TONIC_WEIGHT = 1.4  # the other degrees weigh 1
_SPLIT_DEGREES = {"shur": {650: 0.5, 700: 0.5}}  # the fifth moves; without the lower one, shur reads as segah
_ESTIMATED = tuple(name for name in DASTGAHS if name != "rast-panjgah")
_RADIF_KNOWN, _RADIF_UNKNOWN = 0.3, 0.1  # say of the radif's durations where the dastgah is known, and where it is not
_DEGREE_CENTS = 25.0  # standard deviation of a degree: intonation, vibrato and the width of a tone
_COMPRESSION = 0.75  # exponent of the profile: one long drone does not outweigh a scale
_SAME_TONIC_CENTS = 50.0  # nearer tonics are the same tonic, a little off
_TEMPERATURE = 0.03  # of the softmax; the likeliest of 0.015 to 0.06 on solos of the demo orchestra, seeds 101 and 102
_LEAST_HELD = 0.45  # share of held notes in what sounds: drums of orchestra seeds 101 to 103 reach 0.38, melodies 0.56
_LEAST_HELD_LABELLED = 0.02  # where people say that there is a mode, a little is enough to look for its tonic
_LEAST_TONES = 2  # a scale cannot be told from fewer
_TONE_SHARE = 0.04  # of the profile's highest peak, for a peak to count as a tone
_BIN_CENTS = 1200.0 / pitch.BINS


class Tonality(NamedTuple):
    """Tonic in Hz, in the octave where it sounds most, and dastgah; None where there is no evidence for one."""

    tonic_hz: float | None
    tonic_confidence: float
    dastgah: str | None
    dastgah_confidence: float
    family: str | None
    family_confidence: float


FAMILY = {
    "shur": "shur",
    "segah": "shur",
    "nava": "shur",
    "homayoun": "homayoun",
    "chahargah": "chahargah",
    "mahur": "mahur",
    "rast-panjgah": "mahur",
}
"""Dastgahs whose scales are one or rotations of one, by the name of the commonest of them."""

NONE = Tonality(None, 0.0, None, 0.0, None, 0.0)

RAST_SHARE = 0.3
"""Of the probability of the scale that mahur and rast-panjgah share; an assumption, not a measurement."""


def shahed_cents(dastgah: str) -> float:
    """Cents from the tonic up to the shahed, for comparing with annotations that give the latter."""
    return float(SCALES[dastgah][1]) if dastgah == "homayoun" else 0.0


def estimate(heard: Pitch, dastgah: str | None = None, tonic_hz: float | None = None) -> Tonality:
    """Tonic, dastgah and family of what was heard; those that are known restrict what is looked for.

    What is known is returned as it came, with confidence 1, whether or not a scale is heard.
    """
    fundamentals = pitch.fundamental_classes(heard)
    sure = 0.0 if dastgah is None else 1.0
    known = Tonality(tonic_hz, float(tonic_hz is not None), dastgah, sure, FAMILY.get(dastgah), sure)
    least = _LEAST_HELD if dastgah is None else _LEAST_HELD_LABELLED
    if heard.held_share < least or (dastgah is None and _tones(fundamentals) < _LEAST_TONES):
        return known
    probability = _probabilities(_compressed(pitch.profile(heard)), dastgah, tonic_hz)
    if dastgah is None:
        by_dastgah = {name: float(row.sum()) for name, row in probability.items()}
        best = max(by_dastgah, key=by_dastgah.__getitem__)
        family = sum(share for name, share in by_dastgah.items() if FAMILY[name] == FAMILY[best])
        share = 1.0 - RAST_SHARE if best == "mahur" else 1.0
        known = known._replace(
            dastgah=best, dastgah_confidence=by_dastgah[best] * share, family=FAMILY[best], family_confidence=family
        )
        row = probability[best]
    else:
        row = probability[dastgah]
    if tonic_hz is None:
        step = int(row.argmax())
        near = np.abs((np.arange(pitch.BINS) - step + pitch.BINS // 2) % pitch.BINS - pitch.BINS // 2)
        confidence = sum(float(one[near * _BIN_CENTS <= _SAME_TONIC_CENTS].sum()) for one in probability.values())
        # The logarithm of a peak of the softmax is the correlation's own peak.
        tonic = _octave(heard, _refined(np.log(row + 1e-300), step) * _BIN_CENTS)
        known = known._replace(
            tonic_hz=float(pitch.REFERENCE_HZ * 2.0 ** (tonic / 1200.0)), tonic_confidence=min(confidence, 1.0)
        )
    return known


def _probabilities(profile: np.ndarray, dastgah: str | None, tonic_hz: float | None) -> dict[str, np.ndarray]:
    """Probability of every hypothesis: for each dastgah that may be, a row of tonics, shape (`pitch.BINS`,)."""
    names, radif = (_ESTIMATED, _RADIF_UNKNOWN) if dastgah is None else ((dastgah,), _RADIF_KNOWN)
    scores = np.stack([_correlate(profile, _template(name, radif)) for name in names]) / _TEMPERATURE
    if tonic_hz is not None:
        cents = np.arange(pitch.BINS) * _BIN_CENTS - 1200.0 * np.log2(tonic_hz / pitch.REFERENCE_HZ)
        scores[:, np.abs((cents + 600.0) % 1200.0 - 600.0) > _SAME_TONIC_CENTS] = -np.inf
    weight = np.exp(scores - scores.max())
    return dict(zip(names, weight / weight.sum(), strict=True))


def winning(heard: Pitch, tonal: Tonality) -> tuple[np.ndarray, np.ndarray]:
    """The profile and the template of a tonality, shape (`pitch.BINS`,) each, from the tonic up, for a picture.

    The template has the profile's sum and is lifted so that its lowest point is 0.
    """
    cents = 1200.0 * np.log2(tonal.tonic_hz / pitch.REFERENCE_HZ)
    profile = np.roll(pitch.profile(heard), -round(cents / _BIN_CENTS))
    template = _template(tonal.dastgah, _RADIF_KNOWN)
    lifted = template - template.min()
    return profile, lifted * profile.sum() / lifted.sum()


def weights(dastgah: str, radif: float) -> dict[int, float]:
    """Weight of each degree (cents above the tonic) in a template; `radif` is the say of the radif's durations in it.

    The tonic weighs the same in all: performances dwell on it far more than the whole radif's average does.
    """
    plain = dict.fromkeys(SCALES[dastgah], 1.0) | _SPLIT_DEGREES.get(dastgah, {})
    shares = RADIF_SHARES[dastgah]
    mean = sum(shares.values()) / len(SCALES[dastgah])
    degrees = sorted({*plain, *shares} - {0})
    others = {c: (1.0 - radif) * plain.get(c, 0.0) + radif * shares.get(c, 0.0) / mean for c in degrees}
    return {0: _TONIC_WEIGHT, **others}


@functools.cache
def _template(dastgah: str, radif: float) -> np.ndarray:
    """The dastgah's template on the tonic 0: shape (`pitch.BINS`,), mean 0, norm 1."""
    bins = np.arange(pitch.BINS) * _BIN_CENTS
    template = np.zeros(pitch.BINS)
    for cents, weight in weights(dastgah, radif).items():
        distance = (bins - cents + 600.0) % 1200.0 - 600.0
        template += weight * np.exp(-0.5 * (distance / _DEGREE_CENTS) ** 2)
    return _normalised(template)


def _normalised(profile: np.ndarray) -> np.ndarray:
    centred = profile - profile.mean()
    return centred / max(float(np.sqrt((centred**2).sum())), 1e-12)


def _compressed(profile: np.ndarray) -> np.ndarray:
    return _normalised(profile**_COMPRESSION)


def _correlate(profile: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Correlation of the profile with the template on every tonic, shape (`pitch.BINS`,), in [-1, 1]."""
    return np.fft.irfft(np.fft.rfft(profile) * np.conj(np.fft.rfft(template)), pitch.BINS)


def _tones(classes: np.ndarray) -> int:
    """Number of distinct tones in a profile: its local maxima once neighbouring bins are gathered."""
    smooth = scipy.ndimage.gaussian_filter1d(classes, _DEGREE_CENTS / _BIN_CENTS, mode="wrap")
    peaks = (smooth > np.roll(smooth, 1)) & (smooth >= np.roll(smooth, -1)) & (smooth > _TONE_SHARE * smooth.max())
    return int(peaks.sum())


def _refined(score: np.ndarray, best: int) -> float:
    """The maximum's place in bins, by a parabola through its neighbours."""
    left, middle, right = score[best - 1], score[best], score[(best + 1) % len(score)]
    curvature = left - 2.0 * middle + right
    return best + (0.5 * (left - right) / curvature if curvature < -1e-12 else 0.0)


def _octave(heard: Pitch, tonic_cents: float) -> float:
    """The tonic in the octave where it is held most, or else in the one nearest to the middle of what is held."""
    cents, weight = heard.cents[heard.held], heard.power[heard.held] ** 0.25
    octave = np.round((cents - tonic_cents) / 1200.0)
    near = np.abs(cents - tonic_cents - 1200.0 * octave) <= 50.0
    if not near.any():
        return tonic_cents + 1200.0 * float(np.round((np.median(cents) - tonic_cents) / 1200.0))
    octaves = octave[near].astype(int)
    lowest = octaves.min()
    return tonic_cents + 1200.0 * float(lowest + np.bincount(octaves - lowest, weight[near]).argmax())
