import math
from types import SimpleNamespace

import numpy as np
import pytest
from solos import clicks, hiss, solo, tone

from tarkib.annotation import Annotation, annotate
from tarkib.audio import SAMPLE_RATE
from tarkib.vocabulary import PERCUSSION

pytestmark = pytest.mark.filterwarnings("error")

PARAMS = SimpleNamespace(min_bpm=50.0, max_bpm=200.0, prior_bpm=100.0, prior_octaves=0.9, min_confidence=0.2)

HARD = {
    "silence": np.zeros(SAMPLE_RATE * 10, np.float32),
    "constant": np.ones(SAMPLE_RATE * 10, np.float32),
    "steady tone": tone(220.0, 10.0),
    "noise": hiss(10.0, 0.2),
    "clipped": np.sign(tone(220.0, 10.0)),
    "a second and a half": solo("shur", 220.0, 100.0, seconds=1.5),
    "half silent": np.concatenate([solo("shur", 220.0, 100.0, seconds=10.0), np.zeros(SAMPLE_RATE * 10, np.float32)]),
    "not numbers": np.where(np.arange(SAMPLE_RATE * 10) % 5000 < 10, np.nan, tone(220.0, 10.0)).astype(np.float32),
    "infinite": np.where(np.arange(SAMPLE_RATE * 10) % 5000 < 10, np.inf, tone(220.0, 10.0)).astype(np.float32),
    "one sample": np.ones(1, np.float32),
    "nothing at all": np.zeros(0, np.float32),
}


def check(annotation: Annotation) -> None:
    """What holds for every annotation."""
    for confidence in (annotation.bpm_confidence, annotation.tonic_confidence, annotation.dastgah_confidence):
        assert type(confidence) is float
        assert 0.0 <= confidence <= 1.0
    assert annotation.bpm is None or 50.0 <= annotation.bpm <= 200.0
    assert (annotation.bpm is None) == (annotation.bpm_confidence < PARAMS.min_confidence)
    assert annotation.tonic_hz is None or (math.isfinite(annotation.tonic_hz) and annotation.tonic_hz > 20.0)
    assert annotation.dastgah_source in ("label", "estimate", "none")
    assert (annotation.dastgah is None) == (annotation.dastgah_source == "none")
    assert annotation.tonic_hz is not None or annotation.tonic_confidence == 0.0
    assert annotation.dastgah is not None or annotation.dastgah_confidence == 0.0


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dastgah", [None, "segah"])
def test_every_number_is_finite_whatever_comes(name, dastgah):
    for annotation in annotate(HARD[name], [0.0, 2.5, 5.0], "setar", dastgah, PARAMS):
        check(annotation)
        if dastgah is not None:
            assert (annotation.dastgah, annotation.dastgah_source) == (dastgah, "label")
            assert annotation.dastgah_confidence == 1.0


@pytest.mark.parametrize("name", ["silence", "constant", "steady tone", "noise"])
def test_what_has_no_beat_is_null_and_never_zero(name):
    """The original's tracker gave 0 BPM here, and a division by zero later."""
    for annotation in annotate(HARD[name], [0.0, 5.0], "ney", None, PARAMS):
        assert annotation.bpm is None
        assert annotation.bpm_confidence < 0.2


def test_below_the_threshold_there_is_no_tempo_but_its_confidence():
    samples = clicks(100.0, 20.0, jitter_s=0.02)
    (open_,) = annotate(samples, [5.0], "daf", None, PARAMS)
    (strict,) = annotate(samples, [5.0], "daf", None, SimpleNamespace(**{**vars(PARAMS), "min_confidence": 0.99}))
    assert open_.bpm == pytest.approx(100, rel=0.03)
    assert strict.bpm is None
    assert strict.bpm_confidence == open_.bpm_confidence > 0.2


def test_no_threshold_still_leaves_silence_without_tempo():
    params = SimpleNamespace(**{**vars(PARAMS), "min_confidence": 0.0})
    assert annotate(HARD["silence"], [0.0], "ney", None, params)[0].bpm is None


@pytest.mark.parametrize("instrument", sorted(PERCUSSION))
def test_percussion_has_tempo_alone(instrument):
    (annotation,) = annotate(solo("shur", 220.0, 100.0, seconds=12.0), [2.0], instrument, None, PARAMS)
    assert annotation.bpm is not None
    assert (annotation.tonic_hz, annotation.tonic_confidence) == (None, 0.0)
    assert (annotation.dastgah, annotation.dastgah_confidence, annotation.dastgah_source) == (None, 0.0, "none")


def test_a_label_wins_over_the_evidence():
    samples = solo("chahargah", 220.0, 100.0, seconds=20.0)
    (estimated,) = annotate(samples, [0.0], "tar", None, PARAMS)
    (labelled,) = annotate(samples, [0.0], "tar", "mahur", PARAMS)
    assert (estimated.dastgah, estimated.dastgah_source) == ("chahargah", "estimate")
    assert (labelled.dastgah, labelled.dastgah_confidence, labelled.dastgah_source) == ("mahur", 1.0, "label")


def test_slices_share_the_recordings_tonality_and_have_their_own_tempo():
    fast = solo("nava", 220.0, 120.0, seconds=30.0, seed=1)
    slow = solo("nava", 220.0, 90.0, seconds=30.0, seed=2)
    first, *_, last = annotate(np.concatenate([fast, slow]), np.arange(0.0, 56.0, 5.0), "santur", "nava", PARAMS)
    assert (first.tonic_hz, first.tonic_confidence) == (last.tonic_hz, last.tonic_confidence)
    assert first.bpm == pytest.approx(120, rel=0.03)
    assert last.bpm == pytest.approx(90, rel=0.03)


def test_a_slice_does_not_depend_on_which_others_are_asked_for():
    samples = solo("nava", 220.0, 110.0, seconds=30.0)
    together = annotate(samples, [0.0, 7.5, 12.0, 25.0], "tar", "nava", PARAMS)
    assert together[::-1] == annotate(samples, [25.0, 12.0, 7.5, 0.0], "tar", "nava", PARAMS)
    assert annotate(samples, [12.0], "tar", "nava", PARAMS) == together[2:3]
    assert annotate(samples, [], "tar", "nava", PARAMS) == []


def test_the_samples_are_left_as_they_were():
    samples = HARD["not numbers"].copy()
    annotate(samples, [0.0], "tar", None, PARAMS)
    np.testing.assert_array_equal(samples, HARD["not numbers"])
