import numpy as np
import pytest

from tarkib.annotation import conclusion, modulation, tonality
from tarkib.annotation.conclusion import Labels
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.pitch import BINS, REFERENCE_HZ, Pitch
from tarkib.annotation.tonality import RADIF_SHARES, Tonality
from tarkib.params import Annotate


def melody(dastgah: str, tonic_hz: float, seconds: int, seed: int = 0) -> Pitch:
    """Held notes of a fifth of a second; each degree sounds as long as in the radif."""
    rng = np.random.default_rng(seed)
    shares = np.array(list(RADIF_SHARES[dastgah].values()), float)
    degrees = rng.choice(list(RADIF_SHARES[dastgah]), 5 * seconds, p=shares / shares.sum())
    cents = 1200 * np.log2(tonic_hz / REFERENCE_HZ) + np.repeat(degrees, 10) + rng.normal(0, 8, 50 * seconds)
    return Pitch(
        cents.astype(np.float32), np.ones(50 * seconds, np.float32), np.zeros((seconds // 5, BINS), np.float32)
    )


def joined(*pieces: Pitch) -> Pitch:
    return Pitch(*(np.concatenate(arrays) for arrays in zip(*pieces, strict=True)))


CHANGING = joined(
    melody("chahargah", 220.0, 120), melody("nava", 220.0, 120, seed=1), melody("mahur", 247.0, 90, seed=2)
)


def test_a_recording_that_changes_its_mode_has_parts():
    parts = modulation.parts(CHANGING, 330.0)
    assert [part.tonality.dastgah for part in parts] == ["chahargah", "nava", "mahur"]
    assert [part.tonality.tonic_hz for part in parts] == [pytest.approx(hz, rel=0.01) for hz in (220, 220, 247)]
    assert [part.end_s for part in parts] == [pytest.approx(120, abs=15), pytest.approx(240, abs=15), 330.0]
    assert [part.start_s for part in parts] == [0.0, *(part.end_s for part in parts[:-1])]
    for part in parts:
        assert part.tonality == tonality.estimate(CHANGING.between(part.start_s, part.end_s))


@pytest.mark.parametrize(
    ("pitch", "seconds", "labels"),
    [
        (melody("shur", 200.0, 300), 300.0, ()),  # keeps its mode
        (joined(melody("chahargah", 220.0, 40), melody("mahur", 247.0, 40)), 80.0, ()),  # is short
        (CHANGING, 330.0, ("segah",)),  # is labelled
        (Pitch(np.full(9000, np.nan, np.float32), np.ones(9000, np.float32), np.zeros((36, BINS))), 180.0, ()),  # drums
        (Pitch(*(np.zeros(0, np.float32),) * 2, np.zeros((1, BINS), np.float32)), 0.0, ()),
    ],
)
def test_others_are_one_part_with_the_estimate_of_the_whole(pitch, seconds, labels):
    (part,) = modulation.parts(pitch, seconds, *labels)
    assert part == (0.0, seconds, tonality.estimate(pitch, *labels))


def test_a_known_tonic_is_that_of_every_part():
    parts = modulation.parts(joined(melody("chahargah", 220.0, 120), melody("nava", 220.0, 120)), 240.0, None, 220.0)
    assert [(part.tonality.tonic_hz, part.tonality.dastgah) for part in parts] == [(220, "chahargah"), (220, "nava")]


def test_slices_have_the_mode_of_their_part_and_labels_are_held_against_each():
    onset = np.zeros((33_001, 4), np.float32)
    evidence, params = Evidence(330.0, onset, CHANGING), Annotate()
    found = conclusion.conclude(evidence, Labels("tar"), params)
    slices = conclusion.annotate(found, [0.0, 60.0, 180.0, 325.0], Labels("tar"), params)
    assert [piece.dastgah for piece in slices] == ["chahargah", "chahargah", "nava", "mahur"]
    labelled = Labels("tar", "chahargah")
    params = Annotate(suspect_confidence=0.3)
    conflicts = conclusion.conflicts(evidence, conclusion.conclude(evidence, labelled, params), labelled, params)
    assert [conflict.estimate for conflict in conflicts] == ["nava", "mahur"]
    assert conclusion.conclude(evidence, Labels("daf"), params).parts == [(0.0, 330.0, Tonality())]


@pytest.mark.parametrize(
    ("confidences", "others", "expected"),
    [
        ((0.6, 0.7), ("nava", "chahargah"), [(0.0, 240.0)]),
        ((0.6, 0.9), ("nava", "chahargah"), [(120.0, 240.0)]),
        ((0.6, 0.7), ("mahur", "chahargah"), []),  # a part agrees with the label
    ],
)
def test_a_label_that_no_part_contradicts_surely_is_held_against_the_whole(monkeypatch, confidences, others, expected):
    evidence = Evidence(240.0, np.zeros((24_001, 4), np.float32), melody("chahargah", 220.0, 240))
    whole = tonality.estimate(evidence.pitch)
    parts = [
        modulation.Part(start_s, start_s + 120.0, whole._replace(dastgah=other, dastgah_confidence=confidence))
        for start_s, confidence, other in zip((0.0, 120.0), confidences, others, strict=True)
    ]
    monkeypatch.setattr(modulation, "parts", lambda *_: parts)
    labels, params = Labels("tar", "mahur"), Annotate(suspect_confidence=0.8)
    found = conclusion.conflicts(evidence, conclusion.conclude(evidence, labels, params), labels, params)
    assert [(conflict.start_s, conflict.end_s) for conflict in found] == expected
