import math
from dataclasses import replace

import numpy as np
import pytest
from solos import clicks, hiss, solo, tone

from tarkib.annotation import evidence
from tarkib.annotation.conclusion import Annotation, annotate, conclude
from tarkib.annotation.labels import Labels
from tarkib.audio import SAMPLE_RATE
from tarkib.params import Annotate
from tarkib.vocabulary import DASTGAHS, PERCUSSION

pytestmark = pytest.mark.filterwarnings("error")

PARAMS = Annotate()

HARD = {
    "silence": np.zeros(SAMPLE_RATE * 10, np.float32),
    "constant": np.ones(SAMPLE_RATE * 10, np.float32),
    "steady tone": tone(220.0, 10.0),
    "noise": hiss(10.0, 0.2),
    "clipped": np.sign(tone(220.0, 10.0)),
    "a second and a half": solo("shur", 220.0, 100.0, seconds=1.5),
    "half silent": np.concatenate([solo("shur", 220.0, 100.0, seconds=10.0), np.zeros(SAMPLE_RATE * 10, np.float32)]),
    "non-finite": np.where(np.arange(SAMPLE_RATE * 10) % 5000 < 10, np.nan, tone(220.0, 10.0)).astype(np.float32),
    "one sample": np.ones(1, np.float32),
    "empty": np.zeros(0, np.float32),
}


def annotated(
    samples: np.ndarray, starts_s, instrument="setar", dastgah=None, params=PARAMS, **more
) -> list[Annotation]:
    """Annotate slices of a recording in memory."""
    labels = Labels(instrument, dastgah, **more)
    return annotate(conclude(evidence.extract([samples]), labels, params), starts_s, labels, params)


def check(annotation: Annotation) -> None:
    """Invariants of every annotation."""
    values = {"bpm": annotation.bpm, "tonic": annotation.tonic_hz, "dastgah": annotation.dastgah}
    for name, value in values.items():
        source, confidence = getattr(annotation, f"{name}_source"), getattr(annotation, f"{name}_confidence")
        assert type(confidence) is float
        assert 0.0 <= confidence <= 1.0
        assert (value is None) == (source == "none")
        least = PARAMS.min_confidence if name == "bpm" else PARAMS.min_tonal_confidence
        assert {"label": confidence == 1.0, "estimate": least <= confidence < 1.0, "none": True}[source]
    assert annotation.bpm is None or 50.0 <= annotation.bpm <= 200.0
    assert annotation.tonic_hz is None or (math.isfinite(annotation.tonic_hz) and annotation.tonic_hz > 20.0)
    assert annotation.dastgah in (None, *DASTGAHS)
    assert annotation.dastgah_confidence <= annotation.family_confidence <= 1.0
    assert annotation.bpm is not None or (annotation.beat_s is None and annotation.bpm_octaves == [])
    assert annotation.beat_s is None or 0.0 <= annotation.beat_s < 5.0
    assert all(bpm in pytest.approx([annotation.bpm / 2, annotation.bpm * 2]) for bpm in annotation.bpm_octaves)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dastgah", [None, "segah"])
def test_invariants_hold_for_any_sound(name, dastgah):
    for annotation in annotated(HARD[name], [0.0, 2.5, 5.0], dastgah=dastgah):
        check(annotation)
        if dastgah is not None:
            values = annotation.dastgah, annotation.dastgah_source, annotation.dastgah_confidence
            assert values == (dastgah, "label", 1.0)
        if name in ("silence", "constant", "steady tone", "noise", "one sample", "empty"):
            # The original's tracker gave 0 BPM here, and a division by zero later.
            assert (annotation.bpm, annotation.bpm_source) == (None, "none")
            assert annotation.bpm_confidence < 0.5


def test_below_the_threshold_the_confidence_remains():
    samples = solo("homayoun", 220.0, 100.0, seconds=40.0)
    (sure,) = annotated(samples, [5.0])
    (strict,) = annotated(samples, [5.0], params=replace(PARAMS, min_confidence=1.0, min_tonal_confidence=1.0))
    assert (sure.dastgah, sure.dastgah_source, sure.family) == ("homayoun", "estimate", "homayoun")
    assert sure.bpm == pytest.approx(100, rel=0.03)
    assert (strict.bpm, strict.beat_s, strict.tonic_hz, strict.dastgah, strict.family) == (None,) * 5
    assert strict.bpm_confidence == sure.bpm_confidence >= 0.5
    assert strict.dastgah_confidence == sure.dastgah_confidence > 0.5
    # The stored value decides: a confidence that equals the threshold suffices.
    (equal,) = annotated(samples, [5.0], params=replace(PARAMS, min_confidence=sure.bpm_confidence))
    assert equal.bpm == sure.bpm


def test_no_threshold_still_leaves_silence_without_anything():
    no_threshold = replace(PARAMS, min_confidence=0.0, min_tonal_confidence=0.0)
    (annotation,) = annotated(HARD["silence"], [0.0], params=no_threshold)
    assert (annotation.bpm, annotation.tonic_hz, annotation.dastgah, annotation.family) == (None,) * 4


@pytest.mark.parametrize("instrument", sorted(PERCUSSION))
def test_percussion_has_tempo_alone(instrument):
    (drum,) = annotated(solo("shur", 220.0, 100.0, seconds=12.0), [2.0], instrument)
    assert drum.bpm is not None
    assert (drum.tonic_hz, drum.tonic_confidence, drum.tonic_source) == (None, 0.0, "none")
    assert (drum.dastgah, drum.dastgah_confidence, drum.dastgah_source) == (None, 0.0, "none")
    assert (drum.family, drum.family_confidence) == (None, 0.0)


def test_labels_win_over_the_evidence():
    samples = solo("chahargah", 220.0, 100.0, seconds=30.0)
    (estimated,) = annotated(samples, [10.0], "tar")
    (labelled,) = annotated(samples, [10.0], "tar", "mahur", tonic_hz=300.0, bpm=71.0)
    assert (estimated.dastgah, estimated.dastgah_source) == ("chahargah", "estimate")
    assert (labelled.dastgah, labelled.dastgah_confidence, labelled.dastgah_source) == ("mahur", 1.0, "label")
    assert (labelled.tonic_hz, labelled.tonic_confidence, labelled.tonic_source) == (300.0, 1.0, "label")
    assert (labelled.bpm, labelled.bpm_confidence, labelled.bpm_source) == (71.0, 1.0, "label")
    # The beats are those of another tempo.
    assert (labelled.beat_s, labelled.bpm_octaves) == (None, [])


@pytest.mark.parametrize("start_s", [5.0, 7.3])
def test_the_first_beat_is_where_the_click_is(start_s):
    samples, true = clicks(80.0, 30.0), np.arange(0.2, 30.0, 0.75)
    (annotation,) = annotated(samples, [start_s], "daf")
    (labelled,) = annotated(samples, [start_s], "daf", bpm=81.0)
    assert annotation.bpm == pytest.approx(80, rel=0.01)
    assert start_s + annotation.beat_s == pytest.approx(true[true >= start_s - 0.02][0], abs=0.03)
    # A label of about this tempo keeps the beats.
    assert (labelled.bpm, labelled.bpm_source, labelled.beat_s) == (81.0, "label", annotation.beat_s)


def test_slices_share_the_tonality_and_have_their_own_tempo():
    fast, slow = (solo("nava", 220.0, bpm, seconds=30.0, seed=seed) for bpm, seed in ((112.0, 1), (88.0, 2)))
    samples, starts = np.concatenate([fast, slow]), np.arange(0.0, 56.0, 5.0).tolist()
    slices = annotated(samples, starts, "santur", "nava")
    first, last = slices[3], slices[8]  # each some ten seconds from the change
    assert (first.tonic_hz, first.tonic_confidence) == (last.tonic_hz, last.tonic_confidence)
    assert first.bpm == pytest.approx(112, rel=0.03)
    assert last.bpm == pytest.approx(88, rel=0.03)
    # Whichever other slices there are.
    assert annotated(samples, [40.0, 15.0], "santur", "nava") == [last, first]
    assert annotated(samples, [], "santur", "nava") == []
