"""Planted leaks are named, each by the strongest evidence; unrelated music raises no alarm."""

import shutil

import numpy as np
import pytest
import soundfile
from conftest import write
from melodies import SECOND, melody

from tarkib import audio, tables
from tarkib.audio import clips
from tarkib.evaluation import leakage, testset
from tarkib.recordings import finding, slicing

NAMES = ("tar/shur/Golha 12.flac", "tar/shur/solo.flac", "ney/solo.flac", "ney/7.flac")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, defaults):
    """Recordings of 12 seconds in raw/, and their slices in slices/."""
    root = tmp_path_factory.mktemp("trained")
    for seed, name in enumerate(NAMES):
        write(root / "raw" / name, 0.5 * melody(12, seed))
    found = finding.find(root / "raw")
    (root / "slices").mkdir()
    jobs = slicing.plan(root / "raw", root / "slices", found, defaults.slice)
    rows = slicing.gather(found, map(slicing.slice_recordings, jobs))
    tables.RECORDINGS.write(root / "slices/recordings.parquet", rows[0])
    tables.SLICES.write(root / "slices/slices.parquet", rows[1])
    return root


@pytest.fixture
def warned(trained, tmp_path):
    """Call it with test clips by file name, samples or bytes, to have them compared; `recording` is the column."""

    def compare(files, recording=None, folder=None):
        root = tmp_path / "test"
        for name, content in files.items():
            if isinstance(content, bytes):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
            else:
                write(root / name, content)
        rows = "".join(f"{name},{(recording or {}).get(name, '')},1\n" for name in files)
        (root / "labels.csv").write_text(f"sample_id,recording,ney\n{rows}")
        test, excerpts = testset.decoded(testset.load(root))
        return leakage.warnings(test, excerpts, folder or trained / "slices")

    return compare


def split_of(trained, path):
    rows = {row["path"]: row["recording_id"] for row in tables.RECORDINGS.read(trained / "slices/recordings.parquet")}
    return next(
        row["split"]
        for row in tables.SLICES.read(trained / "slices/slices.parquet")
        if row["recording_id"] == rows[path]
    )


def test_unrelated_music_raises_no_alarm(warned):
    assert warned({f"piece-{k}.flac": melody(5, 100 + k) for k in range(6)}, {"piece-1.flac": "radio"}) == []


def test_the_same_file_under_another_name(trained, warned):
    said = warned({"a.flac": (trained / "raw" / NAMES[0]).read_bytes(), "b.flac": melody(5, 100)})
    split = split_of(trained, NAMES[0])
    assert said == [
        "warning: test clips are files that were trained or validated on (1): a.flac = tar/shur/Golha 12.flac "
        f"({split})"
    ]
    assert {split_of(trained, name) for name in NAMES} == {"train", "validation"}


def test_a_slice_out_of_its_shard(trained, warned):
    row = tables.SLICES.read(trained / "slices/slices.parquet")[3]
    with clips.ClipStore(trained / "slices") as store:
        said = warned({"a.flac": store.read_bytes(clips.Place.of(row)), "b.flac": melody(5, 100)})
    assert said == [
        "warning: test clips are files that were trained or validated on (1): "
        f"a.flac = slice {row['slice_id']} ({row['split']})"
    ]


def test_the_same_sound_in_another_form_and_under_another_name(trained, warned):
    sound = soundfile.read(trained / "raw" / NAMES[1], dtype="float32")[0]
    said = warned({"a.mp3": 0.3 * sound[4 * SECOND : 9 * SECOND], "b.ogg": sound[:SECOND], "c.mp3": melody(5, 100)})
    assert len(said) == 1
    assert said[0].startswith("warning: test clips sound in recordings that were trained or validated on (1): a.mp3 = ")
    assert said[0].endswith(f"tar/shur/solo.flac ({split_of(trained, NAMES[1])}) at 0:04")


@pytest.mark.parametrize(
    ("file", "recording", "named"),
    [
        ("golha 12.mp3", "", "golha 12.mp3 = tar/shur/Golha 12.flac"),
        ("x.mp3", "GOLHA 12", "GOLHA 12 = tar/shur/Golha 12.flac"),
        ("x.mp3", "tar/shur/golha 12.wav", "tar/shur/golha 12.wav = tar/shur/Golha 12.flac"),
        ("deep/Golha 12.mp3", "radio", "Golha 12.mp3 = tar/shur/Golha 12.flac"),
        ("x.mp3", "the id", "the id = tar/shur/Golha 12.flac"),
    ],
)
def test_the_same_name(trained, warned, file, recording, named):
    if recording == "the id":
        rows = tables.RECORDINGS.read(trained / "slices/recordings.parquet")
        recording = next(row["recording_id"] for row in rows if row["path"] == NAMES[0])
        named = named.replace("the id", recording)
    said = warned({file: melody(5, 100), "y.mp3": melody(5, 101)}, {file: recording})
    assert said == [
        "warning: test clips are called like recordings that were trained or validated on; are they the same music? "
        f"(1): {named} ({split_of(trained, NAMES[0])})"
    ]


def test_a_common_name_is_a_question_with_all_its_namesakes(trained, warned):
    (said,) = warned({"solo.mp3": melody(5, 100)})
    assert "are they the same music? (1): solo.mp3 = " in said
    for name in NAMES[1:3]:
        assert f"{name} ({split_of(trained, name)})" in said


def test_numbers_say_nothing(warned):
    assert warned({"7.mp3": melody(5, 100), "007.mp3": melody(5, 101)}, {"007.mp3": "7"}) == []


def test_clips_of_one_recording_are_one_entry(warned):
    files = {f"{k}.mp3": melody(5, 100 + k) for k in range(3)}
    (said,) = warned(files, dict.fromkeys(files, "Golha 12"))
    assert said.count("Golha 12 = ") == 1
    assert "(1): " in said


def test_each_clip_is_named_once_and_the_strongest_evidence_comes_first(trained, warned):
    whole = (trained / "raw" / NAMES[0]).read_bytes()
    sound = soundfile.read(trained / "raw" / NAMES[2], dtype="float32")[0]
    said = warned(
        {"Golha 12.flac": whole, "solo.mp3": sound[: audio.CLIP_SAMPLES], "x.mp3": melody(5, 100)},
        {"x.mp3": "Golha 12"},
    )
    assert [one.partition(" (1): ")[2].partition(" = ")[0] for one in said] == ["Golha 12.flac", "solo.mp3", "Golha 12"]


def test_many_are_counted(trained, warned):
    whole = (trained / "raw" / NAMES[0]).read_bytes()
    (said,) = warned({f"copy {k:02d}.flac": whole for k in range(13)})
    assert "(13): copy 00.flac = " in said
    assert said.endswith("and 3 more")
    assert "copy 09" in said
    assert "copy 10" not in said


def test_without_slices_nothing_is_compared_which_is_said(warned, tmp_path):
    (said,) = warned({"a.flac": melody(5, 100)}, folder=tmp_path / "none")
    assert said == f"{tmp_path / 'none'}: not there, so test clips were not compared with what was trained on"


@pytest.mark.parametrize("damaged", ["slices.parquet", "recordings.parquet", "shard-00000.tar"])
def test_damaged_slices_stop_nothing(trained, warned, tmp_path, damaged):
    folder = tmp_path / "slices"
    shutil.copytree(trained / "slices", folder)
    (folder / damaged).write_bytes(b"nonsense")
    (said,) = warned({"a.flac": np.zeros(5 * SECOND, np.float32) + melody(5, 100)}, folder=folder)
    assert said.startswith("test clips could not be compared with what was trained on: ")
    assert damaged in said
