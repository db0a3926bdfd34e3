import dataclasses
import math

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
    "not numbers": np.where(np.arange(SAMPLE_RATE * 10) % 5000 < 10, np.nan, tone(220.0, 10.0)).astype(np.float32),
    "one sample": np.ones(1, np.float32),
    "nothing at all": np.zeros(0, np.float32),
}


def annotated(
    samples: np.ndarray, starts_s, instrument="setar", dastgah=None, params=PARAMS, **more
) -> list[Annotation]:
    """Annotate slices of a recording in memory."""
    labels = Labels(instrument, dastgah, **more)
    return annotate(conclude(evidence.listen([samples]), labels, params), starts_s, labels, params)


def check(one: Annotation) -> None:
    """What holds for every annotation."""
    for name in ("bpm", "tonic", "dastgah", "family"):
        confidence = getattr(one, f"{name}_confidence")
        assert type(confidence) is float
        assert 0.0 <= confidence <= 1.0
    for name, value in (("bpm", one.bpm), ("tonic", one.tonic_hz), ("dastgah", one.dastgah)):
        source = getattr(one, f"{name}_source")
        assert source in ("label", "estimate", "none")
        assert (value is None) == (source == "none")
        least = PARAMS.min_confidence if name == "bpm" else PARAMS.min_tonal_confidence
        assert source != "estimate" or getattr(one, f"{name}_confidence") >= least
        assert source != "label" or getattr(one, f"{name}_confidence") == 1.0
    assert one.bpm is None or 50.0 <= one.bpm <= 200.0
    assert one.tonic_hz is None or (math.isfinite(one.tonic_hz) and one.tonic_hz > 20.0)
    assert one.dastgah in (None, *DASTGAHS)
    assert one.family_confidence >= one.dastgah_confidence
    assert one.bpm is not None or (one.beat_s is None and one.bpm_octaves == [])
    assert one.beat_s is None or 0.0 <= one.beat_s < 5.0
    assert all(other in pytest.approx([one.bpm / 2, one.bpm * 2]) for other in one.bpm_octaves)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dastgah", [None, "segah"])
def test_every_number_is_finite_whatever_comes(name, dastgah):
    for one in annotated(HARD[name], [0.0, 2.5, 5.0], dastgah=dastgah):
        check(one)
        if dastgah is not None:
            assert (one.dastgah, one.dastgah_source, one.dastgah_confidence) == (dastgah, "label", 1.0)


@pytest.mark.parametrize("name", ["silence", "constant", "steady tone", "noise", "one sample", "nothing at all"])
def test_what_has_no_beat_is_null_and_never_zero(name):
    """The original's tracker gave 0 BPM here, and a division by zero later."""
    for one in annotated(HARD[name], [0.0, 5.0], "ney"):
        assert (one.bpm, one.bpm_source, one.bpm_octaves, one.beat_s) == (None, "none", [], None)
        assert one.bpm_confidence < 0.5


def test_the_silent_half_has_no_tempo_and_the_other_has():
    first, *_, last = annotated(
        np.concatenate([clicks(90.0, 30.0), np.zeros(30 * SAMPLE_RATE, np.float32)]), [10.0, 50.0], "daf"
    )
    assert first.bpm == pytest.approx(90, rel=0.02)
    assert last.bpm is None


def test_below_the_threshold_there_is_no_tempo_but_its_confidence():
    samples = clicks(100.0, 20.0, jitter_s=0.01)
    (open_,) = annotated(samples, [5.0], "daf")
    (strict,) = annotated(samples, [5.0], "daf", params=dataclasses.replace(PARAMS, min_confidence=1.0))
    assert open_.bpm == pytest.approx(100, rel=0.03)
    assert strict.bpm is None
    assert strict.bpm_confidence == open_.bpm_confidence >= 0.5


def test_an_unsure_dastgah_is_null_but_its_confidence_is_not():
    samples = solo("homayoun", 220.0, 100.0, seconds=40.0)
    (sure,) = annotated(samples, [0.0])
    (strict,) = annotated(samples, [0.0], params=dataclasses.replace(PARAMS, min_tonal_confidence=1.0))
    assert (sure.dastgah, sure.dastgah_source, sure.family) == ("homayoun", "estimate", "homayoun")
    assert (strict.dastgah, strict.dastgah_source, strict.family) == (None, "none", None)
    assert strict.dastgah_confidence == sure.dastgah_confidence > 0.5


def test_no_threshold_still_leaves_silence_without_anything():
    (one,) = annotated(
        HARD["silence"], [0.0], params=dataclasses.replace(PARAMS, min_confidence=0.0, min_tonal_confidence=0.0)
    )
    assert (one.bpm, one.tonic_hz, one.dastgah, one.family) == (None, None, None, None)


@pytest.mark.parametrize("instrument", sorted(PERCUSSION))
def test_percussion_has_tempo_alone(instrument):
    (one,) = annotated(solo("shur", 220.0, 100.0, seconds=12.0), [2.0], instrument)
    assert one.bpm is not None
    assert (one.tonic_hz, one.tonic_confidence, one.tonic_source) == (None, 0.0, "none")
    assert (one.dastgah, one.dastgah_confidence, one.dastgah_source) == (None, 0.0, "none")
    assert (one.family, one.family_confidence) == (None, 0.0)


def test_labels_win_over_the_evidence():
    samples = solo("chahargah", 220.0, 100.0, seconds=30.0)
    (estimated,) = annotated(samples, [10.0], "tar")
    (labelled,) = annotated(samples, [10.0], "tar", "mahur", tonic_hz=300.0, bpm=71.0)
    assert (estimated.dastgah, estimated.dastgah_source) == ("chahargah", "estimate")
    assert (labelled.dastgah, labelled.dastgah_confidence, labelled.dastgah_source) == ("mahur", 1.0, "label")
    assert (labelled.tonic_hz, labelled.tonic_confidence, labelled.tonic_source) == (300.0, 1.0, "label")
    assert (labelled.bpm, labelled.bpm_confidence, labelled.bpm_source) == (71.0, 1.0, "label")
    # The beats heard are those of another tempo.
    assert labelled.beat_s is None
    assert labelled.bpm_octaves == []


def test_beats_stay_where_a_label_confirms_their_tempo():
    (one,) = annotated(clicks(90.0, 30.0), [10.0], "daf", bpm=91.0)
    assert (one.bpm, one.bpm_source) == (91.0, "label")
    assert one.beat_s is not None


@pytest.mark.parametrize("start_s", [5.0, 7.3, 12.0])
def test_the_first_beat_is_where_the_click_is(start_s):
    (one,) = annotated(clicks(80.0, 30.0), [start_s], "daf")
    true = np.arange(0.2, 30.0, 0.75)
    assert one.bpm == pytest.approx(80, rel=0.01)
    assert start_s + one.beat_s == pytest.approx(true[true >= start_s - 0.02][0], abs=0.03)


@pytest.mark.parametrize("cents", [-37.0, 37.0])
def test_a_detuned_recording_is_the_same_but_for_its_tonic(cents):
    (straight,) = annotated(solo("homayoun", 220.0, 100.0, seconds=30.0, seed=2), [5.0])
    (detuned,) = annotated(solo("homayoun", 220.0 * 2 ** (cents / 1200), 100.0, seconds=30.0, seed=2), [5.0])
    assert (
        (straight.dastgah, straight.tonic_source) == (detuned.dastgah, detuned.tonic_source) == ("homayoun", "estimate")
    )
    assert 1200 * math.log2(detuned.tonic_hz / straight.tonic_hz) == pytest.approx(cents, abs=12)
    assert detuned.bpm == pytest.approx(straight.bpm, rel=0.01)


def test_slices_share_the_recordings_tonality_and_have_their_own_tempo():
    fast = solo("nava", 220.0, 112.0, seconds=30.0, seed=1)
    slow = solo("nava", 220.0, 88.0, seconds=30.0, seed=2)
    slices = annotated(np.concatenate([fast, slow]), np.arange(0.0, 56.0, 5.0), "santur", "nava")
    first, last = slices[3], slices[8]  # each some ten seconds from the change
    assert (first.tonic_hz, first.tonic_confidence) == (last.tonic_hz, last.tonic_confidence)
    assert first.bpm == pytest.approx(112, rel=0.03)
    assert last.bpm == pytest.approx(88, rel=0.03)


def test_a_slice_does_not_depend_on_which_others_are_asked_for():
    samples = solo("nava", 220.0, 110.0, seconds=30.0)
    together = annotated(samples, [0.0, 7.5, 12.0, 25.0], "tar", "nava")
    assert together[::-1] == annotated(samples, [25.0, 12.0, 7.5, 0.0], "tar", "nava")
    assert annotated(samples, [12.0], "tar", "nava") == together[2:3]
    assert annotated(samples, [], "tar", "nava") == []
