"""Tonic and dastgah of a recording, from its pitch-class profile.

The tonic is the first degree of the scale in `vocabulary.SCALES`; no tuning is assumed. Confidences are probabilities:
of the tonic within 50 cents and modulo octave, of the dastgah, of its family.

A hypothesis is a dastgah on a tonic. Its template, Gaussians of 25 cents on the scale's degrees, is correlated with the
compressed profile; a softmax makes probabilities of the correlations, and each answer sums the hypotheses that agree on
it. The weights of the degrees were chosen on real recordings: a heavier tonic helps most to find the dastgah, and if
that is known, more of the time that the radif spends on each degree helps to find the tonic. Rast-panjgah is never the
answer: its scale is mahur's and the profile does not separate the two, so mahur, much the commoner, is answered at
`1 - RAST_SHARE` of their probability.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.ndimage

from tarkib.annotation.pitch import BIN_CENTS, BINS, MIN_HELD, REFERENCE_HZ, Pitch
from tarkib.annotation.tempo import CONFIDENCE_DECIMALS, MAX_CONFIDENCE
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

RAST_SHARE = 0.3
"""Of the probability of the scale that mahur and rast-panjgah share; an assumption, not a measurement."""

_ONE_SCALE = "mahur/rast-panjgah"

FAMILY = {name: name for name in DASTGAHS} | {
    "segah": "shur",
    "nava": "shur",
    "mahur": _ONE_SCALE,
    "rast-panjgah": _ONE_SCALE,
}
"""Dastgahs whose scales are rotations of each other, by the name of the commonest, or equal, by both names."""

_TONIC_WEIGHT = 1.4  # the other degrees weigh 1
_SPLIT_DEGREES = {"shur": {650: 0.5, 700: 0.5}}  # the fifth moves; without the lower one, shur reads as segah
_ESTIMATED = tuple(name for name in DASTGAHS if name != "rast-panjgah")
_RADIF_KNOWN, _RADIF_UNKNOWN = 0.3, 0.1  # weight of the radif's durations if the dastgah is known, and if not
_DEGREE_CENTS = 25.0  # standard deviation of a degree: intonation, vibrato and the width of a tone
_COMPRESSION = 0.75  # exponent of the profile: one long drone does not outweigh a scale
_SAME_TONIC_CENTS = 50.0
_TEMPERATURE = 0.03  # of the softmax; the likeliest of 0.015 to 0.06 on solos of the demo orchestra, seeds 101 and 102
_MIN_HELD_LABELLED = 0.02  # with a labelled dastgah, a few notes suffice to look for its tonic
_MIN_TONES = 2  # of a scale
_TONE_SHARE = 0.04  # of the profile's highest peak, for a peak to count as a tone
_SCORE_DECIMALS = 4  # before the best hypothesis is chosen
_HZ_DECIMALS = 2


class Tonality(NamedTuple):
    """Tonic in Hz, in the octave where it sounds most, dastgah and family; None without evidence."""

    tonic_hz: float | None = None
    tonic_confidence: float = 0.0
    dastgah: str | None = None
    dastgah_confidence: float = 0.0
    family: str | None = None
    family_confidence: float = 0.0


def shahed_cents(dastgah: str) -> float:
    """Cents from the tonic up to the shahed, the tone that a mode circles around."""
    return float(SCALES[dastgah][1]) if dastgah == "homayoun" else 0.0


def estimate(pitch: Pitch, dastgah: str | None = None, tonic_hz: float | None = None) -> Tonality:
    """Tonic, dastgah and family of a recording; a known one restricts the others and is returned with confidence 1."""
    tonality = Tonality(tonic_hz, float(tonic_hz is not None))
    if dastgah is not None:
        tonality = tonality._replace(
            dastgah=dastgah, dastgah_confidence=1.0, family=FAMILY[dastgah], family_confidence=1.0
        )
    if not _has_scale(pitch, dastgah):
        return tonality
    names = _ESTIMATED if dastgah is None else (dastgah,)
    found = scores(pitch, dastgah, tonic_hz)
    probability = np.exp(found - found.max())
    probability /= probability.sum()
    row = 0
    if dastgah is None:
        by_dastgah = dict(zip(names, probability.sum(axis=1).tolist(), strict=True))
        best = max(names, key=lambda name: round(by_dastgah[name], CONFIDENCE_DECIMALS))
        row = names.index(best)
        family = sum(share for name, share in by_dastgah.items() if FAMILY[name] == FAMILY[best])
        share = 1.0 - RAST_SHARE if best == "mahur" else 1.0
        tonality = tonality._replace(
            dastgah=best,
            dastgah_confidence=_confidence(by_dastgah[best] * share),
            family=FAMILY[best],
            family_confidence=_confidence(family),
        )
    if tonic_hz is None:
        step = int(found[row].argmax())
        same = np.abs(_wrapped((np.arange(BINS) - step) * BIN_CENTS)) <= _SAME_TONIC_CENTS
        # A parabola through its neighbours refines the maximum.
        left, middle, right = (found[row, (step + k) % BINS] for k in (-1, 0, 1))
        curvature = left - 2.0 * middle + right
        offset = 0.5 * (left - right) / curvature if curvature < -1e-12 else 0.0
        cents = _octave(pitch, (step + offset) * BIN_CENTS)
        tonality = tonality._replace(
            tonic_hz=round(float(REFERENCE_HZ * 2.0 ** (cents / 1200.0)), _HZ_DECIMALS),
            tonic_confidence=_confidence(float(probability[:, same].sum())),
        )
    return tonality


def _confidence(probability: float) -> float:
    return min(round(probability, CONFIDENCE_DECIMALS), MAX_CONFIDENCE)


def _has_scale(pitch: Pitch, dastgah: str | None) -> bool:
    """Whether enough notes are held to look for a tonic or, if the dastgah is unknown, for a scale."""
    if dastgah is not None:
        return pitch.held_share >= _MIN_HELD_LABELLED
    smooth = scipy.ndimage.gaussian_filter1d(pitch.fundamentals(), _DEGREE_CENTS / BIN_CENTS, mode="wrap")
    tones = (smooth > np.roll(smooth, 1)) & (smooth >= np.roll(smooth, -1)) & (smooth > _TONE_SHARE * smooth.max())
    return pitch.held_share >= MIN_HELD and int(tones.sum()) >= _MIN_TONES


def scores(pitch: Pitch, dastgah: str | None = None, tonic_hz: float | None = None) -> np.ndarray:
    """Score of every hypothesis, shape (dastgahs, `BINS`): a row a dastgah, a column a tonic; -inf if ruled out."""
    names, radif = (_ESTIMATED, _RADIF_UNKNOWN) if dastgah is None else ((dastgah,), _RADIF_KNOWN)
    profile = _normalised(pitch.profile() ** _COMPRESSION)
    templates = np.fft.rfft(np.stack([_template(name, radif) for name in names]))
    found = np.fft.irfft(np.fft.rfft(profile) * np.conj(templates), BINS) / _TEMPERATURE
    if tonic_hz is not None:
        cents = np.arange(BINS) * BIN_CENTS - 1200.0 * np.log2(tonic_hz / REFERENCE_HZ)
        found[:, np.abs(_wrapped(cents)) > _SAME_TONIC_CENTS] = -np.inf
    return found.round(_SCORE_DECIMALS)


def profile_and_template(pitch: Pitch, dastgah: str, tonic_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Profile and template from the tonic up, for a picture: of one sum, the template's lowest point at 0."""
    cents = 1200.0 * np.log2(tonic_hz / REFERENCE_HZ)
    profile = np.roll(pitch.profile(), -round(cents / BIN_CENTS))
    template = _template(dastgah, _RADIF_KNOWN)
    lifted = template - template.min()
    return profile, lifted * profile.sum() / lifted.sum()


def weights(dastgah: str, radif: float) -> dict[int, float]:
    """Weight of each degree (cents above the tonic) in a template; `radif` is the weight of the radif's durations."""
    plain = dict.fromkeys(SCALES[dastgah], 1.0) | _SPLIT_DEGREES.get(dastgah, {})
    shares = RADIF_SHARES[dastgah]
    mean = sum(shares.values()) / len(SCALES[dastgah])
    degrees = sorted({*plain, *shares} - {0})
    others = {c: (1.0 - radif) * plain.get(c, 0.0) + radif * shares.get(c, 0.0) / mean for c in degrees}
    return {0: _TONIC_WEIGHT, **others}


@functools.cache
def _template(dastgah: str, radif: float) -> np.ndarray:
    """The dastgah's template on the tonic 0: shape (`BINS`,), mean 0, norm 1."""
    degrees = weights(dastgah, radif)
    distance = _wrapped(np.arange(BINS) * BIN_CENTS - np.array(list(degrees))[:, None])
    return _normalised(np.array(list(degrees.values())) @ np.exp(-0.5 * (distance / _DEGREE_CENTS) ** 2))


def _wrapped(cents: np.ndarray) -> np.ndarray:
    return (cents + 600.0) % 1200.0 - 600.0


def _normalised(profile: np.ndarray) -> np.ndarray:
    centred = profile - profile.mean()
    return centred / max(float(np.sqrt((centred**2).sum())), 1e-12)


def _octave(pitch: Pitch, tonic_cents: float) -> float:
    """The tonic in the octave where it is held most, or else in the one nearest to the middle of the held notes."""
    cents, weight = pitch.cents[pitch.held], pitch.power[pitch.held].astype(float) ** 0.25
    octave = np.round((cents - tonic_cents) / 1200.0)
    near = np.abs(cents - tonic_cents - 1200.0 * octave) <= _SAME_TONIC_CENTS
    if not near.any():
        return tonic_cents + 1200.0 * float(np.round((np.median(cents) - tonic_cents) / 1200.0))
    octaves = octave[near].astype(int)
    lowest = octaves.min()
    return tonic_cents + 1200.0 * float(lowest + np.bincount(octaves - lowest, weight[near]).argmax())
