import json

import jams
import numpy as np
import pytest
from matplotlib.image import imread

from tarkib.recognition import Recognition, formats, timeline
from tarkib.vocabulary import INSTRUMENTS


def recognition(
    starts_s, probabilities, seconds, hop_s=1.0, trained=INSTRUMENTS, distances=None, **columns
) -> Recognition:
    """A recognition with the given probabilities of ney, others by name, else 0."""
    table = np.zeros((len(starts_s), len(INSTRUMENTS)), np.float32)
    for name, values in {"ney": probabilities, **columns}.items():
        table[:, INSTRUMENTS.index(name)] = values
    known = np.isin(INSTRUMENTS, trained)
    table[:, ~known] = np.nan
    return Recognition(
        seconds=seconds,
        hop_s=hop_s,
        starts_s=np.array(starts_s, float),
        window_probabilities=table,
        silent=np.zeros(len(starts_s), bool),
        distances=np.full(len(starts_s), np.nan) if distances is None else np.array(distances),
        labels=INSTRUMENTS,
        thresholds=np.full(len(INSTRUMENTS), 0.5),
        trained=known,
    )


def test_a_recording_is_unfamiliar_where_most_windows_with_sound_are():
    def unfamiliar(*distances: float) -> bool:
        found = recognition(range(len(distances)), 0.9, 5.0 + len(distances), distances=distances)
        assert ("unlike the recordings" in str(found)) == ("unlike the recordings" in found.remark) == found.unfamiliar
        return found.unfamiliar

    assert unfamiliar(1.2, 0.9, 1.3)
    assert not unfamiliar(1.2, 0.9, 0.8)
    assert unfamiliar(np.nan, np.nan, 1.1)
    assert not unfamiliar(np.nan, np.nan)


@pytest.mark.parametrize("seconds", [0.3, 5.0, 63.02])
@pytest.mark.parametrize("hop_s", [0.1, 0.7, 5.0])
def test_activity_is_the_mean_over_the_windows_that_cover_the_middle_of_a_frame(seconds, hop_s):
    end = max(seconds - 5.0, 0.0)
    starts = np.append(np.arange(0, end, hop_s), end)
    probabilities = np.random.default_rng(1).random(len(starts))
    found = recognition(starts, probabilities, seconds, hop_s)
    for i, (begin, finish) in enumerate(zip(found.frames_s[:-1], found.frames_s[1:], strict=True)):
        middle = (begin + finish) / 2
        covering = probabilities[(starts <= middle) & (middle < starts + 5.0)]
        np.testing.assert_allclose(found.activity[i, 0], covering.mean(), atol=1e-6)
    assert found.frames_s[-1] == seconds
    assert (np.diff(found.frames_s) > 0).all()
    assert np.diff(found.frames_s).max() <= hop_s + 1e-3


def test_segments_are_runs_at_or_above_the_threshold():
    found = recognition([0, 5, 10, 15], [0.5, 0.7, 0.2, 0.9], 18.5, hop_s=5.0, tar=[0.0, 0.9, 0.0, 0.0])
    segments = [(s.instrument, s.start_s, s.end_s) for s in found.segments]
    assert segments == [("ney", 0.0, 10.0), ("ney", 15.0, 18.5), ("tar", 5.0, 10.0)]
    np.testing.assert_allclose([one.probability for one in found.segments], [0.6, 0.9, 0.9], atol=1e-6)


def test_the_text_holds_shares_and_times():
    found = recognition([0, 5, 10, 15], [0.5, 0.7, 0.2, 0.9], 20.0, hop_s=5.0)
    assert str(found).splitlines() == ["0:20 in 4 windows", "  ney         75%  0:00-0:10, 0:15-0:20"]
    assert "no instrument reaches its threshold" in str(recognition([0], [0.1], 5.0))


def test_of_many_segments_the_text_lists_some():
    found = recognition(np.arange(0, 200, 5.0), np.arange(40) % 2, 200.0, hop_s=5.0)
    assert str(found).count("-") == 6
    assert "and 14 more" in str(found)


def test_csv_has_a_row_a_segment():
    found = recognition([0, 5], [0.9, 0.1], 10.0, hop_s=5.0)
    assert formats.csv(found, 'a, "b".mp3').splitlines() == [
        "file,instrument,start_s,end_s,probability",
        '"a, ""b"".mp3",ney,0.000,5.000,0.9000',
    ]


def test_json_holds_everything_and_unknown_is_null():
    found = recognition([0, 5], [0.9, 0.1], 10.0, hop_s=5.0, trained=("ney", "tar"))
    content = json.loads(formats.json(found, "نی.mp3"))
    assert content["file"] == "نی.mp3"
    assert content["segments"] == [{"instrument": "ney", "start_s": 0.0, "end_s": 5.0, "probability": 0.9}]
    assert content["windows"][1]["start_s"] == 5.0
    assert content["windows"][0]["ney"] == 0.9
    assert content["windows"][0]["avaz"] is None
    assert content["thresholds"]["tar"] == 0.5


@pytest.mark.parametrize("probabilities", [[0.1, 0.9], [0.0, 0.0]])
def test_jams_is_valid_and_reads_back(tmp_path, probabilities):
    path = tmp_path / "song.jams"
    path.write_text(formats.jams(recognition([0, 5], probabilities, 10.0, hop_s=5.0), "song.mp3"))
    read = jams.load(str(path), validate=True, strict=True)
    assert read.file_metadata.duration == 10.0
    rows = [(one.time, one.duration, one.value, one.confidence) for one in read.annotations["tag_open", 0].data]
    assert rows == ([(5.0, 5.0, "ney", 0.9)] if max(probabilities) else [])


def test_the_timeline_shows_what_plays(tmp_path):
    quiet, loud = recognition([0, 5], [0.1, 0.1], 10.0, hop_s=5.0), recognition([0, 5], [0.1, 0.9], 10.0, hop_s=5.0)
    for name, found in (("quiet", quiet), ("loud", loud), ("again", loud)):
        timeline.draw(found, tmp_path / f"{name}.png", "a $b_1$ \\alpha.mp3")
    assert imread(tmp_path / "loud.png").shape == (750, 1500, 4)
    assert (tmp_path / "loud.png").read_bytes() == (tmp_path / "again.png").read_bytes()

    def green(name: str) -> np.ndarray:
        """Columns in which the colour of what plays is seen."""
        pixels = imread(tmp_path / f"{name}.png")[..., :3]
        return np.flatnonzero((abs(pixels - np.array([0.16, 0.53, 0.28])).max(axis=2) < 0.08).any(axis=0))

    assert green("quiet").size == 0
    # The second half of the recording: from the middle of the axes to their end.
    assert green("loud").size > 500
    assert green("loud").min() > 700


def test_a_long_timeline_hides_no_short_segment():
    windows = np.arange(10_000)
    found = recognition(windows * 5.0, windows == 5_000, 50_000.0, hop_s=5.0)
    borders, activity, present = found.thinned(1_200)
    assert len(borders) == len(activity) + 1 <= 1_201
    assert present[:, 0].sum() == 1
    assert activity[:, 0].max() == 1.0
