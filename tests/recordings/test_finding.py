import os
import shutil
import unicodedata

import pytest
from conftest import noise, write

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.recordings import finding, folders, slicing, splits
from tarkib.recordings.finding import Recording


def found(root):
    return {one.path: one for one in finding.find(root)}


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


def test_links_are_followed_and_broken_ones_named(tmp_path):
    root = tmp_path / "raw"
    write(root / "ney/a.wav", noise(1, 1))
    outside = write(tmp_path / "cache/3f/outside", noise(1, 2), format="WAV")
    write(tmp_path / "archive/tar/shur/b.wav", noise(1, 3))
    os.symlink(outside, root / "ney/out.wav")
    os.symlink(tmp_path / "archive/tar", root / "تار")
    os.symlink(root / "ney/gone.wav", root / "ney/broken.wav")
    one = found(root)
    assert "cannot be opened" in one["ney/broken.wav"].reason
    assert {path for path, recording in one.items() if recording.usable} == {
        *("ney/a.wav", "ney/out.wav", "تار/shur/b.wav")
    }
    assert (one["تار/shur/b.wav"].instrument, one["تار/shur/b.wav"].dastgah) == ("tar", "shur")


def test_what_cannot_be_used_is_a_row_with_a_reason(tmp_path):
    write(tmp_path / "ney/a.wav", noise(1))
    (tmp_path / "ney/loop").symlink_to(tmp_path)
    (tmp_path / "ney/self.wav").symlink_to("self.wav")
    (tmp_path / "ney" / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"sound")
    os.mkfifo(tmp_path / "ney/pipe.wav")
    (tmp_path / "ney/empty.wav").touch()
    one = found(tmp_path)
    assert [path for path, recording in one.items() if recording.usable] == ["ney/a.wav"]
    assert one["ney/caf\\xe9.wav"].reason == "its name is not UTF-8 text; rename it"
    assert one["ney/pipe.wav"].reason == "is not a regular file (a FIFO)"
    assert one["ney/empty.wav"].reason == "the file is empty"
    assert "no folder is read twice" in one["ney/loop"].reason
    assert "leads back to itself" in one["ney/self.wav"].reason
    rows = [slicing.recording_row(recording) for recording in one.values()]
    tables.RECORDINGS.write(tmp_path / "recordings.parquet", rows)
    assert [row["path"] for row in tables.RECORDINGS.read(tmp_path / "recordings.parquet")] == list(one)


def test_many_files_of_the_same_bytes_are_named_with_a_few_names(tmp_path):
    for folder in ("ney", "tar"):
        (tmp_path / folder).mkdir()
        for number in range(150):
            (tmp_path / folder / f"{number:03d}.wav").write_bytes(b"the same")
            (tmp_path / folder / f"empty-{number}.wav").touch()
    one = found(tmp_path)
    assert one["tar/007.wav"].reason == (
        "the same bytes as ney/000.wav, ney/001.wav, ney/002.wav, ney/003.wav and 295 more, "
        "but labelled differently; keep the right one"
    )
    assert {recording.reason for path, recording in one.items() if "empty" in path} == {"the file is empty"}


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
        ("path,performer\nney/none.wav,A\n", "names files that are not there: 'ney/none.wav'"),
        ("file,performer\nney/a.wav,A\n", "columns must be path and any of"),
        ("path,tempo\nney/a.wav,90\n", "columns must be path and any of"),
        ("path\nney/a.wav\nney/a.wav\n", "line 3: a second row for 'ney/a.wav'"),
        ("", "it has nothing"),
        ("path,bpm\n,90\n", "line 2: path is blank; name the recording"),
        ("path,bpm\nney/a.wav,90,100\n", "line 2: 3 values where the heading has 2 columns"),
        ("path,bpm,bpm\nney/a.wav,90,91\n", "line 1: column bpm is there more than once"),
        ("path,performer\nney/a.wav,Käse\n".encode("latin-1"), "line 2: not UTF-8 text"),
        ("path,bpm\nney/a.wav," + "9" * 200_000, r"bpm is '9{60}…' \(200000 characters\); give"),
    ],
    ids=range(13),
)
def test_a_wrong_recordings_csv(tmp_path, text, message):
    write(tmp_path / "ney/a.wav", noise(1))
    (tmp_path / "recordings.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TarkibError, match=message):
        finding.find(tmp_path)


def test_recordings_csv_may_be_a_folder_by_mistake(tmp_path):
    write(tmp_path / "ney/a.wav", noise(1))
    (tmp_path / "recordings.csv").mkdir()
    with pytest.raises(TarkibError, match=r"recordings\.csv: is a folder"):
        finding.find(tmp_path)


@pytest.mark.parametrize(
    ("row", "codec"), [("ني/شور/كمان.wav;نی;Kassai", "cp1256"), (".\\نی\\شور\\کمان.wav;ني;Kassai", "utf-16")]
)
def test_recordings_csv_in_persian_from_a_spreadsheet(tmp_path, row, codec):
    write(tmp_path / "نی/شور/کمان.wav", noise(1))
    # No Persian ی is in cp1256: spreadsheets store the Arabic letter, in the path too.
    row = row.replace("ی", "ي") if codec == "cp1256" else row
    (tmp_path / "recordings.csv").write_bytes(f"path;instrument;performer\r\n{row}\r\n".encode(codec))
    (one,) = finding.find(tmp_path)
    assert (one.path, one.instrument, one.dastgah, one.performer) == ("نی/شور/کمان.wav", "ney", "shur", "Kassai")


@pytest.mark.parametrize(("said", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_recordings_csv_finds_a_path_however_its_accents_are_stored(tmp_path, said, stored):
    write(tmp_path / unicodedata.normalize(stored, "ney/détaché آ.wav"), noise(1))
    (tmp_path / "recordings.csv").write_text(f"path,bpm\n{unicodedata.normalize(said, 'ney/détaché آ.wav')},90\n")
    assert [one.bpm for one in finding.find(tmp_path)] == [90.0]


def test_of_files_that_are_called_alike_the_one_that_is_named_exactly_is_meant(tmp_path):
    for name, seed in (("é.wav", 1), ("e\u0301.wav", 2)):
        write(tmp_path / "ney" / name, noise(1, seed))
    (tmp_path / "recordings.csv").write_text("path,bpm\nney/e\u0301.wav,90\nney/é.wav,100\n")
    assert {one.path: one.bpm for one in finding.find(tmp_path)} == {"ney/é.wav": 100.0, "ney/e\u0301.wav": 90.0}
    (tmp_path / "recordings.csv").write_text("path,bpm\nney\\é.wav,90\n")
    with pytest.raises(TarkibError, match=r"line 2: 'ney.é\.wav' may be any of .*rename one"):
        finding.find(tmp_path)


def test_no_folder_and_no_recordings(tmp_path):
    with pytest.raises(TarkibError, match=r"nowhere: no such folder; .*data.raw"):
        finding.find(tmp_path / "nowhere")
    with pytest.raises(TarkibError, match="no recordings"):
        finding.find(tmp_path)


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
    sides = splits.split(some, 0.2, seed)
    for performer in {one.performer for one in some}:
        assert len({sides[one.recording_id] for one in some if one.performer == performer}) == 1
    for instrument in ("ney", "tar", "daf"):
        held = [one for one in some if one.instrument == instrument and sides[one.recording_id] == "validation"]
        assert len(held) == 4  # one performer of five


def test_without_performers_the_recording_is_the_unit():
    some = [Recording(f"ney/{i}.wav", "ney", sha256=f"{i:012d}") for i in range(10)]
    sides = splits.split(some, 0.2, 0)
    assert sorted(sides.values()) == ["train"] * 8 + ["validation"] * 2


def test_the_last_of_an_instrument_stays_for_training():
    some = [
        Recording("ney/a.wav", "ney", performer="Z", sha256="a"),
        Recording("avaz/b.wav", "avaz", performer="Z", sha256="b"),
        Recording("ney/c.wav", "ney", performer="K", sha256="c"),
        Recording("daf/d.wav", "daf", sha256="d"),
    ]
    for seed in range(10):
        sides = splits.split(some, 0.5, seed)
        assert sides["avaz-b"] == sides["daf-d"] == sides["ney-a"] == "train"
        assert sides["ney-c"] == "validation"


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    some = many(performers=8)
    assert splits.split(some, 0.25, 1) == splits.split(some[::-1], 0.25, 1)
    assert len({tuple(sorted(splits.split(some, 0.25, seed).items())) for seed in range(5)}) > 1


def test_no_share_no_validation():
    assert set(splits.split(many(), 0.0, 0).values()) == {"train"}


def test_recordings_csv_is_found_in_capitals_and_blamed_for_what_it_says(tmp_path):
    for name in "abc":
        write(tmp_path / f"oud/shur/{name}.wav", noise(1, ord(name)))
    (tmp_path / "Recordings.CSV").write_text(
        "path,instrument,dastgah\noud/shur/a.wav,tar,\noud/shur/b.wav,tar,blues\noud/shur/c.wav,lute,\n"
    )
    one = found(tmp_path)
    assert (one["oud/shur/a.wav"].instrument, one["oud/shur/a.wav"].dastgah) == ("tar", "shur")
    assert one["oud/shur/b.wav"].reason.startswith("unknown dastgah (in recordings.csv 'blues'); known are shur")
    assert one["oud/shur/b.wav"].reason.endswith("where it is not known, leave it blank")
    assert one["oud/shur/c.wav"].reason.startswith("unknown instrument (in recordings.csv 'lute')")


def test_blank_cells_at_the_end_may_be_left_out_or_too_many(tmp_path):
    for name in "ab":
        write(tmp_path / f"ney/{name}.wav", noise(1, ord(name)))
    (tmp_path / "recordings.csv").write_text("path,performer,bpm\nney/a.wav,A\nney/b.wav,B,90\u200e,,\n")
    assert [(one.performer, one.bpm) for one in finding.find(tmp_path)] == [("A", None), ("B", 90.0)]


def test_files_that_are_not_read_are_named(tmp_path):
    write(tmp_path / "ney/a.wav", noise(1))
    (tmp_path / "recordings.csv").write_text("path,bpm\nney/a.wav,90\n")
    assert finding.remarks(tmp_path, folders.listing(tmp_path)) == []
    for name in ("recordings.xlsx", "ney/b.mp2"):
        (tmp_path / name).write_text("x")
    (remark,) = finding.remarks(tmp_path, folders.listing(tmp_path))
    assert remark.endswith("not read: ney/b.mp2, recordings.xlsx")


def test_a_performer_spelt_in_several_ways_is_one():
    spellings = ["كيهان كلهر", "کیهان  کلهر", "Kalhor", "kalhor \u200b", "P1.1", "P11"]
    ones = [Recording(f"{k}.wav", "ney", performer=name, sha256=f"{k:012}") for k, name in enumerate(spellings)]
    apart = set()
    for seed in range(10):
        side = splits.split(ones, 0.5, seed)
        sides = [side[one.recording_id] for one in ones]
        assert len(set(sides)) == 2
        assert sides[0] == sides[1]
        assert sides[2] == sides[3]
        apart.add(sides[4] != sides[5])
    assert apart == {True, False}


@pytest.mark.parametrize("change", [lambda path: write(path, noise(2, 3)), os.remove])
def test_a_recording_that_is_changed_meanwhile_is_an_error(tmp_path, change):
    path = write(tmp_path / "ney/a.wav", noise(1, 1))
    write(tmp_path / "ney/b.wav", noise(1, 2))
    found = finding.find(tmp_path)
    finding.check_unchanged(tmp_path, found)
    change(path)
    with pytest.raises(TarkibError, match=r"changed while they were read: ney/a\.wav; run dvc repro again"):
        finding.check_unchanged(tmp_path, found)
