import unicodedata

import numpy as np
import pytest
import soundfile

from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.vocabulary import INSTRUMENTS


@pytest.fixture
def folder(tmp_path):
    """Call it with the content of labels.csv and the names of audio files to write a test set."""

    def write(labels, *files):
        root = tmp_path / "test"
        root.mkdir(exist_ok=True)
        if labels is not None:
            (root / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
        for name in files:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"sound")
        return root

    return write


def column(test, name):
    return test.targets[:, INSTRUMENTS.index(name)].tolist()


def test_the_layout_of_hamnava(folder):
    root = folder(
        "sample_id, difficulty, singer, tar, ney, setar, santour, kamancheh, tonbak, oud, daf\n"
        "1, easy, 1, 0, 0, 0, 0.5, 0, 1, 0, 0\n"
        "2, hard, 0, 1, 0.4, 0, 0, 1, 0, 1, 1\n",
        "audio/1.mp3",
        "audio/2.mp3",
    )
    test = testset.load(root)
    assert test.ids == test.recordings == ["1", "2"]
    assert test.paths == [root / "audio/1.mp3", root / "audio/2.mp3"]
    assert test.targets.shape == (2, 10)
    expected = {"avaz": [1, 0], "tar": [0, 1], "ney": [0, 0], "setar": [0, 0], "santur": [1, 0]}
    expected |= {"kamancheh": [0, 1], "tonbak": [1, 0], "daf": [0, 1]}
    assert {name: column(test, name) for name in expected} == expected
    assert np.isnan(column(test, "piano")).all()
    assert np.isnan(column(test, "violin")).all()
    assert [note.rpartition(": ")[2] for note in test.notes] == ["difficulty, oud", "piano, violin"]


def test_soft_labels_are_cut_at_the_threshold(folder):
    root = folder("sample_id,ney\na,0.29\nb,0.3\nc,1\n", "a.wav", "b.wav", "c.wav")
    assert column(testset.load(root, label_threshold=0.3), "ney") == [0, 1, 1]
    assert column(testset.load(root, label_threshold=1.0), "ney") == [0, 0, 1]


def test_recordings_group_clips(folder):
    root = folder("file,recording,ney\na.wav,tape 1,1\nb.wav,tape 1,0\nc.wav,,1\n", "a.wav", "b.wav", "c.wav")
    assert testset.load(root).recordings == ["tape 1", "tape 1", "c.wav"]


def test_spellings_of_one_recording_group_clips(folder):
    names = ("گلهاي 12", "گلهای  12", "Golha-12", "golha-12\u200f", "golha 1-2")
    files = [f"{k}.wav" for k in "abcde"]
    table = "".join(f"{file},{name},1\n" for file, name in zip(files, names, strict=True))
    found = testset.load(folder(f"file,recording,ney\n{table}", *files)).recordings
    assert found == [names[0], names[0], names[2], names[2], names[4]]


@pytest.mark.parametrize(
    "labels",
    [
        b"\xef\xbb\xbfsample_id,tar\r\na,1\r\nb,0\r\n",
        b"Sample_ID;Tar\na;1\nb;0\n",
        b"sample_id,tar,remarks; free\na,1,\nb,0,noisy\n",
        b'\n"sample_id", "TAR"\n\n"a", 1.0\n , \nb,0\n',
        "sample_id,tår\na,1\nb,0\n".encode(),
        "sample_id,تار\na,1\nb,0\n".encode(),
        "sample_id;تار\r\na;1\r\nb;0\r\n".encode("cp1256"),
        "sample_id\tتار\na\t1\nb\t0\n".encode("utf-16"),
        b"sample_id,tar,notes\na,1," + b"x" * 200_000 + b"\nb,0,\n",
    ],
    ids=[
        *("bom and crlf", "semicolons", "commas and a semicolon", "quotes and blank lines", "accent"),
        *("Persian", "cp1256", "utf-16", "a long cell"),
    ],
)
def test_ways_of_writing_a_table(folder, labels):
    test = testset.load(folder(labels, "a.wav", "b.wav"))
    assert (test.ids, column(test, "tar")) == (["a", "b"], [1, 0])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("clip", "clip.wav"),
        ("clip.wav", "clip.wav"),
        ("clip", "deep/down/clip.FLAC"),
        ("deep/clip", "deep/clip.ogg"),
        ("deep\\clip.m4a", "deep/clip.m4a"),
        ("./clip", "clip.aiff"),
        ("song.01", "song.01.mp3"),
        (unicodedata.normalize("NFC", "détaché"), unicodedata.normalize("NFD", "détaché.wav")),
        ("ني/سه\u200cگاه", "نی/سهگاه.wav"),
    ],
)
def test_ids_find_their_files(folder, name, file):
    root = folder(f"sample_id,ney\n{name},1\n", file)
    assert testset.load(root).paths == [root / file]


@pytest.mark.parametrize(
    ("name", "file"), [("1", "001.mp3"), ("001", "1.mp3"), ("1.0", "audio/1.mp3"), ("10", "10.mp3"), ("0", "00.mp3")]
)
def test_numbers_find_their_files_however_they_are_written(folder, name, file):
    root = folder(f"sample_id,ney\n{name},1\n", file, "100.mp3", "1.5.mp3")
    assert testset.load(root).paths == [root / file]


def test_a_name_wins_over_an_equal_number(folder):
    root = folder("sample_id,ney\n1,1\n01,0\n", "1.mp3", "01.mp3")
    assert [path.name for path in testset.load(root).paths] == ["1.mp3", "01.mp3"]


def test_an_equal_number_may_be_ambiguous(folder):
    root = folder("sample_id,ney\n1.0,1\n", "1.mp3", "audio/01.mp3")
    with pytest.raises(TarkibError, match=r"line 2: '1\.0' may be any of 1\.mp3, audio/01\.mp3"):
        testset.load(root)


@pytest.mark.parametrize("place", ["HamNava.CSV", "tables/hamnava.csv", "tables/labels.csv"])
def test_the_table_may_have_any_name(folder, place):
    root = folder(None, "audio/a.wav", ".hidden/other.csv", "deep/down/other.csv")
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text("sample_id,ney\na,1\n")
    test = testset.load(root)
    assert test.paths == [root / "audio/a.wav"]
    assert not any("ignored" in note for note in test.notes)


def test_labels_csv_wins_over_other_tables_which_are_named(folder):
    root = folder("sample_id,ney\na,1\n", "a.wav", "notes.csv", "more.csv", "deep/labels.csv")
    test = testset.load(root)
    assert test.ids == ["a"]
    assert test.notes[0].endswith("labels.csv: other tables in the folder, ignored: more.csv, notes.csv")


HAMNAVA = "sample_id,difficulty,singer,tar,oud\n"


def hamnava(root):
    """HamNava as it is posted: three parts, each with soft labels and once more with cut ones."""
    for part, clip in (("train", 1), ("validation", 2), ("test", 3)):
        (root / f"{part}.csv").write_text(f"{HAMNAVA}{clip},easy,0.9,0.4,0\n")
        (root / f"{part}_bin.csv").write_text(f"{HAMNAVA}{clip},easy,1,{clip % 2},0\n")


def test_hamnavas_posted_folder_loads_as_it_is(folder):
    root = folder(None, "audio/1.mp3", "audio/2.mp3", "audio/3.mp3")
    hamnava(root)
    test = testset.load(root)
    assert (test.ids, column(test, "avaz"), column(test, "tar")) == (["3", "1", "2"], [1, 1, 1], [1, 1, 0])
    assert test.notes[0] == (
        f"{root}: tables read together: test_bin.csv, train_bin.csv, validation_bin.csv; "
        "ignored: test.csv, train.csv, validation.csv"
    )
    assert len(test.notes) == 3


def test_soft_tables_without_cut_ones_are_cut(folder):
    root = folder(None, "1.mp3", "2.mp3", "3.mp3")
    hamnava(root)
    (root / "validation_bin.csv").unlink()
    assert column(testset.load(root, label_threshold=0.3), "tar") == [1, 1, 1]
    assert column(testset.load(root, label_threshold=0.5), "tar") == [1, 1, 0]
    assert column(testset.load(root, label_threshold=0.95), "avaz") == [1, 1, 0]


def test_labels_csv_wins_over_hamnavas_tables(folder):
    root = folder("sample_id,ney\n1,1\n", "1.mp3")
    hamnava(root)
    assert testset.load(root).notes[0].startswith(f"{root / 'labels.csv'}: other tables in the folder, ignored: ")


def test_a_clip_of_several_tables_counts_once_if_they_agree(folder):
    root = folder(None, "1.mp3", "2.mp3")
    (root / "one.csv").write_text("sample_id,ney,tar\n1,0.8,0\n2,0,1\n")
    (root / "two.csv").write_text("tar,sample_id,ney\n0,1,1\n1,2.mp3,0\n")
    test = testset.load(root)
    assert (test.ids, column(test, "ney"), column(test, "tar")) == (["1", "2"], [1, 0], [0, 1])
    (root / "two.csv").write_text("tar,sample_id,ney\n1,1,1\n")
    with pytest.raises(TarkibError, match=r"two\.csv, line 2: '1' is already in .*one\.csv, line 2; the labels"):
        testset.load(root)
    (root / "two.csv").write_text("tar,sample_id,ney\n1,1.mp3,1\n")
    with pytest.raises(TarkibError, match=r"two\.csv, line 2: '1\.mp3' is the same file as '1' in .*one\.csv, line 2"):
        testset.load(root)


def test_tables_with_different_columns_are_not_read_together(folder):
    root = folder(None, "1.mp3", "2.mp3")
    (root / "one.csv").write_text("sample_id,ney,tar\n1,1,0\n")
    (root / "two.csv").write_text("sample_id,ney,daf\n2,1,0\n")
    with pytest.raises(
        TarkibError, match=r"several tables, one\.csv, two\.csv; .* \(two\.csv has other columns than one"
    ):
        testset.load(root)


def test_several_tables_are_an_error_that_names_them(folder):
    root = folder(None, "a.wav", "one.csv", "two.csv")
    with pytest.raises(TarkibError, match=r"several tables, one\.csv, two\.csv; rename the one with .* labels\.csv"):
        testset.load(root)


def test_a_test_set_is_a_folder_and_no_table(folder):
    root = folder("sample_id,ney\na,1\n", "a.wav")
    with pytest.raises(TarkibError, match=r"labels\.csv: is a file; set data\.test to its folder"):
        testset.load(root / "labels.csv")


def test_a_path_wins_over_a_bare_name(folder):
    root = folder("sample_id,ney\nclip,1\n", "clip.wav", "old/clip.wav")
    assert testset.load(root).paths == [root / "clip.wav"]


def test_a_path_column_finds_what_the_id_names(folder):
    test = testset.load(folder("sample_id,path,ney\nfirst,audio/17.wav,1\n", "audio/17.wav"))
    assert (test.ids, test.paths[0].name) == (["first"], "17.wav")


def test_absent_files_are_named_once_and_left_out(folder):
    rows = "".join(f"gone{i},1,0\n" for i in range(12))
    test = testset.load(folder(f"sample_id,ney,tar\na,1,0\n{rows}b,0,1\n", "a.wav", "b.wav"))
    assert (test.ids, column(test, "ney"), column(test, "tar")) == (["a", "b"], [1, 0], [0, 1])
    notes = [note for note in test.notes if "gone" in note]
    assert len(notes) == 1
    assert "(12): gone0, gone1," in notes[0]
    assert notes[0].endswith("gone9 and 2 more")


def test_links_are_followed_and_what_leads_nowhere_is_noted(folder, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/b.wav").write_bytes(b"sound")
    root = folder("sample_id,ney\na,1\nb,0\n", "a.wav")
    (root / "more").symlink_to(tmp_path / "archive")
    (tmp_path / "archive/back").symlink_to(root)
    (root / "gone.wav").symlink_to(tmp_path / "gone.wav")
    test = testset.load(root)
    assert test.paths == [root / "a.wav", root / "more/b.wav"]
    (note,) = (note for note in test.notes if "left out (2)" in note)
    assert "gone.wav cannot be opened" in note
    assert "more/back leads to the folder .; no folder is read twice" in note


def test_labels_csv_may_be_a_folder_by_mistake(folder):
    root = folder(None, "a.wav")
    (root / "labels.csv").mkdir()
    with pytest.raises(TarkibError, match=r"labels\.csv: is a folder"):
        testset.load(root)


def test_notes_stay_short_and_printable(folder):
    root = folder(f"sample_id,ney,{'x' * 70_000},o\x1bud\na,1,,\n{'b' * 70_000},1,,\n", "a.wav")
    notes = "\n".join(testset.load(root).notes)
    assert len(notes) < 2_000
    assert "o\\u001bud" in notes


def test_files_without_a_row_are_counted(folder):
    root = folder("sample_id,ney\na,1\n", "a.wav", "b.wav", "deep/c.mp3", "notes.txt", "._a.wav", ".cache/d.wav")
    assert testset.load(root).notes[-1].endswith("audio files without a row, left out: 2")


@pytest.mark.parametrize(
    "name", ["../secret", "deep/../../secret.wav", "/etc/secret.wav", "..\\secret", "C:\\secret.wav"]
)
def test_ids_never_lead_out_of_the_folder(folder, name):
    root = folder(f"sample_id,ney\na,1\n{name},1\n", "a.wav", "deep/b.wav", "../secret.wav")
    with pytest.raises(TarkibError, match=r"labels\.csv, line 3: .*secret.* leads out of the folder"):
        testset.load(root)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"labels\.csv: not there; .*sample_id"),
        ("", "is empty; write a heading"),
        ("\n \n", "is empty; write a heading"),
        ("sample_id,ney\n", "holds no clips; add one row"),
        ("clip,ney\na,1\n", "no column sample_id"),
        ("sample_id,oud,difficulty\na,1,2\n", "no column is one of the instruments ney"),
        ("sample_id,singer,ney,avaz\na,1,0,1\n", "columns singer, avaz all mean avaz; keep one"),
        ("sample_id,sample_id,ney\na,a,1\n", "column sample_id is there more than once"),
        ("sample_id,ney\na,1\na,0\n", "line 3: 'a' is already in line 2"),
        ("sample_id,ney\na,1\na.wav,0\n", r"line 3: 'a\.wav' is the same file as 'a' in line 2"),
        ("sample_id,ney\na,1\nb,1.5\n", r"line 3: ney is '1\.5'; write 1"),
        ("sample_id,ney\na,1\nb,-0.1\n", "line 3: ney is '-0.1'"),
        ("sample_id,ney\na,1\n\nb,\n", "line 4: ney is blank"),
        ("sample_id,ney\na,yes\n", "line 2: ney is 'yes'"),
        ("sample_id,ney\na,nan\n", "line 2: ney is 'nan'"),
        ("sample_id;ney\na;0,5\n", "line 2: ney is '0,5'"),
        ("sample_id,ney\na\n", "line 2: 1 values where the heading has 2"),
        ("sample_id,ney\na,1,0\n", "line 2: 3 values where the heading has 2"),
        ("sample_id,ney\n,1\n", "line 2: sample_id is blank"),
        ('sample_id,ney\n"a,1\n', "not valid CSV"),
        ("sample_id,ney\nx,1\ny,0\n", r"not one of its clips \(x, y\) has an audio file"),
        ("sample_id,ney\nc,1\n", r"line 2: 'c' may be any of c\.mp3, c\.wav; write its path"),
        ("sample_id,ney\nd.wav,1\n", r"may be any of one/d\.wav, two/d\.wav"),
        ("sample_id,näy\na,1\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_bad_tables_say_what_to_do(folder, labels, message):
    root = folder(labels, "a.wav", "b.wav", "c.wav", "c.mp3", "one/d.wav", "two/d.wav")
    with pytest.raises(TarkibError, match=message):
        testset.load(root)


def test_decoding_leaves_out_what_cannot_be_decoded(folder):
    root = folder("sample_id,ney\na,1\nb,0\nempty,1\nc,1\n", "a.wav", "b.wav", "c.wav", "empty.wav")
    (root / "empty.wav").write_bytes(b"")
    for seconds, name in ((1, "a"), (2, "c")):
        soundfile.write(root / f"{name}.wav", np.full((seconds * 48_000, 2), 0.25), 48_000)
    found = testset.load(root)
    test, samples = testset.decoded(found)
    assert (test.ids, test.recordings, [path.stem for path in test.paths]) == (["a", "c"],) * 3
    assert column(test, "ney") == [1, 1]
    assert [one.shape for one in samples] == [(24_000,), (48_000,)]
    assert [note.partition("; left out")[0] for note in test.notes[-2:]] == [
        f"{root / 'b.wav'}: cannot be decoded (Format not recognised); is it a damaged file, or another format?",
        f"{root / 'empty.wav'}: the file is empty",
    ]
    assert len(test.notes) == len(found.notes) + 2


def test_hours_of_one_file_are_left_out_without_decoding(folder):
    root = folder("sample_id,ney\na,1\nb,0\n", "a.flac", "b.flac")
    soundfile.write(root / "a.flac", np.zeros(4_000 * 3_661, np.int16), 4_000)
    soundfile.write(root / "b.flac", np.stack([np.arange(48_000) % 99, -(np.arange(48_000) % 99)], 1) / 99, 24_000)
    test, samples = testset.decoded(testset.load(root))
    assert test.ids == ["b"]
    assert samples[0].max() > 0.9
    assert f"{root / 'a.flac'}: is longer than 3600 s; cut it; left out of the test set" in test.notes
    assert test.notes[-1].startswith(f"{root / 'b.flac'}: its channels are in opposite phase")


def test_nothing_to_decode(folder):
    with pytest.raises(
        TarkibError, match=r"not one of the test set's 2 audio files can be used, such as .*a\.wav: cannot"
    ):
        testset.decoded(testset.load(folder("sample_id,ney\na,1\nb,0\n", "a.wav", "b.wav")))
