import os
import shutil

import pytest

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.recordings import finding, folders
from tarkib.vocabulary import INSTRUMENTS


def put(path):
    """A file whose content differs from that of all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(str(path).encode())
    return path


def find(root):
    return {recording.path: recording for recording in finding.find(root)}


def usable(root):
    return [path for path, recording in find(root).items() if recording.usable]


def test_folders_label_in_any_spelling_and_unknown_ones_are_named(tmp_path):
    labels = {
        "Santoor/Mahoor/deeper/a.wav": ("santur", "mahur"),
        "sitar/b.flac": ("setar", None),
        "zarb/solo/c.ogg": ("tonbak", None),
    }
    reasons = {
        "oud/shur/a.wav": "unknown instrument (folder 'oud/shur'); known are ney, tar",
        "ney/blues/b.wav": "unknown dastgah (folder 'blues'); known are shur",
        "c.wav": "unknown instrument (file outside any folder)",
    }
    for path in (*labels, *reasons):
        put(tmp_path / path)
    recordings = find(tmp_path)
    assert {path: (recordings[path].instrument, recordings[path].dastgah) for path in labels} == labels
    assert set(usable(tmp_path)) == set(labels)
    assert all(recordings[path].reason.startswith(reason) for path, reason in reasons.items())


def test_an_avaz_is_a_label_beside_its_dastgah(tmp_path):
    labels = {
        "ney/Dashti/a.wav": ("shur", "dashti"),
        "tar/homayoun/بیات اصفهان/b.wav": ("homayoun", "esfahan"),
        "tar/mahur/dashti/c.wav": ("mahur", None),
        "avaz/d.wav": ("shur", "bayat-e tork"),
        "ney/abuata/e.wav": ("shur", None),
        "ney/shur/dashti/g.wav": ("shur", None),
        "ney/mahur/dashti/h.wav": ("shur", None),
        "daf/afshari/f.wav": (None, None),
    }
    for path in labels:
        put(tmp_path / path)
    overridden = ("ney/abuata/e.wav", "ney/shur/dashti/g.wav", "ney/mahur/dashti/h.wav")
    rows = ["path,dastgah", "avaz/d.wav,Bayat Tork", *(f"{path},shur" for path in overridden)]
    (tmp_path / "recordings.csv").write_text("\n".join(rows))
    found = find(tmp_path)
    assert {path: (found[path].dastgah, found[path].avaz) for path in labels} == labels


def test_the_same_bytes_count_once_and_not_at_all_under_two_labels(tmp_path):
    shutil.copy(put(tmp_path / "ney/shur/a.wav"), tmp_path / "ney/shur/b.wav")
    assert find(tmp_path)["ney/shur/b.wav"].reason == "the same bytes as ney/shur/a.wav, which is used"
    put(tmp_path / "tar/c.wav")
    for name in "de":
        shutil.copy(tmp_path / "ney/shur/a.wav", tmp_path / f"tar/{name}.wav")
    assert usable(tmp_path) == ["tar/c.wav"]
    recordings = find(tmp_path)
    (tmp_path / "avaz/shur/dashti").mkdir(parents=True)
    for name in ("avaz/shur/1.wav", "avaz/shur/dashti/2.wav"):
        (tmp_path / name).write_bytes(b"equal")
    assert find(tmp_path)["avaz/shur/1.wav"].reason.startswith("the same bytes as avaz/shur/dashti/2.wav, but labelled")
    for path, other in (("ney/shur/b.wav", "tar/d.wav"), ("tar/e.wav", "ney/shur/a.wav")):
        assert recordings[path].reason == f"the same bytes as {other}, but labelled differently; keep the right one"


def test_recordings_that_cannot_be_used_are_rows_with_a_reason(tmp_path):
    put(tmp_path / "ney/a.wav")
    (tmp_path / "ney/self.wav").symlink_to("self.wav")
    (tmp_path / "ney" / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"sound")
    (tmp_path / "ney/empty.wav").touch()
    recordings = find(tmp_path)
    assert usable(tmp_path) == ["ney/a.wav"]
    assert recordings["ney/caf\\xe9.wav"].reason == "its name is not UTF-8 text; rename it"
    assert recordings["ney/empty.wav"].reason == "the file is empty"
    assert "levels of symbolic links" in recordings["ney/self.wav"].reason
    rows = [recording.row for recording in recordings.values()]
    tables.RECORDINGS.write(tmp_path / "recordings.parquet", rows)
    assert [row["path"] for row in tables.RECORDINGS.read(tmp_path / "recordings.parquet")] == list(recordings)


@pytest.mark.parametrize("name", ["recordings.csv", "Recordings.CSV"])
def test_recordings_csv_overrides_folders(tmp_path, name):
    (tmp_path / name).write_text(
        "path,instrument,dastgah,performer,tonic_hz,bpm\nney/shur/a.wav,,segah,Kassai,311.5, 92\n"
        "box/b.wav,santour,,,,\ndaf/d.wav,,,,100,\noud/e.wav,lute,,,,\noud/f.wav,tar,blues,,,\n",
        encoding="utf-8-sig",
    )
    for path in ("ney/shur/a.wav", "box/b.wav", "ney/c.wav", "daf/d.wav", "oud/e.wav", "oud/f.wav"):
        put(tmp_path / path)
    *used, lute, blues = finding.find(tmp_path)
    used.sort(key=lambda one: one.path)
    assert [(one.instrument, one.dastgah, one.performer, one.tonic_hz, one.bpm) for one in used] == [
        ("santur", None, None, None, None),
        ("daf", None, None, None, None),  # a drum has no tonic
        ("ney", None, None, None, None),
        ("ney", "segah", "Kassai", 311.5, 92.0),
    ]
    assert lute.reason.startswith("unknown instrument (in recordings.csv 'lute')")
    assert blues.reason.startswith("unknown dastgah (in recordings.csv 'blues'); known are shur")
    assert blues.reason.endswith("where it is not known, leave it blank")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,bpm\nney/a.wav,fast\n", "line 2: bpm is 'fast'; give a number between 20 and 400"),
        ("path,tonic_hz\nney/a.wav,nan\n", "line 2: tonic_hz is 'nan'; give a number between 20 and 5000"),
        ("path,performer\nney/none.wav,A\n", "names files that are not there: 'ney/none.wav'"),
        ("file,performer\nney/a.wav,A\n", "columns must be path and any of"),
        ("path\nney/a.wav\nney/a.wav\n", "line 3: a second row for 'ney/a.wav'; keep one"),
        ("", "it has nothing"),
        ("path,bpm\n,90\n", "line 2: path is blank; name the recording"),
        ("path,bpm\nney/a.wav," + "9" * 100_000, r"bpm is '9{60}…' \(100000 characters\); give"),
    ],
    ids=range(8),
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


def test_recordings_csv_matches_a_path_however_its_accents_are_stored(tmp_path):
    for name in ("é.wav", "e\u0301.wav", "détaché.wav"):
        put(tmp_path / "ney" / name)
    table = tmp_path / "recordings.csv"
    table.write_text("path,bpm\nney/e\u0301.wav,90\nney/é.wav,100\nney/de\u0301tache\u0301.wav,70\u200e,\n")
    tempi = {path: one.bpm for path, one in find(tmp_path).items()}
    assert tempi == {"ney/é.wav": 100.0, "ney/e\u0301.wav": 90.0, "ney/détaché.wav": 70.0}
    table.write_text("path,bpm\nney\\é.wav,90\n")
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
    for name in ("Recordings.xlsx", "ney/b.mp2"):
        put(tmp_path / name)
    (remark,) = finding.remarks(tmp_path, folders.listing(tmp_path))
    assert remark.endswith("not read: Recordings.xlsx, ney/b.mp2")


def found_in(own, demo, fill=True):
    recordings = finding.find_all(tables.Roots(own, demo), folders.listing(own), fill=fill)
    return [(one.origin, one.path, one.usable) for one in recordings]


def test_the_orchestra_plays_what_has_no_recordings(tmp_path):
    """Equal paths in both folders mean two files; an unusable recording counts as one."""
    own, demo = tmp_path / "own", tmp_path / "demo"
    put(own / "ney/shur/a.wav")
    (own / "daf").mkdir()
    (own / "daf/empty.wav").touch()
    put(own / "shared/d.wav")
    for path in ("ney/shur/a.wav", "daf/b.wav", "tar/shur/c.wav", "shared/d.wav"):
        put(demo / path)
    (own / "recordings.csv").write_text("path,instrument\nshared/d.wav,setar\n")
    (demo / "recordings.csv").write_text("path,instrument,performer\nshared/d.wav,avaz,demo\ntar/shur/c.wav,,demo\n")
    labelled = [("own", "daf/empty.wav", False), ("own", "ney/shur/a.wav", True), ("own", "shared/d.wav", True)]
    assert found_in(own, demo, fill=False) == labelled
    assert found_in(own, demo) == [*labelled, ("demo", "shared/d.wav", True), ("demo", "tar/shur/c.wav", True)]
    roots = tables.Roots(own, demo)
    both = [one for one in finding.find_all(roots, folders.listing(own), fill=True) if one.path == "shared/d.wav"]
    assert [roots.file(one.row).read_bytes() for one in both] == [str(root / "shared/d.wav").encode() for root in roots]
    assert len({one.recording_id for one in both}) == 2
    # A copy of the orchestra's under another label is the mistake that it is within one folder.
    shutil.copy(demo / "tar/shur/c.wav", own / "ney/shur/c.wav")
    assert ("own", "ney/shur/c.wav", False) in found_in(own, demo)
    assert ("demo", "tar/shur/c.wav", False) in found_in(own, demo)


def test_the_orchestra_itself_is_synthetic_and_needed_only_where_something_is_missing(tmp_path):
    demo, own = tmp_path / "demo", tmp_path / "own"
    put(own / "ney/a.wav")
    with pytest.raises(TarkibError, match=r"demo: no such folder, .* takes avaz, daf.*; run dvc repro demo, or set"):
        found_in(own, demo)
    assert found_in(own, demo, fill=False) == [("own", "ney/a.wav", True)]
    for name in INSTRUMENTS:
        put(own / name / "b.wav")
    assert {origin for origin, *_ in found_in(own, demo)} == {"own"}
    put(demo / "tar/a.wav")
    (tmp_path / "link").symlink_to(demo)
    for fill in (True, False):
        assert found_in(demo, demo, fill) == found_in(tmp_path / "link", demo, fill) == [("demo", "tar/a.wav", True)]


def test_collections_are_folders_above_the_instruments(tmp_path):
    """Each may have a table of its own; that of a folder above replaces its rows."""
    labels = {
        "radif/ney/shur/a.wav": ("ney", "shur", "Kassai"),
        "radif/ney/b.wav": ("ney", None, "Musavi"),
        "radio/Golha 12/tar/mahur/more/c.wav": ("tar", "mahur", None),
        "tar/avaz/d.wav": ("tar", None, None),
    }
    for path in (*labels, "radio/oud/e.wav"):
        put(tmp_path / path)
    (tmp_path / "radif/recordings.csv").write_text("path,performer\nney/shur/a.wav,Kassai\nney/b.wav,Nayeb\n")
    (tmp_path / "recordings.csv").write_text("path,performer\nradif/ney/b.wav,Musavi\n")
    found = find(tmp_path)
    reason = found.pop("radio/oud/e.wav").reason
    assert reason.startswith("unknown instrument (folder 'radio/oud'); known are")
    assert {path: (one.instrument, one.dastgah, one.performer) for path, one in found.items()} == labels
    assert found["tar/avaz/d.wav"].reason.startswith("unknown dastgah (folder 'avaz')")
    assert finding.remarks(tmp_path, folders.listing(tmp_path)) == []
    (tmp_path / "radif/recordings.csv").write_text("path,performer\nshur/a.wav,Kassai\n")
    with pytest.raises(TarkibError, match=r"radif/recordings.csv: names files that are not there: 'shur/a.wav'"):
        find(tmp_path)


def test_folders_that_contradict_each_other_are_rejected(tmp_path):
    """A collection is no dastgah, and holds one instrument at a time; a table decides."""
    for path in ("shur/tar/a.wav", "radif/Avaz/Dashti/tar/b.wav", "radif/Avaz/tar/c.wav", "radif/tar/shur/tar/d.wav"):
        put(tmp_path / path)
    (tmp_path / "recordings.csv").write_text("path,instrument,dastgah\nradif/Avaz/tar/c.wav,tar,shur\n")
    found = find(tmp_path)
    remedy = "contradict each other; label it in recordings.csv"
    assert found["shur/tar/a.wav"].reason == f"folders 'shur' and 'tar' {remedy}"
    assert found["radif/Avaz/Dashti/tar/b.wav"].reason == f"folders 'tar' and 'Avaz' {remedy}"
    assert [path for path, one in found.items() if one.usable] == ["radif/Avaz/tar/c.wav", "radif/tar/shur/tar/d.wav"]


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"other"), os.remove])
def test_a_recording_that_changes_meanwhile_is_an_error(tmp_path, change):
    path = put(tmp_path / "ney/a.wav")
    put(tmp_path / "ney/b.wav")
    recordings = finding.find(tmp_path)
    roots = tables.Roots(tmp_path, tmp_path)
    finding.check_unchanged(roots, recordings)
    change(path)
    with pytest.raises(TarkibError, match=r"changed while they were read: .*/ney/a\.wav; run dvc repro again"):
        finding.check_unchanged(roots, recordings)
