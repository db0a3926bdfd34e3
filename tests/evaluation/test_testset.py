import unicodedata

import numpy as np
import pytest
import soundfile

from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.vocabulary import INSTRUMENTS


@pytest.fixture
def folder(tmp_path):
    """Call it with the content of labels.csv, or of tables by name, and the names of audio files."""

    def write(tables, *files):
        root = tmp_path / "test"
        root.mkdir(exist_ok=True)
        if not isinstance(tables, dict):
            tables = {} if tables is None else {"labels.csv": tables}
        for name, content in {**tables, **dict.fromkeys(files, b"sound")}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


def column(test, name):
    return test.targets[:, INSTRUMENTS.index(name)].tolist()


def test_soft_labels_in_a_table_of_any_name_are_cut_at_the_threshold(folder):
    root = folder(
        {"Soft.CSV": "sample_id,path,ney\nfirst,audio/a.wav,0.29\nb,b,0.3\n"}, "audio/a.wav", "b.wav", ".c.csv"
    )
    test = testset.load(root, label_threshold=0.3)
    assert (test.ids, test.paths, column(test, "ney")) == (
        ["first", "b"],
        [root / "audio/a.wav", root / "b.wav"],
        [0, 1],
    )
    assert not any("ignored" in note for note in test.notes)
    assert column(testset.load(root, label_threshold=1.0), "ney") == [0, 0]


def test_recordings_group_clips_in_any_spelling(folder):
    names = ("گلهاي 12", "گلهای  12", "Golha-12", "golha-12\u200f", "golha 1-2", "")
    files = [f"{k}.wav" for k in "abcdef"]
    table = "".join(f"{file},{name},1\n" for file, name in zip(files, names, strict=True))
    recordings = testset.load(folder(f"file,recording,ney\n{table}", *files)).recordings
    assert recordings == [names[0], names[0], names[2], names[2], names[4], "f.wav"]


@pytest.mark.parametrize(
    "labels",
    [
        b"\xef\xbb\xbfsample_id,tar\r\na,1\r\nb,0\r\n",
        b"Sample_ID;Tar\na;1\nb;0\n",
        b'\n"sample_id", "TAR"\n\n"a", 1.0\n , \nb,0\n',
        "sample_id,tår\na,1\nb,0\n".encode(),
        "sample_id;تار\r\na;1\r\nb;0\r\n".encode("cp1256"),
        b"sample_id,tar,notes; free\na,1,x\nb,0,\n",
    ],
    ids=["bom and crlf", "semicolons", "quotes and blank lines", "accent", "cp1256", "more marks"],
)
def test_ways_of_writing_a_table(folder, labels):
    test = testset.load(folder(labels, "a.wav", "b.wav"))
    assert (test.ids, column(test, "tar")) == (["a", "b"], [1, 0])


@pytest.mark.parametrize(
    ("name", "file", "others"),
    [
        ("clip", "clip.wav", ["old/clip.wav"]),  # a path wins over a bare name
        ("clip", "deep/down/clip.FLAC", []),
        ("deep\\clip.m4a", "deep/clip.m4a", []),
        ("./clip", "clip.aiff", []),
        ("song.01", "song.01.mp3", []),
        (unicodedata.normalize("NFC", "détaché"), unicodedata.normalize("NFD", "détaché.wav"), []),
        ("ني/سه\u200cگاه", "نی/سهگاه.wav", []),
        ("1", "001.mp3", ["100.mp3", "1.5.mp3"]),
        ("1.0", "audio/1.mp3", ["10.mp3"]),
        ("0", "00.mp3", []),
        ("01", "01.mp3", ["1.mp3"]),  # a name wins over an equal number
    ],
)
def test_ids_find_their_files(folder, name, file, others):
    root = folder(f"sample_id,ney\n{name},1\n", file, *others)
    assert testset.load(root).paths == [root / file]


HEADING = "sample_id,difficulty,singer,tar,oud\n"
# HamNava as it is posted: three parts, each with soft labels and once more with cut ones.
HAMNAVA = {
    name: content
    for part, clip in (("train", 1), ("validation", 2), ("test", 3))
    for name, content in (
        (f"{part}.csv", f"{HEADING}{clip},easy,0.9,0.4,0\n"),
        (f"{part}_bin.csv", f"{HEADING}{clip},easy,1,{clip % 2},0\n"),
    )
}


def test_hamnavas_posted_folder_loads_as_it_is(folder):
    root = folder(HAMNAVA, "audio/1.mp3", "audio/2.mp3", "audio/3.mp3")
    test = testset.load(root)
    assert (test.ids, column(test, "avaz"), column(test, "tar")) == (["3", "1", "2"], [1, 1, 1], [1, 1, 0])
    assert test.notes[:2] == [
        f"{root}: tables read together: test_bin.csv, train_bin.csv, validation_bin.csv",
        f"{root}: other tables in the folder, ignored: test.csv, train.csv, validation.csv",
    ]
    (root / "validation_bin.csv").unlink()  # the soft one is read and cut
    assert column(testset.load(root, label_threshold=0.3), "tar") == [1, 1, 1]
    assert column(testset.load(root, label_threshold=0.95), "avaz") == [1, 1, 0]
    (root / "labels.csv").write_text("sample_id,ney\n1,1\n")
    assert testset.load(root).notes[0].startswith(f"{root / 'labels.csv'}: other tables in the folder, ignored: ")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("tar,sample_id,ney\n0,1,1\n1,2.mp3,0\n", None),
        ("tar,sample_id,ney\n1,1,1\n", r"two\.csv, line 2: '1' is already in .*one\.csv, line 2; the labels differ"),
        ("tar,sample_id,ney\n1,1.mp3,1\n", r"two\.csv, line 2: '1\.mp3' is the same file as '1' .*one\.csv, line 2"),
        ("sample_id,ney,daf\n2,1,0\n", r"several tables, one\.csv, two\.csv; .* \(two\.csv has other columns than one"),
        ("clip,ney\n", r"several tables, one\.csv, two\.csv; rename the one with .* labels\.csv"),
    ],
)
def test_several_tables_must_agree(folder, second, message):
    root = folder({"one.csv": "sample_id,ney,tar\n1,0.8,0\n2,0,1\n", "two.csv": second}, "1.mp3", "2.mp3")
    if message is None:
        test = testset.load(root)
        assert (test.ids, column(test, "ney"), column(test, "tar")) == (["1", "2"], [1, 0], [0, 1])
    else:
        with pytest.raises(TarkibError, match=message):
            testset.load(root)


def test_what_is_left_out_is_noted(folder, tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/b.wav").write_bytes(b"sound")
    rows = "".join(f"gone{i},1,\n" for i in range(12))
    table = f"sample_id,ney,o\x1bud{'x' * 70_000}\na,1,\n{rows}b,0,\n{'b' * 70_000},1,\n"
    root = folder(table, "a.wav", "c.wav", "deep/d.mp3", "notes.txt", "._a.wav", ".cache/d.wav")
    (root / "more").symlink_to(tmp_path / "archive")
    (tmp_path / "archive/back").symlink_to(root)
    (root / "gone.wav").symlink_to(tmp_path / "gone.wav")
    test = testset.load(root)
    assert (test.ids, test.paths, column(test, "ney")) == (["a", "b"], [root / "a.wav", root / "more/b.wav"], [1, 0])
    columns, _, absent, unlabelled, links, _ = test.notes
    assert "o\\u001budxxx" in columns
    assert "(13): gone0, gone1," in absent
    assert absent.endswith("gone9 and 3 more")
    assert unlabelled.endswith("audio files without a row, left out: 2")
    assert "left out (2): gone.wav cannot be opened" in links
    assert "more/back leads to the folder .; no folder is read twice" in links
    assert len("".join(test.notes)) < 2_000


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
        ("\n \n", "is empty; write a heading"),
        ("sample_id,ney\n", "holds no clips; add one row"),
        ("clip,ney\na,1\n", "no column sample_id"),
        ("sample_id,oud,difficulty\na,1,2\n", "no column is one of the instruments ney"),
        ("sample_id,singer,ney,avaz\na,1,0,1\n", "columns singer, avaz all mean avaz; keep one"),
        ("sample_id,ney\na,1\na,0\n", "line 3: 'a' is already in .*line 2; keep one of the two rows"),
        ("sample_id,file,ney\na,a.wav,1\na,b.wav,1\n", "line 3: 'a' is already in line 2; keep one of the two rows"),
        ("sample_id,ney\na,1\na.wav,0\n", r"line 3: 'a\.wav' is the same file as 'a' .*line 2; keep"),
        ("sample_id,ney\na,1\nb,1.5\n", r"line 3: ney is '1\.5'; write 1"),
        ("sample_id,ney\na,1\n\nb,\n", "line 4: ney is blank"),
        ("sample_id,ney\na,nan\n", "line 2: ney is 'nan'"),
        ("sample_id,ney\na,1,0\n", "line 2: 3 values where the heading has 2"),
        ("sample_id,ney\n,1\n", "line 2: sample_id is blank"),
        ("sample_id,ney\nx,1\ny,0\n", r"not one of its clips \(x, y\) has an audio file"),
        ("sample_id,ney\nc,1\n", r"line 2: 'c' may be any of c\.mp3, c\.wav; write its path"),
        ("sample_id,ney\nd.wav,1\n", r"may be any of one/d\.wav, two/d\.wav"),
        ("sample_id,ney\n1.0,1\n", r"line 2: '1\.0' may be any of 1\.mp3, one/01\.mp3"),
    ],
)
def test_bad_tables_say_what_to_do(folder, labels, message):
    files = ("a.wav", "b.wav", "c.wav", "c.mp3", "one/d.wav", "two/d.wav", "1.mp3", "one/01.mp3")
    with pytest.raises(TarkibError, match=message):
        testset.load(folder(labels, *files))


def test_a_folder_where_a_file_belongs_and_the_reverse(folder):
    root = folder("sample_id,ney\na,1\n", "other/labels.csv/a.wav")
    with pytest.raises(TarkibError, match=r"labels\.csv: is a file; set data\.test to its folder"):
        testset.load(root / "labels.csv")
    with pytest.raises(TarkibError, match=r"labels\.csv: cannot be read .Is a directory"):
        testset.load(root / "other")


@pytest.mark.slow
def test_decoding_leaves_out_what_cannot_be_decoded(folder):
    root = folder("sample_id,ney\na,1\nb,0\nempty,1\nhour,1\nc,1\n", "a.wav", "b.wav")
    (root / "empty.wav").touch()
    soundfile.write(root / "hour.flac", np.zeros(4_000 * 3_661, np.int16), 4_000)
    wave = np.arange(96_000) % 99 / 99
    soundfile.write(root / "a.wav", np.stack([wave, wave], 1), 48_000)
    soundfile.write(root / "c.wav", np.stack([wave, -wave], 1), 48_000)
    found = testset.load(root)
    test, samples = testset.decode(found)
    assert (test.ids, test.recordings, [path.stem for path in test.paths]) == (["a", "c"],) * 3
    assert column(test, "ney") == [1, 1]
    assert [one.shape for one in samples] == [(48_000,)] * 2
    *reasons, remark = test.notes[len(found.notes) :]
    assert reasons == [
        f"{root / 'b.wav'}: cannot be decoded (Could not open input: Invalid data found when processing input); "
        "is it a damaged file, or another format?; "
        "left out of the test set",
        f"{root / 'empty.wav'}: the file is empty; left out of the test set",
        f"{root / 'hour.flac'}: is longer than 3600 s; cut it; left out of the test set",
    ]
    assert remark.startswith(f"{root / 'c.wav'}: its channels are in opposite phase")
    for name in ("a.wav", "c.wav"):
        (root / name).write_bytes(b"sound")
    with pytest.raises(
        TarkibError, match=r"not one of the test set's 5 audio files can be used, such as .*a\.wav: can"
    ):
        testset.decode(found)
