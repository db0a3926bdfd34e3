import os
import shutil

import pytest
from conftest import noise, write

from tarkib import recordings
from tarkib.errors import TarkibError
from tarkib.recordings import Recording


def found(root):
    return {one.path: one for one in recordings.find(root)}


def test_folders_label_in_any_spelling(tmp_path):
    write(tmp_path / "Santoor/Mahoor/deeper/a.wav", noise(1, 1))
    write(tmp_path / "sitar/b.flac", noise(1, 2))
    write(tmp_path / "zarb/solo/c.ogg", noise(1, 3))
    one = found(tmp_path)
    assert (one["Santoor/Mahoor/deeper/a.wav"].instrument, one["Santoor/Mahoor/deeper/a.wav"].dastgah) == (
        "santur",
        "mahur",
    )
    assert (one["sitar/b.flac"].instrument, one["sitar/b.flac"].dastgah) == ("setar", None)
    assert (one["zarb/solo/c.ogg"].instrument, one["zarb/solo/c.ogg"].dastgah) == ("tonbak", None)
    assert all(recording.usable for recording in one.values())


def test_what_is_no_sound_or_hidden_is_passed_over(tmp_path):
    write(tmp_path / "ney/a.wav", noise(1))
    for name in ("ney/notes.txt", "ney/.a.wav.swp", "ney/.DS_Store", ".trash/ney/b.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(found(tmp_path)) == ["ney/a.wav"]


def test_unknown_folders_are_named_with_the_known(tmp_path):
    write(tmp_path / "oud/shur/a.wav", noise(1, 1))
    write(tmp_path / "ney/blues/b.wav", noise(1, 2))
    write(tmp_path / "c.wav", noise(1, 3))
    write(tmp_path / "ney/shur/d.wav", noise(1, 4))
    one = found(tmp_path)
    assert "unknown instrument (folder 'oud'); known are ney, tar" in one["oud/shur/a.wav"].reason
    assert "unknown dastgah (folder 'blues'); known are shur" in one["ney/blues/b.wav"].reason
    assert "file outside any folder" in one["c.wav"].reason
    assert [path for path, recording in one.items() if recording.usable] == ["ney/shur/d.wav"]


def test_the_same_bytes_count_once(tmp_path):
    first = write(tmp_path / "ney/shur/a.wav", noise(1))
    shutil.copy(first, tmp_path / "ney/shur/b.wav")
    one = found(tmp_path)
    assert one["ney/shur/a.wav"].usable
    assert one["ney/shur/b.wav"].reason == "the same bytes as ney/shur/a.wav, which is used"


def test_the_same_bytes_under_two_labels_are_not_trusted(tmp_path):
    first = write(tmp_path / "ney/shur/a.wav", noise(1))
    (tmp_path / "tar").mkdir()
    shutil.copy(first, tmp_path / "tar/b.wav")
    write(tmp_path / "tar/c.wav", noise(1, 2))
    one = found(tmp_path)
    assert [path for path, recording in one.items() if recording.usable] == ["tar/c.wav"]
    assert "the same bytes as tar/b.wav, but labelled differently" in one["ney/shur/a.wav"].reason


def test_links_out_of_the_folder_and_broken_ones(tmp_path):
    root = tmp_path / "raw"
    write(root / "ney/a.wav", noise(1, 1))
    outside = write(tmp_path / "outside.wav", noise(1, 2))
    os.symlink(outside, root / "ney/out.wav")
    os.symlink(root / "ney/gone.wav", root / "ney/broken.wav")
    one = found(root)
    assert "a symbolic link out of the folder" in one["ney/out.wav"].reason
    assert "cannot be opened" in one["ney/broken.wav"].reason
    assert one["ney/a.wav"].usable


def test_the_root_itself_may_be_a_link(tmp_path):
    write(tmp_path / "real/ney/a.wav", noise(1))
    os.symlink(tmp_path / "real", tmp_path / "raw")
    assert found(tmp_path / "raw")["ney/a.wav"].usable


def test_recordings_csv_says_more_than_folders(tmp_path):
    write(tmp_path / "ney/shur/a.wav", noise(1, 1))
    write(tmp_path / "box/b.wav", noise(1, 2))
    write(tmp_path / "ney/c.wav", noise(1, 3))
    (tmp_path / "recordings.csv").write_text(
        "path,instrument,dastgah,performer\nney/shur/a.wav,,segah,Kassai\nbox/b.wav,santour,,\n", encoding="utf-8-sig"
    )
    one = found(tmp_path)
    assert (one["ney/shur/a.wav"].instrument, one["ney/shur/a.wav"].dastgah) == ("ney", "segah")
    assert one["ney/shur/a.wav"].performer == "Kassai"
    assert (one["box/b.wav"].instrument, one["box/b.wav"].dastgah) == ("santur", None)
    assert one["ney/c.wav"].performer is None


def test_recordings_csv_labels_tonic_and_tempo(tmp_path):
    write(tmp_path / "ney/a.wav", noise(1, 1))
    write(tmp_path / "daf/b.wav", noise(1, 2))
    (tmp_path / "recordings.csv").write_text("path,tonic_hz,bpm\nney/a.wav,311.5, 92\ndaf/b.wav,100,\n")
    one = found(tmp_path)
    assert (one["ney/a.wav"].tonic_hz, one["ney/a.wav"].bpm) == (311.5, 92.0)
    # A drum has no tonic, whatever is said of it.
    assert (one["daf/b.wav"].tonic_hz, one["daf/b.wav"].bpm) == (None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,bpm\nney/a.wav,fast\n", "line 2: bpm is 'fast'; give a number between 20 and 400"),
        ("path,bpm\nney/a.wav,0\n", "line 2: bpm is '0'"),
        ("path,tonic_hz\nney/a.wav,nan\n", "line 2: tonic_hz is 'nan'; give a number between 20 and 5000"),
        ("path,performer\nney/none.wav,A\n", "names files that are not there: ney/none.wav"),
        ("file,performer\nney/a.wav,A\n", "columns must be path and any of"),
        ("path,tempo\nney/a.wav,90\n", "columns must be path and any of"),
        ("path\nney/a.wav\nney/a.wav\n", "line 3: ney/a.wav stands there twice"),
        ("", "found nothing"),
    ],
)
def test_a_wrong_recordings_csv(tmp_path, text, message):
    write(tmp_path / "ney/a.wav", noise(1))
    (tmp_path / "recordings.csv").write_text(text)
    with pytest.raises(TarkibError, match=message):
        recordings.find(tmp_path)


def test_no_folder_and_no_recordings(tmp_path):
    with pytest.raises(TarkibError, match=r"nowhere: no such folder; .*data.raw"):
        recordings.find(tmp_path / "nowhere")
    with pytest.raises(TarkibError, match="no recordings"):
        recordings.find(tmp_path)


def test_an_id_follows_the_content(tmp_path):
    write(tmp_path / "a/ney/x.wav", noise(1, 1))
    write(tmp_path / "b/ney/other.wav", noise(1, 1))
    write(tmp_path / "b/ney/another.wav", noise(1, 2))
    assert found(tmp_path / "a")["ney/x.wav"].recording_id == found(tmp_path / "b")["ney/other.wav"].recording_id


def many(performers=5, instruments=("ney", "tar", "daf"), each=4, name=lambda i, p: f"{i}-{p}"):
    return [
        Recording(f"{i}/{p}-{k}.wav", i, performer=name(i, p), sha256=f"{i}{p}{k}".ljust(12, "x"))
        for i in instruments
        for p in range(performers)
        for k in range(each)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_performer_is_in_both_splits(seed):
    some = many()
    splits = recordings.split(some, 0.2, seed)
    for performer in {one.performer for one in some}:
        assert len({splits[one.recording_id] for one in some if one.performer == performer}) == 1
    for instrument in ("ney", "tar", "daf"):
        held = [one for one in some if one.instrument == instrument and splits[one.recording_id] == "validation"]
        assert len(held) == 4  # one performer of five


def test_without_performers_the_recording_is_the_unit():
    some = [Recording(f"ney/{i}.wav", "ney", sha256=f"{i:012d}") for i in range(10)]
    splits = recordings.split(some, 0.2, 0)
    assert sorted(splits.values()) == ["train"] * 8 + ["validation"] * 2


def test_the_last_of_an_instrument_stays_for_training():
    some = [
        Recording("ney/a.wav", "ney", performer="Z", sha256="a"),
        Recording("avaz/b.wav", "avaz", performer="Z", sha256="b"),
        Recording("ney/c.wav", "ney", performer="K", sha256="c"),
        Recording("daf/d.wav", "daf", sha256="d"),
    ]
    for seed in range(10):
        splits = recordings.split(some, 0.5, seed)
        assert splits["avaz-b"] == splits["daf-d"] == splits["ney-a"] == "train"
        assert splits["ney-c"] == "validation"


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    some = many(performers=8)
    assert recordings.split(some, 0.25, 1) == recordings.split(some[::-1], 0.25, 1)
    assert len({tuple(sorted(recordings.split(some, 0.25, seed).items())) for seed in range(5)}) > 1


def test_no_share_no_validation():
    assert set(recordings.split(many(), 0.0, 0).values()) == {"train"}
