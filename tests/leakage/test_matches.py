"""Planted leaks are reported, each by its strongest evidence; unrelated music raises no alarm."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from conftest import write
from melodies import SECOND, melody

from tarkib import audio, tables
from tarkib.audio import clips
from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.leakage import matches
from tarkib.leakage.matches import Match
from tarkib.recordings import finding, slicing

NAMES = ("tar/shur/Golha 12.flac", "tar/shur/solo.flac", "ney/solo.flac", "ney/7.flac")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, defaults):
    """Recordings of 12 seconds in raw/, one of them twice, and their slices in slices/."""
    root = tmp_path_factory.mktemp("trained")
    for seed, name in enumerate(NAMES):
        write(root / "raw" / name, 0.5 * melody(12, seed))
    (root / "raw/tar/shur/copy.flac").write_bytes((root / "raw" / NAMES[0]).read_bytes())
    recordings = finding.find(root / "raw")
    (root / "slices").mkdir()
    jobs = slicing.plan(tables.Roots(root / "raw", root), root / "slices", recordings, defaults.slice)
    rows = slicing.gather(recordings, map(slicing.slice_recordings, jobs))
    tables.RECORDINGS.write(root / "slices/recordings.parquet", rows[0])
    tables.SLICES.write(root / "slices/slices.parquet", rows[1])
    return root


@pytest.fixture(scope="module")
def splits(trained):
    """Each recording's split, by its path."""
    split = {row["recording_id"]: row["split"] for row in tables.SLICES.read(trained / "slices/slices.parquet")}
    rows = tables.RECORDINGS.read(trained / "slices/recordings.parquet")
    return {row["path"]: split[row["recording_id"]] for row in rows}


@pytest.fixture
def compared(trained, tmp_path):
    """Compare test clips, samples or bytes by file name; `recording` gives the column of that name."""

    def compare(files, recording=None):
        root = tmp_path / "test"
        for name, content in files.items():
            path = write(root / name, melody(1, 0) if isinstance(content, bytes) else content)
            if isinstance(content, bytes):
                path.write_bytes(content)
        rows = "".join(f"{name},{(recording or {}).get(name, '')},1\n" for name in files)
        (root / "labels.csv").write_text(f"sample_id,recording,ney\n{rows}")
        return matches.find(*testset.decode(testset.load(root)), trained / "slices")

    return compare


def test_unrelated_music_raises_no_alarm(compared):
    files = {f"piece-{k}.flac": melody(5, 100 + k) for k in range(3)}
    # Plain numbers are no evidence either.
    files |= {"7.mp3": melody(5, 110), "007.mp3": melody(5, 111)}
    assert compared(files, {"piece-1.flac": "radio", "007.mp3": "7"}) == []


def test_the_same_bytes_and_the_same_sound_under_another_name(trained, compared, splits):
    whole = (trained / "raw" / NAMES[0]).read_bytes()
    sound = soundfile.read(trained / "raw" / NAMES[1], dtype="float32")[0]
    row = tables.SLICES.read(trained / "slices/slices.parquet")[3]
    with clips.ClipStore(trained / "slices") as store:
        stored = store.read_bytes(clips.Place.of(row))
    files = {"a.flac": whole, "b.mp3": 0.3 * sound[4 * SECOND : 9 * SECOND], "c.ogg": sound[:SECOND], "d.flac": stored}
    same, part, clip = compared({**files, "e.mp3": melody(5, 100)})
    assert same == Match("a.flac", NAMES[0], splits[NAMES[0]], "bytes")
    assert part == Match("b.mp3", NAMES[1], splits[NAMES[1]], "sound", pytest.approx(4, abs=0.1))
    assert clip[2:] == (row["split"], "sound", pytest.approx(row["start_s"], abs=0.1))
    assert set(splits.values()) == {"train", "validation"}


@pytest.mark.parametrize(
    ("file", "recording"),
    [
        ("golha 12.mp3", ""),
        ("x.mp3", "GOLHA 12"),
        ("x.mp3", "tar/shur/golha 12.wav"),
        ("deep/Golha 12.mp3", "radio"),
        ("x.mp3", "the id"),
    ],
)
def test_the_same_name(trained, compared, splits, file, recording):
    if recording == "the id":
        rows = tables.RECORDINGS.read(trained / "slices/recordings.parquet")
        recording = next(row["recording_id"] for row in rows if row["path"] == NAMES[0])
    found = compared({file: melody(5, 100), "y.mp3": melody(5, 101)}, {file: recording})
    assert found == [Match(file, NAMES[0], splits[NAMES[0]], "name")]
    # A common name is reported with all its namesakes.
    assert [match.recording for match in compared({"solo.mp3": melody(5, 100)})] == [NAMES[2], NAMES[1]]


def test_the_strongest_evidence_is_reported_and_written(trained, compared, splits, tmp_path):
    whole = (trained / "raw" / NAMES[0]).read_bytes()
    sound = soundfile.read(trained / "raw" / NAMES[2], dtype="float32")[0]
    files = {"Golha 12.flac": whole, "solo.mp3": sound[: audio.CLIP_SAMPLES], "x.mp3": melody(5, 100)}
    found = compared(files, {"x.mp3": "Golha 12"})
    evidence = {match.excerpt: match.kind for match in found}
    assert evidence == {"Golha 12.flac": "bytes", "solo.mp3": "sound", "x.mp3": "name"}
    warnings = list(matches.warnings(found))
    assert len(warnings) == 3
    assert f" (1): solo.mp3 = {NAMES[2]} ({splits[NAMES[2]]}); " in warnings[1]
    assert all("remove it from the test set or from data.raw" in warning for warning in warnings)
    matches.write(tmp_path / "leakage.json", 3, found)
    written = json.loads((tmp_path / "leakage.json").read_text())
    assert [Match(**match) for match in written.pop("matches")] == found
    assert written == {"excerpts": 3, "same_bytes": 1, "same_sound": 1, "same_name": 1}


@pytest.mark.parametrize("damaged", ["slices.parquet", "recordings.parquet", "shard-00000.tar"])
def test_damaged_slices_are_an_error_that_names_the_file(trained, tmp_path, damaged):
    folder = shutil.copytree(trained / "slices", tmp_path / "slices")
    (folder / damaged).write_bytes(b"nonsense")
    path = write(tmp_path / "a.flac", melody(5, 100))
    test = testset.TestSet(["a"], [path], ["a"], np.ones((1, 10)), [])
    with pytest.raises(TarkibError, match=damaged):
        matches.find(test, [melody(5, 100)], folder)
