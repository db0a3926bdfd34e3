import os
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write

from tarkib.app.labelling import Change, Labels
from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.runtime import outputs
from tarkib.vocabulary import INSTRUMENTS

HEADING = "sample_id,recording," + ",".join(INSTRUMENTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six excerpts, one of them in a sub-folder."""
    for name in ("a.wav", "b.wav", "c.flac", "d.wav", "e.wav", "more/f.wav"):
        write(tmp_path / name, noise(0.1))
    return tmp_path


class Page:
    """The labels of a folder; excerpts are named by their place, from 0."""

    def __init__(self, folder: Path) -> None:
        self.labels = Labels(folder)
        self.keys = list(self.labels._files)

    def state(self, place: int) -> dict:
        return self.labels.state(self.keys[place])

    def change(self, place: int, **changes: object) -> dict:
        return self.labels.change(self.keys[place], Change(**changes))

    def set(self, place: int, instrument: str, plays: bool = True) -> dict:
        return self.change(place, instrument=instrument, plays=plays)


def text_of(folder: Path) -> str:
    return (folder / "labels.csv").read_bytes().decode()


def put(folder: Path, text: str) -> None:
    (folder / "labels.csv").write_bytes(text.encode())


def read_back(folder: Path) -> dict[str, np.ndarray]:
    """Targets as the pipeline reads them, by file name."""
    test = testset.load(folder)
    return dict(zip((path.name for path in test.paths), test.targets, strict=True))


def test_a_new_file_is_what_the_pipeline_reads(folder):
    page = Page(folder)
    state = page.state(0)
    assert (state["count"], state["labelled_count"], state["first_unlabelled"]) == (6, 0, page.keys[0])
    assert not (folder / "labels.csv").exists()
    page.set(0, "tar")
    page.set(5, "avaz")
    state = page.change(0, recording="  golha,\n  012 ")
    assert (state["recording"], state["recordings"]) == ("golha, 012", ["golha, 012"])
    rows = ('a,"golha, 012",0,1,0,0,0,0,0,0,0,0', "more/f,,0,0,0,0,0,0,0,0,0,1")
    assert text_of(folder) == "\n".join([HEADING, *rows, ""])
    test = testset.load(folder)
    assert [path.name for path in test.paths] == ["a.wav", "f.wav"]
    assert test.recordings == ["golha, 012", "more/f"]
    assert test.targets.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]


def test_nothing_plays_differs_from_not_labelled(folder):
    page = Page(folder)
    assert (page.state(1)["labelled"], page.state(1)["values"]) == (False, [None] * 10)
    assert page.change(1)["values"] == [0] * 10
    assert list(read_back(folder)) == ["b.wav"]
    # Opened again, the page continues at the first excerpt without labels.
    page.change(0)
    assert Labels(folder).state()["key"] == page.keys[2]
    for place in range(6):
        page.change(place)
    assert (page.labels.state()["first_unlabelled"], page.labels.state()["place"]) == (None, 1)


def test_what_a_file_from_elsewhere_holds_stays(folder):
    before = (
        "\ufeffsep=;\r\ndifficulty;sample_id;Santoor;oud;tar;voice;note\r\n"
        '3;b.wav;0.5;1;0.50;0;"hard; the ""tar""\r\nis far"\r\n'
        "1;absent;1.0;;0;1;spaces\r\n"
        "2;a;0;0;1;0;x\r\n"
    )
    put(folder, before)
    page = Page(folder)
    state = page.state(1)
    assert state["labelled_count"] == 2
    values = {name: value for name, value in zip(INSTRUMENTS, state["values"], strict=True) if value is not None}
    assert values == {"tar": 0.5, "santur": 0.5, "avaz": 0}
    assert [name for name, there in zip(INSTRUMENTS, state["columns"], strict=True) if there] == list(values)
    page.set(1, "santur")
    page.set(4, "tar")
    assert text_of(folder) == before.replace("b.wav;0.5", "b.wav;1") + ";e;0;;1;0;\r\n"
    assert read_back(folder)["b.wav"][INSTRUMENTS.index("tar")] == 1
    for changes, column in (({"instrument": "ney", "plays": True}, "ney"), ({"recording": "golha"}, "recording")):
        with pytest.raises(TarkibError, match=f"no column {column}; add one"):
            page.change(1, **changes)


def test_rows_are_named_by_id_and_matched_by_path(folder):
    put(folder, "sample_id,path,tar\nb,a.wav,1\n")
    page = Page(folder)
    page.set(0, "tar", False)
    page.change(1)
    page.change(5)
    assert text_of(folder) == "sample_id,path,tar\nb,a.wav,0\nb.wav,b.wav,0\nmore/f,more/f,0\n"


DAMAGED = {
    "sample_id,tar\na,1\nb,2\n": "line 3: tar is '2'; write 1",
    "sample_id,tar\na,1,1\n": "line 2: 3 values where the heading has 2",
    'sample_id,tar\n"a,1\n': "line 2: not valid CSV",
    "sample_id,tar\na,1\na,0\n": "line 3: 'a' is already in line 2; keep one",
    "name,tar\na,1\n": "no column sample_id",
}


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_named_and_never_written(folder, text):
    put(folder, text)
    with pytest.raises(TarkibError, match=DAMAGED[text]):
        Labels(folder)
    # Damaged while the page is open: the same, and what was known before does not replace it.
    put(folder, "sample_id,tar\nb,1\n")
    page = Page(folder)
    put(folder, text)
    for action in (lambda: page.set(1, "tar", False), lambda: page.change(0), lambda: page.state(0)):
        with pytest.raises(TarkibError, match=DAMAGED[text]):
            action()
    assert text_of(folder) == text


@pytest.mark.parametrize(("codec", "mark"), [("cp1256", b""), ("utf-16-le", b"\xff\xfe")])
def test_a_table_in_another_encoding_becomes_utf_8_with_a_mark(folder, codec, mark):
    text = "sample_id;تار;شهر\r\na;1;اصفهان\r\n"
    (folder / "labels.csv").write_bytes(mark + text.encode(codec))
    Page(folder).set(0, "tar", False)
    assert text_of(folder) == "\ufeff" + text.replace("1", "0")


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", HEADING, HEADING + "\r\n"])
def test_an_empty_file_is_begun(folder, text):
    put(folder, text)
    Page(folder).set(0, "ney")
    assert read_back(folder)["a.wav"].tolist() == [1] + [0] * 9
    assert text_of(folder).startswith("\ufeff") == text.startswith("\ufeff")
    assert ("\r\n" in text_of(folder)) == ("\r\n" in text)


def test_changes_of_another_program_are_read_before_writing(folder):
    page = Page(folder)
    page.set(0, "tar")
    put(folder, text_of(folder).replace("a,,0,1", "a,here,1,1") + "b,there,0,0,1,0,0,0,0,0,0,0\n")
    page.set(2, "daf")
    rows = ["a,here,1,1,0,0,0,0,0,0,0,0", "b,there,0,0,1,0,0,0,0,0,0,0", "c,,0,0,0,0,1,0,0,0,0,0"]
    assert text_of(folder).splitlines()[1:] == rows
    assert page.state(1)["recording"] == "there"
    (folder / "labels.csv").unlink()
    assert page.state(1)["labelled_count"] == 0


def test_pages_that_label_one_folder_at_once_lose_nothing(folder):
    """Each thread has labels of its own, as two processes would."""
    start = threading.Barrier(4)

    def label(number: int) -> None:
        page = Page(folder)
        start.wait()
        for place in range(6):
            for name in INSTRUMENTS[number::4]:
                page.set(place, name)

    threads = [threading.Thread(target=label, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array(list(read_back(folder).values())).tolist() == [[1] * 10] * 6


def test_a_folder_that_is_gone_is_reported_and_not_begun_again(folder, tmp_path_factory):
    page = Page(folder)
    page.set(0, "tar")
    away = tmp_path_factory.mktemp("away") / "disk"
    shutil.move(folder, away)
    for action in (page.state, page.change):
        with pytest.raises(TarkibError, match="is its disk still there"):
            action(1)
    folder.mkdir()  # the empty folder on which a disk was mounted
    with pytest.raises(TarkibError, match=r"b\.wav: the file is gone"):
        page.change(1)
    assert list(folder.iterdir()) == []
    folder.rmdir()
    shutil.move(away, folder)
    page.change(1)
    assert list(read_back(folder)) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("link", "name", "mode", "stays"),
    [
        (os.symlink, "elsewhere/mine.csv", 0o664, True),
        (os.symlink, f"files/md5/0a/{'1' * 30}", 0o444, False),
        (os.link, f"files/md5/0a/{'1' * 30}", 0o444, False),
    ],
)
def test_a_link_and_the_mode_stay_but_dvc_s_cache_is_not_written(folder, tmp_path_factory, link, name, mode, stays):
    real = tmp_path_factory.mktemp("real") / name
    real.parent.mkdir(parents=True)
    real.write_text("sample_id,tar\na,1\n")
    real.chmod(mode)
    link(real, folder / "labels.csv")
    Page(folder).set(1, "tar")
    assert text_of(folder) == "sample_id,tar\na,1\nb,1\n"
    assert (folder / "labels.csv").is_symlink() == stays
    assert (folder / "labels.csv").stat().st_mode & stat.S_IWUSR
    assert real.read_text() == (text_of(folder) if stays else "sample_id,tar\na,1\n")
    assert stat.S_IMODE(real.stat().st_mode) == mode


def test_other_tables_in_the_folder_are_left_alone(folder):
    (folder / "notes.csv").write_text("day,weather\n1,rain\n")
    with pytest.raises(TarkibError, match=r"notes\.csv"):
        Labels(folder)
    put(folder, "")
    Page(folder).change(0)
    assert list(read_back(folder)) == ["a.wav"]
    assert (folder / "notes.csv").read_text() == "day,weather\n1,rain\n"


@pytest.mark.parametrize(("where", "what"), [(outputs.os, "replace"), (Path, "write_bytes")])
def test_a_write_that_fails_leaves_the_old_file(folder, monkeypatch, where, what):
    page = Page(folder)
    page.set(0, "tar")
    before = text_of(folder)

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(where, what, broken)
        with pytest.raises(TarkibError, match=r"labels.csv: cannot be written \(No space left on device\); nothing"):
            page.set(1, "ney")
    assert text_of(folder) == before
    assert not page.state(1)["labelled"]
    page.set(0, "tar", False)
    assert text_of(folder) == before.replace("a,,0,1", "a,,0,0")


def test_killed_while_writing_the_old_file_is_whole(folder):
    """A process ends at once, without cleaning up, when half of the new file is written."""
    page = Page(folder)
    page.set(0, "tar")
    before = text_of(folder)
    child = os.fork()
    if child == 0:

        def half(path: Path, content: bytes) -> None:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
            os._exit(9)

        Path.write_bytes = half
        page.set(1, "ney")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert text_of(folder) == before
    Page(folder).set(1, "ney")
    assert text_of(folder) == before + "b,,1,0,0,0,0,0,0,0,0,0\n"


NAMES = (
    *("<script>alert(1)</script>.wav", "a'quote\".wav", "two\nlines.wav", "-dash.wav", "سه‌گاه ‮.wav", "=1+1.wav"),
    *("e\u0301.wav", "\u00e9.wav", "back\\slash.wav", "with,comma;semicolon.wav", " space.wav", "#.wav"),
    *("twin.wav", "twin.flac", "v1.2.wav", "C:drive.wav"),
)


def test_every_file_name_is_written_as_the_pipeline_finds_it(tmp_path):
    for name in NAMES:
        write(tmp_path / name, noise(0.1))
    (tmp_path / "\udce9.wav").write_bytes((tmp_path / "#.wav").read_bytes())  # is not UTF-8, and left out
    page = Page(tmp_path)
    for place in range(len(NAMES)):
        page.set(place, INSTRUMENTS[place % 10])
    test = testset.load(tmp_path)
    expected = {page.labels.file(key): place % 10 for place, key in enumerate(page.keys)}
    assert len(expected) == len(NAMES)
    assert {path: int(np.argmax(row)) for path, row in zip(test.paths, test.targets, strict=True)} == expected


def test_unknown_keys_and_empty_folders_are_named(folder):
    labels = Labels(folder)
    for key in ("../a.wav", "a.wav", "0" * 16):
        for action in (labels.state, lambda key: labels.change(key, Change())):
            with pytest.raises(TarkibError, match="reload the page"):
                action(key)
    (folder / "empty").mkdir()
    for name, message in (("empty", "holds no audio; put five-second excerpts"), ("absent", "no such folder; make it")):
        with pytest.raises(TarkibError, match=message):
            Labels(folder / name)
