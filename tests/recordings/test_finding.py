import os
import shutil
import unicodedata

import pytest

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.recordings import finding, folders


def put(path):
    """A file whose content differs from that of all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(str(path).encode())
    return path


def find(root):
    return {recording.path: recording for recording in finding.find(root)}


def usable(root):
    return [path for path, recording in find(root).items() if recording.usable]


def test_folders_label_in_any_spelling(tmp_path):
    expected = {
        "Santoor/Mahoor/deeper/a.wav": ("santur", "mahur"),
        "sitar/b.flac": ("setar", None),
        "zarb/solo/c.ogg": ("tonbak", None),
    }
    for path in expected:
        put(tmp_path / path)
    recordings = find(tmp_path)
    assert {path: (one.instrument, one.dastgah) for path, one in recordings.items()} == expected
    assert all(recording.usable for recording in recordings.values())


def test_unknown_folders_are_named_with_the_known(tmp_path):
    for path in ("oud/shur/a.wav", "ney/blues/b.wav", "c.wav", "ney/shur/d.wav"):
        put(tmp_path / path)
    recordings = find(tmp_path)
    assert "unknown instrument (folder 'oud'); known are ney, tar" in recordings["oud/shur/a.wav"].reason
    assert "unknown dastgah (folder 'blues'); known are shur" in recordings["ney/blues/b.wav"].reason
    assert "file outside any folder" in recordings["c.wav"].reason
    assert usable(tmp_path) == ["ney/shur/d.wav"]


def test_the_same_bytes_count_once_and_not_at_all_under_two_labels(tmp_path):
    shutil.copy(put(tmp_path / "ney/shur/a.wav"), tmp_path / "ney/shur/b.wav")
    assert find(tmp_path)["ney/shur/b.wav"].reason == "the same bytes as ney/shur/a.wav, which is used"
    put(tmp_path / "tar/d.wav")
    for number in range(7):
        shutil.copy(tmp_path / "ney/shur/a.wav", tmp_path / f"tar/{number}.wav")
    assert usable(tmp_path) == ["tar/d.wav"]
    assert find(tmp_path)["ney/shur/a.wav"].reason == (
        "the same bytes as ney/shur/b.wav, tar/0.wav, tar/1.wav, tar/2.wav and 4 more, "
        "but labelled differently; keep the right one"
    )


def test_recordings_that_cannot_be_used_are_rows_with_a_reason(tmp_path):
    put(tmp_path / "ney/a.wav")
    (tmp_path / "ney/self.wav").symlink_to("self.wav")
    (tmp_path / "ney" / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"sound")
    for name in ("ney/empty.wav", "ney/void.wav"):
        (tmp_path / name).touch()
    recordings = find(tmp_path)
    assert usable(tmp_path) == ["ney/a.wav"]
    assert recordings["ney/caf\\xe9.wav"].reason == "its name is not UTF-8 text; rename it"
    assert recordings["ney/empty.wav"].reason == recordings["ney/void.wav"].reason == "the file is empty"
    assert "leads back to itself" in recordings["ney/self.wav"].reason
    rows = [recording.row for recording in recordings.values()]
    tables.RECORDINGS.write(tmp_path / "recordings.parquet", rows)
    assert [row["path"] for row in tables.RECORDINGS.read(tmp_path / "recordings.parquet")] == list(recordings)


def test_recordings_csv_overrides_folders(tmp_path):
    for path in ("ney/shur/a.wav", "box/b.wav", "ney/c.wav", "daf/d.wav"):
        put(tmp_path / path)
    (tmp_path / "recordings.csv").write_text(
        "path,instrument,dastgah,performer,tonic_hz,bpm\nney/shur/a.wav,,segah,Kassai,311.5, 92\n"
        "box/b.wav,santour,,,,\ndaf/d.wav,,,,100,\n",
        encoding="utf-8-sig",
    )
    assert [(one.instrument, one.dastgah, one.performer, one.tonic_hz, one.bpm) for one in finding.find(tmp_path)] == [
        ("santur", None, None, None, None),
        ("daf", None, None, None, None),  # a drum has no tonic
        ("ney", None, None, None, None),
        ("ney", "segah", "Kassai", 311.5, 92.0),
    ]


def test_recordings_csv_in_capitals_is_named_in_the_reasons(tmp_path):
    for name in "abc":
        put(tmp_path / f"oud/shur/{name}.wav")
    (tmp_path / "Recordings.CSV").write_text(
        "path,instrument,dastgah\noud/shur/a.wav,tar,\noud/shur/b.wav,tar,blues\noud/shur/c.wav,lute,\n"
    )
    first, second, third = finding.find(tmp_path)
    assert (first.instrument, first.dastgah) == ("tar", "shur")
    assert second.reason.startswith("unknown dastgah (in recordings.csv 'blues'); known are shur")
    assert second.reason.endswith("where it is not known, leave it blank")
    assert third.reason.startswith("unknown instrument (in recordings.csv 'lute')")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,bpm\nney/a.wav,fast\n", "line 2: bpm is 'fast'; give a number between 20 and 400"),
        ("path,bpm\nney/a.wav,0\n", "line 2: bpm is '0'"),
        ("path,tonic_hz\nney/a.wav,nan\n", "line 2: tonic_hz is 'nan'; give a number between 20 and 5000"),
        ("path,performer\nney/none.wav,A\n", "names files that are not there: 'ney/none.wav'"),
        ("file,performer\nney/a.wav,A\n", "columns must be path and any of"),
        ("path,tempo\nney/a.wav,90\n", "columns must be path and any of"),
        ("path\nney/a.wav\nney/a.wav\n", "line 3: a second row for 'ney/a.wav'; keep one"),
        ("", "it has nothing"),
        ("path,bpm\n,90\n", "line 2: path is blank; name the recording"),
        ("path,bpm\nney/a.wav," + "9" * 200_000, r"bpm is '9{60}…' \(200000 characters\); give"),
    ],
    ids=range(10),
)
def test_a_wrong_recordings_csv(tmp_path, text, message):
    put(tmp_path / "ney/a.wav")
    (tmp_path / "recordings.csv").write_text(text)
    with pytest.raises(TarkibError, match=message):
        finding.find(tmp_path)


@pytest.mark.parametrize(
    ("row", "codec"), [("ني/شور/كمان.wav;نی;Kassai", "cp1256"), (".\\نی\\شور\\کمان.wav;ني;Kassai", "utf-16")]
)
def test_recordings_csv_in_persian_from_a_spreadsheet(tmp_path, row, codec):
    put(tmp_path / "نی/شور/کمان.wav")
    # No Persian ی is in cp1256: spreadsheets store the Arabic letter, in the path too.
    row = row.replace("ی", "ي") if codec == "cp1256" else row
    (tmp_path / "recordings.csv").write_bytes(f"path;instrument;performer\r\n{row}\r\n".encode(codec))
    (recording,) = finding.find(tmp_path)
    assert (recording.instrument, recording.dastgah, recording.performer) == ("ney", "shur", "Kassai")


@pytest.mark.parametrize(("named", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_recordings_csv_matches_a_path_however_its_accents_are_stored(tmp_path, named, stored):
    put(tmp_path / unicodedata.normalize(stored, "ney/détaché آ.wav"))
    name = unicodedata.normalize(named, "ney/détaché آ.wav")
    (tmp_path / "recordings.csv").write_text(f"path,performer,bpm\n{name},B,90\u200e,,\n")
    assert [recording.bpm for recording in finding.find(tmp_path)] == [90.0]


def test_of_files_with_one_form_the_exact_name_is_meant(tmp_path):
    for name in ("é.wav", "e\u0301.wav"):
        put(tmp_path / "ney" / name)
    (tmp_path / "recordings.csv").write_text("path,bpm\nney/e\u0301.wav,90\nney/é.wav,100\n")
    assert {path: one.bpm for path, one in find(tmp_path).items()} == {"ney/é.wav": 100.0, "ney/e\u0301.wav": 90.0}
    (tmp_path / "recordings.csv").write_text("path,bpm\nney\\é.wav,90\n")
    with pytest.raises(TarkibError, match=r"line 2: 'ney.é\.wav' may be any of .*rename one"):
        finding.find(tmp_path)


def test_no_folder_and_no_recordings(tmp_path):
    with pytest.raises(TarkibError, match=r"nowhere: no such folder; .*data.raw"):
        finding.find(tmp_path / "nowhere")
    with pytest.raises(TarkibError, match="no recordings"):
        finding.find(tmp_path)


def test_an_id_follows_the_content(tmp_path):
    put(tmp_path / "a/ney/x.wav")
    put(tmp_path / "b/ney/another.wav")
    shutil.copy(tmp_path / "a/ney/x.wav", tmp_path / "b/ney/other.wav")
    assert find(tmp_path / "a")["ney/x.wav"].recording_id == find(tmp_path / "b")["ney/other.wav"].recording_id


def test_files_that_are_not_read_are_named(tmp_path):
    put(tmp_path / "ney/a.wav")
    (tmp_path / "recordings.csv").write_text("path,bpm\nney/a.wav,90\n")
    assert finding.remarks(tmp_path, folders.listing(tmp_path)) == []
    for name in ("recordings.xlsx", "ney/b.mp2"):
        put(tmp_path / name)
    (remark,) = finding.remarks(tmp_path, folders.listing(tmp_path))
    assert remark.endswith("not read: ney/b.mp2, recordings.xlsx")


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"other"), os.remove])
def test_a_recording_that_changes_meanwhile_is_an_error(tmp_path, change):
    path = put(tmp_path / "ney/a.wav")
    put(tmp_path / "ney/b.wav")
    recordings = finding.find(tmp_path)
    finding.check_unchanged(tmp_path, recordings)
    change(path)
    with pytest.raises(TarkibError, match=r"changed while they were read: ney/a\.wav; run dvc repro again"):
        finding.check_unchanged(tmp_path, recordings)
