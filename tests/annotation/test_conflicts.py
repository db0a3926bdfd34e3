import numpy as np
import pytest
from solos import clicks, hiss, solo

from tarkib.annotation import conflicts, evidence, octaves, tempo
from tarkib.annotation.labels import Labels
from tarkib.demo import orchestra
from tarkib.params import Annotate

pytestmark = pytest.mark.filterwarnings("error")

LEAST = 0.8


def found(samples: np.ndarray, labels: Labels, least: float = LEAST) -> list[conflicts.Suspect]:
    heard, settings = evidence.listen([samples]), Annotate()
    track = tempo.track(heard.onset, settings.min_bpm, settings.max_bpm, settings.prior_bpm, settings.prior_octaves)
    return conflicts.find(heard, track, labels, least)


@pytest.fixture(scope="module")
def chahargah() -> np.ndarray:
    return solo("chahargah", 220.0, 100.0, seconds=60.0, seed=3)


def test_labels_that_are_right_are_not_doubted(chahargah):
    assert found(chahargah, Labels("tar", "chahargah", 220.0, 100.0)) == []
    assert found(chahargah, Labels("tar")) == []


def test_another_dastgah_is_told_with_its_time(chahargah):
    (doubt,) = found(chahargah, Labels("tar", "mahur"))
    assert (doubt.what, doubt.label, doubt.estimate) == ("dastgah", "mahur", "chahargah")
    assert (doubt.start_s, doubt.end_s) == (0.0, 60.0)
    assert LEAST <= doubt.confidence <= 1.0
    assert found(chahargah, Labels("tar", "mahur"), least=1.0) == []


def test_dastgahs_of_one_scale_do_not_contradict_each_other():
    mahur = solo("mahur", 220.0, 100.0, seconds=60.0, seed=1)
    assert found(mahur, Labels("tar", "rast-panjgah"), least=0.3) == []
    assert [doubt.estimate for doubt in found(mahur, Labels("tar", "chahargah"), least=0.3)] == ["mahur"]


def test_another_tonic_is_told_but_not_another_octave(chahargah):
    (doubt,) = found(chahargah, Labels("tar", "chahargah", 261.6))
    assert (doubt.what, doubt.label) == ("tonic_hz", "261.60")
    assert 1200 * octaves.apart(float(doubt.estimate), 220.0) < 30
    assert found(chahargah, Labels("tar", "chahargah", 110.0)) == []


def test_another_tempo_is_told_where_it_is_but_not_half_or_double():
    samples = np.concatenate([clicks(90, 40.0), clicks(117, 40.0)])
    (doubt,) = found(samples, Labels("daf", bpm=90.0))
    assert (doubt.what, doubt.label) == ("bpm", "90")
    assert float(doubt.estimate) == pytest.approx(117, rel=0.04) or float(doubt.estimate) == pytest.approx(
        58.5, rel=0.04
    )
    assert 33.0 <= doubt.start_s <= 47.0
    assert 75.0 <= doubt.end_s <= 80.0
    for octave in (45.0, 180.0):
        assert found(clicks(90, 40.0), Labels("daf", bpm=octave)) == []


def test_free_rhythm_does_not_contradict_a_tempo():
    assert found(solo("mahur", 200.0, None, seconds=40.0), Labels("tar", bpm=90.0)) == []


def test_a_melody_among_the_drums_is_told(chahargah):
    (doubt,) = found(chahargah, Labels("tonbak"))
    assert (doubt.what, doubt.label, doubt.estimate) == ("instrument", "tonbak", "a melody in chahargah")
    assert found(hiss(20.0, 0.1), Labels("tonbak")) == []


def test_drums_are_heard_as_drums():
    jobs = orchestra.plan(105, 2, 1, instruments=("daf", "tonbak"), seconds=(20.0, 30.0))
    for job in [job for job in jobs if job.performer][:6]:
        assert found(orchestra.render(job), Labels(job.instruments[0]), least=0.5) == []


def test_where_a_recording_changes_its_mode_the_other_part_is_told():
    samples = np.concatenate(
        [solo("mahur", 220.0, 100.0, seconds=150.0, seed=1), solo("chahargah", 233.0, 100.0, seconds=60.0, seed=3)]
    )
    doubts = found(samples, Labels("tar", "mahur"))
    assert [doubt.estimate for doubt in doubts] == ["chahargah"]
    assert 110.0 <= doubts[0].start_s <= 180.0
    assert doubts[0].end_s == 210.0


def test_windows_that_say_the_same_are_one_and_others_are_not():
    judged = [
        (0.0, 60.0, None),
        (30.0, 90.0, ("segah", 0.8)),
        (60.0, 120.0, ("segah", 0.95)),
        (90.0, 150.0, ("nava", 0.9)),
        (120.0, 180.0, None),
        (210.0, 270.0, ("nava", 0.85)),
    ]
    assert [tuple(one) for one in conflicts._joined(("dastgah", "shur"), judged)] == [
        ("dastgah", 30.0, 120.0, "shur", "segah", 0.95),
        ("dastgah", 90.0, 150.0, "shur", "nava", 0.9),
        ("dastgah", 210.0, 270.0, "shur", "nava", 0.85),
    ]
    assert list(conflicts._joined(("dastgah", "shur"), [])) == []
