import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write

from tarkib.app import table
from tarkib.app.labelling import Labels
from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.runtime import outputs
from tarkib.vocabulary import INSTRUMENTS

HEADING = "sample_id,recording," + ",".join(INSTRUMENTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six excerpts, one of them in a sub-folder."""
    for name in ("a.wav", "b.wav", "c.flac", "d.wav", "e.wav", "more/f.wav"):
        write(tmp_path / name, noise(0.2))
    return tmp_path


def text_of(folder: Path) -> str:
    return (folder / "labels.csv").read_bytes().decode()


def put(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_bytes(text.encode())


def read_back(folder: Path) -> dict[str, np.ndarray]:
    """Targets as the pipeline reads them, by file name."""
    test = testset.load(folder)
    return dict(zip((path.name for path in test.paths), test.targets, strict=True))


def test_a_new_file_is_what_the_pipeline_reads(folder):
    labels = Labels(folder)
    assert (len(labels), labels.labelled, labels.first_unlabelled()) == (6, 0, 0)
    assert not (folder / "labels.csv").exists()
    labels.set(labels.key(0), "tar", True)
    assert text_of(folder) == f"{HEADING}\na,,0,1,0,0,0,0,0,0,0,0\n"
    labels.set(labels.key(5), "avaz", True)
    labels.set_recording(labels.key(0), "  golha,  012 ")
    assert text_of(folder).splitlines()[1:] == ['a,"golha, 012",0,1,0,0,0,0,0,0,0,0', "more/f,,0,0,0,0,0,0,0,0,0,1"]
    test = testset.load(folder)
    assert [path.name for path in test.paths] == ["a.wav", "f.wav"]
    assert test.recordings == ["golha, 012", "more/f"]
    assert test.targets.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]


def test_nothing_plays_is_another_thing_than_not_labelled(folder):
    labels = Labels(folder)
    key = labels.key(1)
    assert not labels.excerpt(key).labelled
    assert labels.excerpt(key).values == (None,) * 10
    labels.confirm(key)
    assert labels.excerpt(key).labelled
    assert labels.excerpt(key).values == (0.0,) * 10
    assert labels.first_unlabelled() == 0
    assert list(read_back(folder)) == ["b.wav"]
    before = text_of(folder)
    labels.confirm(key)
    assert text_of(folder) == before
    labels.remove(key)
    assert not labels.excerpt(key).labelled
    assert text_of(folder) == HEADING + "\n"
    labels.remove(key)


def test_opened_again_it_goes_on_at_the_first_without_labels(folder):
    labels = Labels(folder)
    for place in (0, 1, 3):
        labels.confirm(labels.key(place))
    again = Labels(folder)
    assert (again.labelled, again.first_unlabelled()) == (3, 2)
    assert again.key(2) == labels.key(2)
    for place in (2, 4, 5):
        again.confirm(again.key(place))
    assert again.first_unlabelled() is None


KEPT = (
    "\ufeffdifficulty; sample_id ;Santoor;oud;tar;voice;note\r\n"
    '3;b.wav;0.5;1;0.50;0;"hard; the ""tar""\r\nis far"\r\n'
    "\r\n"
    "1;absent;1.0;;0;1; spaces  \r\n"
    ";;;;;;\r\n"
    '2; "a" ;0;0;1;0;x'
)


def test_nothing_of_a_file_made_elsewhere_is_lost(folder):
    put(folder, KEPT.replace('"a" ', '"a"'))
    labels = Labels(folder)
    assert labels.labelled == 2
    assert labels.columns == {"santur", "tar", "avaz"}
    first = labels.excerpt(labels.key(1))
    assert [first.values[INSTRUMENTS.index(name)] for name in ("santur", "tar", "avaz", "ney")] == [0.5, 0.5, 0, None]
    labels.set(labels.key(1), "santur", True)
    labels.set(labels.key(0), "avaz", True)
    labels.set(labels.key(4), "tar", True)
    assert text_of(folder) == (
        "\ufeffdifficulty; sample_id ;Santoor;oud;tar;voice;note\r\n"
        '3;b.wav;1;1;0.50;0;"hard; the ""tar""\r\nis far"\r\n'
        "\r\n"
        "1;absent;1.0;;0;1; spaces  \r\n"
        ";;;;;;\r\n"
        '2; "a";0;0;1;1;x\r\n'
        ";e;0;;1;0;\r\n"
    )
    assert read_back(folder)["b.wav"][INSTRUMENTS.index("tar")] == 1


def test_a_cell_that_is_not_touched_keeps_its_soft_label(folder):
    put(folder, "sample_id,tar,ney\na,0.25,0.750\n")
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", False)
    assert text_of(folder) == "sample_id,tar,ney\na,0,0.750\n"


def test_an_instrument_without_a_column_is_refused(folder):
    put(folder, "sample_id,tar\na,1\n")
    labels = Labels(folder)
    with pytest.raises(TarkibError, match="no column ney; add one"):
        labels.set(labels.key(0), "ney", True)
    assert text_of(folder) == "sample_id,tar\na,1\n"


def test_the_recording_gets_a_column_where_there_is_none(folder):
    put(folder, "file;tar\na.wav;1\n\nb.wav;0\ngone;1\n")
    labels = Labels(folder)
    labels.set_recording(labels.key(1), "radio; 7")
    assert text_of(folder) == 'file;tar;recording\na.wav;1;\n\nb.wav;0;"radio; 7"\ngone;1;\n'
    assert labels.recordings == ["radio; 7"]
    assert testset.load(folder).recordings == ["a.wav", "radio; 7"]
    labels.set_recording(labels.key(1), "")
    assert text_of(folder).splitlines()[3] == "b.wav;0;"


def test_the_recording_is_one_line_and_of_a_labelled_excerpt(folder):
    labels = Labels(folder)
    with pytest.raises(TarkibError, match=r"b\.wav: label it first"):
        labels.set_recording(labels.key(1), "x")
    labels.confirm(labels.key(1))
    labels.set_recording(labels.key(1), "two\nlines\x00\t\x1b‏ سه‌گاه")
    assert labels.excerpt(labels.key(1)).recording == "two lines ‏ سه‌گاه"
    with pytest.raises(TarkibError, match="201 characters; write at most 200"):
        labels.set_recording(labels.key(1), "x" * 201)


def test_path_finds_and_sample_id_names(folder):
    put(folder, "sample_id,path,tar\nfirst,a.wav,1\n")
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", False)
    labels.confirm(labels.key(5))
    assert text_of(folder) == "sample_id,path,tar\nfirst,a.wav,0\nmore/f,more/f,0\n"


def test_a_name_that_another_row_has_is_told_apart(folder):
    put(folder, "sample_id,path,tar\nb,a.wav,1\n")
    labels = Labels(folder)
    labels.set(labels.key(1), "tar", True)
    assert text_of(folder) == "sample_id,path,tar\nb,a.wav,1\nb.wav,b.wav,1\n"


def test_a_row_that_says_more_is_not_removed(folder):
    put(folder, "sample_id,difficulty,tar\na,3,1\nb,,1\n")
    labels = Labels(folder)
    with pytest.raises(TarkibError, match="line 2: the row also holds difficulty"):
        labels.remove(labels.key(0))
    labels.remove(labels.key(1))
    assert text_of(folder) == "sample_id,difficulty,tar\na,3,1\n"


DAMAGED = {
    "sample_id,tar\na,1\nb,2\n": "line 3: tar is '2'; write 1",
    "sample_id,tar\na,\n": "line 2: tar is blank",
    "sample_id,tar\na,1,1\n": "line 2: 3 values where the heading has 2",
    'sample_id,tar\n"a,1\n': "line 2: not valid CSV .* put it right in an editor",
    "sample_id,tar\na,1\na,0\n": "line 3: 'a' is already in line 2; keep one",
    "sample_id,tar\na,1\na.wav,0\n": "line 3: 'a.wav' is the same file as 'a'",
    "sample_id,tar\n../a,1\n": "line 2: '../a' leads out of the folder",
    "name,tar\na,1\n": "no column sample_id",
    "sample_id,oud\na,1\n": "no column is one of the instruments",
}


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_named_and_left_alone(folder, text):
    put(folder, text)
    with pytest.raises(TarkibError, match=DAMAGED[text]):
        Labels(folder)
    assert text_of(folder) == text
    # Damaged while it is open: the same, and what was known is not written over it.
    put(folder, "sample_id,tar\nb,1\n")
    labels = Labels(folder)
    put(folder, text)
    for change in (
        lambda: labels.set(labels.key(1), "tar", False),
        lambda: labels.confirm(labels.key(0)),
        lambda: labels.set_recording(labels.key(1), "x"),
        lambda: labels.remove(labels.key(1)),
        labels.refresh,
    ):
        with pytest.raises(TarkibError, match=DAMAGED[text]):
            change()
        assert text_of(folder) == text
    put(folder, "sample_id,tar\nb,1\n")
    labels.set(labels.key(1), "tar", False)
    assert text_of(folder) == "sample_id,tar\nb,0\n"


def test_bytes_that_are_no_text_are_left_alone(folder):
    content = "sample_id,tar,not\xe9\na,1,\n".encode("latin-1")
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(TarkibError, match="not UTF-8 text"):
        Labels(folder)
    assert (folder / "labels.csv").read_bytes() == content


@pytest.mark.parametrize(("codec", "mark"), [("cp1256", b""), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")])
def test_a_table_keeps_how_it_is_stored(folder, codec, mark):
    def stored(value: str) -> bytes:
        return mark + f"sample_id;تار;شهر\r\na;{value};اصفهان\r\n".encode(codec)

    (folder / "labels.csv").write_bytes(stored("1"))
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", False)
    assert (folder / "labels.csv").read_bytes() == stored("0")


def test_a_name_that_a_code_page_lacks_changes_nothing(folder):
    content = "sample_id,تار\na,1\n".encode("cp1256")
    (folder / "labels.csv").write_bytes(content)
    (folder / "b.wav").rename(folder / "نی.wav")
    labels = Labels(folder)
    with pytest.raises(TarkibError, match="stored in cp1256, which has no 'ی'; save it as CSV UTF-8"):
        labels.confirm(labels.key(5))
    assert (folder / "labels.csv").read_bytes() == content
    assert labels.labelled == 1


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", HEADING, HEADING + "\r\n"])
def test_a_file_that_says_nothing_yet_is_begun(folder, text):
    put(folder, text)
    labels = Labels(folder)
    assert labels.labelled == 0
    labels.set(labels.key(0), "ney", True)
    assert read_back(folder)["a.wav"].tolist() == [1] + [0] * 9
    assert text_of(folder).startswith("\ufeff") == text.startswith("\ufeff")
    assert ("\r\n" in text_of(folder)) == ("\r\n" in text)


def test_what_another_program_wrote_is_read_before_anything_is_written(folder):
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", True)
    assert not labels.refresh()
    put(folder, text_of(folder).replace("a,,0,1", "a,here,1,1") + "b,there,0,0,1,0,0,0,0,0,0,0\n")
    labels.set(labels.key(2), "daf", True)
    assert text_of(folder).splitlines()[1:] == [
        "a,here,1,1,0,0,0,0,0,0,0,0",
        "b,there,0,0,1,0,0,0,0,0,0,0",
        "c,,0,0,0,0,1,0,0,0,0,0",
    ]
    put(folder, text_of(folder).replace("there", "elsewhere"))
    assert labels.refresh()
    assert labels.excerpt(labels.key(1)).recording == "elsewhere"
    (folder / "labels.csv").unlink()
    assert labels.refresh()
    assert labels.labelled == 0


def test_two_that_label_one_folder_lose_nothing(folder):
    """Each thread has labels of its own, as two processes would."""
    start = threading.Barrier(4)
    failed = []

    def label(number: int) -> None:
        labels = Labels(folder)
        start.wait()
        try:
            for place in range(len(labels)):
                for name in INSTRUMENTS[number::4]:
                    labels.set(labels.key(place), name, True)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=label, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert np.array(list(read_back(folder).values())).tolist() == [[1] * 10] * 6


@pytest.mark.parametrize(
    ("change", "look", "before"),
    [
        (lambda labels: labels.confirm(labels.key(1)), lambda labels: labels.labelled, 1),
        (lambda labels: labels.confirm(labels.key(1)), lambda labels: labels.first_unlabelled(), 1),
        (lambda labels: labels.confirm(labels.key(1)), lambda labels: labels.excerpt(labels.key(1)).labelled, False),
        (lambda labels: labels.set_recording(labels.key(0), "golha"), lambda labels: labels.recordings, []),
    ],
)
def test_nobody_sees_what_is_not_written_yet(folder, monkeypatch, change: Callable, look: Callable, before: object):
    put(folder, "sample_id,tar\na,1\n")
    labels = Labels(folder)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(look(labels)))

    def broken(*_: object) -> None:
        if not reader.is_alive():
            reader.start()
            reader.join(0.2)  # it has this long to see too much
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table, "put", broken)
    with pytest.raises(TarkibError, match="nothing was changed"):
        change(labels)
    reader.join()
    assert seen == [before]


def test_one_that_keeps_the_folder_is_not_waited_for_without_end(folder, monkeypatch):
    monkeypatch.setattr(table, "_WAIT_S", 0.05)
    labels = Labels(folder)
    suspended = os.open(folder, os.O_RDONLY)
    fcntl.flock(suspended, fcntl.LOCK_EX)
    with pytest.raises(TarkibError, match="another tarkib app keeps this folder"):
        labels.confirm(labels.key(0))
    assert not labels.excerpt(labels.key(0)).labelled
    os.close(suspended)
    labels.confirm(labels.key(0))
    assert list(read_back(folder)) == ["a.wav"]


def test_a_folder_that_is_gone_is_told_and_not_begun_anew(folder, tmp_path_factory):
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", True)
    away = tmp_path_factory.mktemp("away") / "disk"
    shutil.move(folder, away)
    for change in (lambda: labels.confirm(labels.key(1)), labels.refresh):
        with pytest.raises(TarkibError, match="is its disk still there"):
            change()
    # The empty folder on which a disk was mounted.
    folder.mkdir()
    with pytest.raises(TarkibError, match=r"b\.wav: the file is no longer there"):
        labels.confirm(labels.key(1))
    assert list(folder.iterdir()) == []
    folder.rmdir()
    shutil.move(away, folder)
    labels.confirm(labels.key(1))
    assert list(read_back(folder)) == ["a.wav", "b.wav"]


def test_who_may_read_and_write_it_stays(folder):
    labels = Labels(folder)
    labels.confirm(labels.key(0))
    (folder / "labels.csv").chmod(0o664)
    labels.confirm(labels.key(1))
    assert stat.S_IMODE((folder / "labels.csv").stat().st_mode) == 0o664


def test_a_link_leads_on_to_the_file_that_is_written(folder, tmp_path_factory):
    real = tmp_path_factory.mktemp("elsewhere") / "mine.csv"
    real.write_text("sample_id,tar\na,1\n")
    (folder / "labels.csv").symlink_to(real)
    labels = Labels(folder)
    labels.set(labels.key(1), "tar", True)
    assert (folder / "labels.csv").is_symlink()
    assert real.read_text() == "sample_id,tar\na,1\nb,1\n"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_what_dvc_keeps_for_others_is_not_written(folder, tmp_path_factory, link: Callable):
    cached = tmp_path_factory.mktemp("cache") / "files" / "md5" / "0a" / ("1" * 30)
    cached.parent.mkdir(parents=True)
    cached.write_text("sample_id,tar\na,1\n")
    cached.chmod(0o444)
    link(cached, folder / "labels.csv")
    labels = Labels(folder)
    labels.set(labels.key(1), "tar", True)
    assert text_of(folder) == "sample_id,tar\na,1\nb,1\n"
    assert not (folder / "labels.csv").is_symlink()
    assert (folder / "labels.csv").stat().st_mode & stat.S_IWUSR
    assert cached.read_text() == "sample_id,tar\na,1\n"
    assert stat.S_IMODE(cached.stat().st_mode) == 0o444


@pytest.mark.parametrize("others", [("notes.csv",), ("notes.csv", "more.csv")])
def test_another_table_does_not_stand_in_the_way(folder, others):
    for name in others:
        (folder / name).write_text("day,weather\n1,rain\n")
    with pytest.raises(TarkibError, match=r"notes\.csv.*not the table of labels, make an empty .*/labels\.csv$"):
        Labels(folder)
    put(folder, "")
    labels = Labels(folder)
    labels.confirm(labels.key(0))
    assert list(read_back(folder)) == ["a.wav"]
    assert {(folder / name).read_text() for name in others} == {"day,weather\n1,rain\n"}


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_write_that_breaks_off_leaves_the_old_file(folder, monkeypatch, step):
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", True)
    before = text_of(folder)

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "replace":
            patch.setattr(outputs.os, "replace", broken)
        else:
            patch.setattr(Path, "write_bytes", broken)
        with pytest.raises(TarkibError, match=r"labels.csv: cannot be written \(No space left on device\); nothing"):
            labels.set(labels.key(1), "ney", True)
    assert text_of(folder) == before
    assert not labels.excerpt(labels.key(1)).labelled
    labels.set(labels.key(0), "tar", False)
    assert text_of(folder) == before.replace("a,,0,1", "a,,0,0")


def test_killed_in_the_middle_the_old_file_is_whole(folder):
    """A process ends at once, without cleaning up, when half of the new file is written."""
    labels = Labels(folder)
    labels.set(labels.key(0), "tar", True)
    before = text_of(folder)
    child = os.fork()
    if child == 0:

        def half(path: Path, content: bytes) -> None:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
            os._exit(9)

        Path.write_bytes = half
        labels.set(labels.key(1), "ney", True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert text_of(folder) == before
    again = Labels(folder)
    again.set(again.key(1), "ney", True)
    assert text_of(folder) == before + "b,,1,0,0,0,0,0,0,0,0,0\n"


NAMES = (
    "<script>alert(1)</script>.wav",
    "a'quote\".wav",
    "two\nlines.wav",
    "-dash.wav",
    "سه‌گاه ‮.wav",
    "e\u0301.wav",
    "\u00e9.wav",
    "back\\slash.wav",
    "with,comma;semicolon.wav",
    "=1+1.wav",
    " space.wav",
    "#.wav",
    "twin.wav",
    "twin.flac",
    "v1.2.wav",
    "C:drive.wav",
)


def test_any_file_name_is_written_as_the_pipeline_finds_it(tmp_path):
    for name in NAMES:
        write(tmp_path / name, noise(0.1))
    labels = Labels(tmp_path)
    for place in range(len(labels)):
        labels.set(labels.key(place), INSTRUMENTS[place % 10], True)
    test = testset.load(tmp_path)
    expected = {labels.excerpt(labels.key(place)).path: place % 10 for place in range(len(labels))}
    assert {path: int(np.argmax(row)) for path, row in zip(test.paths, test.targets, strict=True)} == expected


def test_a_name_that_no_row_can_say_is_refused_and_told(tmp_path):
    write(tmp_path / "ok.wav", noise(0.1))
    (tmp_path / "\udce9.wav").write_bytes((tmp_path / "ok.wav").read_bytes())
    labels = Labels(tmp_path)
    for place in range(len(labels)):
        excerpt = labels.excerpt(labels.key(place))
        if excerpt.name == "ok.wav":
            labels.confirm(excerpt.key)
            continue
        with pytest.raises(TarkibError, match="rename it") as raised:
            labels.confirm(excerpt.key)
        str(raised.value).encode()
        assert not labels.excerpt(excerpt.key).labelled
    assert list(read_back(tmp_path)) == ["ok.wav"]


def test_a_key_that_no_excerpt_has_reaches_nothing(folder):
    labels = Labels(folder)
    for key in ("", "../a.wav", "a.wav", "0" * 16):
        with pytest.raises(TarkibError, match="reload the page"):
            labels.excerpt(key)
        with pytest.raises(TarkibError, match="reload the page"):
            labels.set(key, "tar", True)
    assert not (folder / "labels.csv").exists()


def test_a_folder_that_holds_nothing_says_what_belongs_there(tmp_path):
    with pytest.raises(TarkibError, match="holds no audio; put five-second excerpts"):
        Labels(tmp_path)
    with pytest.raises(TarkibError, match="no such folder; make it"):
        Labels(tmp_path / "absent")


@pytest.mark.parametrize("seed", range(4))
def test_whatever_one_does_the_file_says_it(folder, seed):
    """Random changes, some of them made by another program, against a model of what should be there."""
    rng = np.random.default_rng(seed)
    labels = Labels(folder)
    names = [labels.excerpt(labels.key(place)).path.name for place in range(len(labels))]
    told: dict[str, list[float]] = {}
    for _ in range(120):
        place = int(rng.integers(len(labels)))
        name, key = names[place], labels.key(place)
        match rng.integers(6):
            case 0:
                labels.confirm(key)
                told.setdefault(name, [0] * 10)
            case 1:
                labels.remove(key)
                told.pop(name, None)
            case 2:
                Labels(folder).set(key, "daf", True)
                told.setdefault(name, [0] * 10)[INSTRUMENTS.index("daf")] = 1
            case _:
                k, plays = int(rng.integers(10)), bool(rng.integers(2))
                labels.set(key, INSTRUMENTS[k], plays)
                told.setdefault(name, [0] * 10)[k] = int(plays)
        if told:
            assert {name: row.tolist() for name, row in read_back(folder).items()} == told
        assert labels.refresh() or labels.labelled == len(told)
