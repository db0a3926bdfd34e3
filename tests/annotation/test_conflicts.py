import numpy as np
import pytest
from solos import clicks, hiss, solo

from tarkib.annotation import conflicts, evidence, octaves, tempo
from tarkib.annotation.conflicts import Conflict
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.labels import Labels
from tarkib.params import Annotate

pytestmark = pytest.mark.filterwarnings("error")

LEAST = 0.8


def find(recording: Evidence | np.ndarray, labels: Labels, least: float = LEAST) -> list[Conflict]:
    """Conflicts of a recording, given its evidence or its samples."""
    if isinstance(recording, np.ndarray):
        recording = evidence.extract([recording])
    return conflicts.find(recording, tempo.track(recording.onset, Annotate()), labels, least)


@pytest.fixture(scope="module")
def chahargah() -> Evidence:
    return evidence.extract([solo("chahargah", 220.0, 100.0, seconds=60.0, seed=3)])


def test_right_labels_have_no_conflict(chahargah):
    assert find(chahargah, Labels("tar", "chahargah", 220.0, 100.0)) == []
    assert find(chahargah, Labels("tar")) == []
    assert find(chahargah, Labels("tar", "chahargah", 110.0)) == []  # another octave


def test_a_wrong_dastgah(chahargah):
    (conflict,) = find(chahargah, Labels("tar", "mahur"))
    assert conflict[:5] == ("dastgah", 0.0, 60.0, "mahur", "chahargah")
    assert LEAST <= conflict.confidence < 1.0
    assert find(chahargah, Labels("tar", "mahur"), least=1.0) == []


def test_dastgahs_of_one_scale_do_not_contradict_each_other():
    mahur = evidence.extract([solo("mahur", 220.0, 100.0, seconds=60.0, seed=1)])
    assert find(mahur, Labels("tar", "rast-panjgah"), least=0.3) == []
    assert [conflict.estimate for conflict in find(mahur, Labels("tar", "chahargah"), least=0.3)] == ["mahur"]


def test_a_wrong_tonic(chahargah):
    (conflict,) = find(chahargah, Labels("tar", "chahargah", 261.6))
    assert (conflict.what, conflict.label) == ("tonic_hz", "261.60")
    assert 1200 * octaves.apart(float(conflict.estimate), 220.0) < 30


def test_a_wrong_tempo_but_not_half_or_double():
    (conflict,) = find(np.concatenate([clicks(90, 40.0), clicks(117, 40.0)]), Labels("daf", bpm=90.0))
    assert (conflict.what, conflict.label) == ("bpm", "90")
    assert octaves.apart(float(conflict.estimate), 117.0) < 0.05
    assert 33.0 <= conflict.start_s <= 47.0
    assert 75.0 <= conflict.end_s <= 80.0
    plain = evidence.extract([clicks(90, 30.0)])
    assert find(plain, Labels("daf", bpm=45.0)) == find(plain, Labels("daf", bpm=180.0)) == []
    assert find(solo("mahur", 200.0, None, seconds=40.0), Labels("tar", bpm=90.0)) == []  # free rhythm


def test_a_melody_labelled_as_a_drum(chahargah):
    (conflict,) = find(chahargah, Labels("tonbak"))
    assert (conflict.what, conflict.label, conflict.estimate) == ("instrument", "tonbak", "a melody in chahargah")
    assert find(hiss(20.0, 0.1), Labels("tonbak")) == []


def test_a_recording_that_changes_its_mode():
    parts = solo("mahur", 220.0, 100.0, seconds=150.0, seed=1), solo("chahargah", 233.0, 100.0, seconds=60.0, seed=3)
    (conflict,) = find(np.concatenate(parts), Labels("tar", "mahur"))
    assert conflict.estimate == "chahargah"
    assert 110.0 <= conflict.start_s <= 180.0
    assert conflict.end_s == 210.0


def test_overlapping_windows_of_one_estimate_are_merged():
    windows = [
        Conflict("dastgah", *window[:2], "shur", *window[2:])
        for window in (
            (30.0, 90.0, "segah", 0.8),
            (60.0, 120.0, "segah", 0.95),
            (90.0, 150.0, "nava", 0.9),
            (210.0, 270.0, "nava", 0.85),
        )
    ]
    first = windows[0]._replace(end_s=120.0, confidence=0.95)
    assert list(conflicts.merged(windows)) == [first, *windows[2:]]
    assert list(conflicts.merged([])) == []
