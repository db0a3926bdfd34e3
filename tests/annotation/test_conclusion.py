import math
from dataclasses import replace

import numpy as np
import pytest
from solos import clicks, hiss, solo, tone

from tarkib.annotation import evidence, octaves
from tarkib.annotation.conclusion import Annotation, Conflict, Labels, annotate, conclude, conflicts
from tarkib.annotation.evidence import Evidence
from tarkib.audio import SAMPLE_RATE
from tarkib.params import Annotate
from tarkib.vocabulary import DASTGAHS, PERCUSSION

pytestmark = pytest.mark.filterwarnings("error")

PARAMS = Annotate()
SILENCE = np.zeros(SAMPLE_RATE * 10, np.float32)

STILL = {
    "silence": SILENCE,
    "constant": SILENCE + 1,
    "steady tone": tone(220.0, 10.0),
    "noise": hiss(10.0, 0.2),
    "one sample": np.ones(1, np.float32),
    "empty": np.zeros(0, np.float32),
}
HARD = STILL | {
    "clipped": np.sign(tone(220.0, 10.0)),
    "a second and a half": solo("shur", 220.0, 100.0, seconds=1.5),
    "half silent": np.concatenate([solo("shur", 220.0, 100.0, seconds=10.0), SILENCE]),
    "non-finite": np.where(np.arange(SAMPLE_RATE * 10) % 5000 < 10, np.nan, tone(220.0, 10.0)).astype(np.float32),
}


def annotated(samples: np.ndarray, starts_s: list[float], *labels, params: Annotate = PARAMS) -> list[Annotation]:
    """Annotate slices of a recording in memory."""
    known = Labels(*labels or ["setar"])
    return annotate(conclude(evidence.extract([samples]), known, params), starts_s, known, params)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dastgah", [None, "segah"])
def test_invariants_hold_for_any_sound(name, dastgah):
    for annotation in annotated(HARD[name], [0.0, 2.5, 5.0], "setar", dastgah):
        for what, key in (("bpm", "bpm"), ("tonic", "tonic_hz"), ("dastgah", "dastgah")):
            source, confidence = (getattr(annotation, f"{what}_{part}") for part in ("source", "confidence"))
            least = PARAMS.min_confidence if what == "bpm" else PARAMS.min_tonal_confidence
            assert type(confidence) is float
            assert 0.0 <= confidence <= 1.0
            assert (getattr(annotation, key) is None) == (source == "none")
            assert {"label": confidence == 1.0, "estimate": least <= confidence < 1.0, "none": True}[source]
        assert annotation.bpm is None or 50.0 <= annotation.bpm <= 200.0
        assert annotation.tonic_hz is None or (math.isfinite(annotation.tonic_hz) and annotation.tonic_hz > 20.0)
        assert annotation.dastgah in ([dastgah] if dastgah else [None, *DASTGAHS])
        assert annotation.dastgah_confidence <= annotation.family_confidence <= 1.0
        assert annotation.bpm is not None or (annotation.beat_s is None and annotation.bpm_octaves == [])
        assert annotation.beat_s is None or 0.0 <= annotation.beat_s < 5.0
        assert all(bpm in pytest.approx([annotation.bpm / 2, annotation.bpm * 2]) for bpm in annotation.bpm_octaves)
        if name in STILL:
            # The original's tracker gave 0 BPM here, and a division by zero later.
            assert (annotation.bpm, annotation.bpm_source) == (None, "none")


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
    (still,) = annotated(SILENCE, [0.0], params=replace(PARAMS, min_confidence=0.0, min_tonal_confidence=0.0))
    assert (still.bpm, still.tonic_hz, still.dastgah, still.family) == (None,) * 4


@pytest.mark.parametrize("instrument", sorted(PERCUSSION))
def test_percussion_has_tempo_alone(instrument):
    (drum,) = annotated(solo("shur", 220.0, 100.0, seconds=12.0), [2.0], instrument, "shur", 220.0)
    assert drum.bpm is not None
    assert (drum.tonic_hz, drum.tonic_confidence, drum.tonic_source) == (None, 0.0, "none")
    assert (drum.dastgah, drum.dastgah_confidence, drum.dastgah_source) == (None, 0.0, "none")
    assert (drum.family, drum.family_confidence) == (None, 0.0)


def test_labels_win_over_the_evidence():
    samples = solo("chahargah", 220.0, 100.0, seconds=30.0)
    (estimated,) = annotated(samples, [10.0], "tar")
    (labelled,) = annotated(samples, [10.0], "tar", "mahur", 300.0, 71.0)
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
    (labelled,) = annotated(samples, [start_s], "daf", None, None, 81.0)
    assert annotation.bpm == pytest.approx(80, rel=0.01)
    assert start_s + annotation.beat_s == pytest.approx(true[true >= start_s - 0.02][0], abs=0.03)
    # A label of about this tempo keeps the beats.
    assert (labelled.bpm, labelled.bpm_source, labelled.beat_s) == (81.0, "label", annotation.beat_s)


def test_slices_share_the_tonality_and_have_their_own_tempo():
    fast, slow = (solo("nava", 220.0, bpm, seconds=30.0, seed=seed) for bpm, seed in ((112.0, 1), (88.0, 2)))
    samples = np.concatenate([fast, slow])
    first, last = annotated(samples, [15.0, 40.0], "santur", "nava")
    assert (first.tonic_hz, first.tonic_confidence) == (last.tonic_hz, last.tonic_confidence)
    assert (first.bpm, last.bpm) == (pytest.approx(112, rel=0.03), pytest.approx(88, rel=0.03))
    assert annotated(samples, [40.0], "santur", "nava") == [last]  # whichever other slices there are


def contradicted(recording: Evidence | np.ndarray, *labels, least: float = 0.8) -> list[Conflict]:
    """Conflicts of a recording, given its evidence or its samples."""
    known = recording if isinstance(recording, Evidence) else evidence.extract([recording])
    params = replace(PARAMS, suspect_confidence=least)
    return conflicts(known, conclude(known, Labels(*labels), params), Labels(*labels), params)


@pytest.fixture(scope="module")
def chahargah() -> Evidence:
    return evidence.extract([solo("chahargah", 220.0, 100.0, seconds=60.0, seed=3)])


@pytest.mark.parametrize(
    ("labels", "conflict"),
    [
        (("tar", "chahargah", 220.0, 100.0), None),
        (("tar",), None),
        (("tar", "chahargah", 110.0), None),  # another octave
        (("tar", "mahur"), ("dastgah", 0.0, 60.0, "mahur", "chahargah")),
        (("tonbak",), ("instrument", 0.0, 60.0, "tonbak", "a melody in chahargah")),
    ],
)
def test_labels_that_the_evidence_contradicts(chahargah, labels, conflict):
    assert [one[:5] for one in contradicted(chahargah, *labels)] == ([conflict] if conflict else [])
    assert contradicted(chahargah, *labels, least=1.0) == []


def test_a_wrong_tonic_but_no_dastgah_of_the_same_scale(chahargah):
    (conflict,) = contradicted(chahargah, "tar", "chahargah", 261.6)
    assert (conflict.what, conflict.label) == ("tonic_hz", "261.60")
    assert 1200 * octaves.apart(float(conflict.estimate), 220.0) < 30
    mahur = solo("mahur", 220.0, 100.0, seconds=60.0, seed=1)
    assert contradicted(mahur, "tar", "rast-panjgah", least=0.3) == []
    assert [conflict.estimate for conflict in contradicted(mahur, "tar", "chahargah", least=0.3)] == ["mahur"]


def test_a_wrong_tempo_but_not_half_or_double():
    (conflict,) = contradicted(np.concatenate([clicks(90, 40.0), clicks(117, 40.0)]), "daf", None, None, 90.0)
    assert (conflict.what, conflict.label) == ("bpm", "90")
    assert octaves.apart(float(conflict.estimate), 117.0) < 0.05
    assert (conflict.start_s, conflict.end_s) == (pytest.approx(40, abs=7), pytest.approx(77.5, abs=2.5))
    for bpm in (45.0, 180.0):
        assert contradicted(clicks(90, 30.0), "daf", None, None, bpm) == []
    assert contradicted(solo("mahur", 200.0, None, seconds=40.0), "tar", None, None, 90.0) == []  # free rhythm


@pytest.mark.slow
def test_a_recording_that_changes_its_mode():
    parts = solo("mahur", 220.0, 100.0, seconds=150.0, seed=1), solo("chahargah", 233.0, 100.0, seconds=60.0, seed=3)
    (conflict,) = contradicted(np.concatenate(parts), "tar", "mahur")
    assert conflict.estimate == "chahargah"
    assert (conflict.start_s, conflict.end_s) == (pytest.approx(145, abs=35), 210.0)
