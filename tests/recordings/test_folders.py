import errno
import os
import unicodedata
from pathlib import Path

from tarkib.recordings import folders


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound")
    return path


def paths(root):
    return [entry.path for entry in folders.listing(root).entries if entry.problem is None]


def problems(root):
    return {entry.path: entry.problem for entry in folders.listing(root).entries if entry.problem}


def test_recordings_are_listed_in_the_order_of_their_paths(tmp_path):
    for name in ("b.wav", "a/z.MP3", "a.b/c.flac", "a-b.wav", "c/d/e.ogg"):
        put(tmp_path / name)
    for name in (".hidden.wav", ".hidden/a.wav", "notes.txt", "c/labels.csv"):
        put(tmp_path / name)
    assert paths(tmp_path) == ["a/z.MP3", "a-b.wav", "a.b/c.flac", "b.wav", "c/d/e.ogg"]
    assert folders.listing(tmp_path).others == ["c/labels.csv", "notes.txt"]


def test_links_to_files_and_folders_are_followed(tmp_path):
    root = tmp_path / "raw"
    put(root / "ney/a.wav")
    (root / "ney/cached.wav").symlink_to(put(tmp_path / "cache/0f/1234"))
    (root / "تار").symlink_to(put(tmp_path / "archive/tar/shur/b.wav").parents[1])
    (tmp_path / "link").symlink_to(root)
    assert paths(root) == paths(tmp_path / "link") == ["ney/a.wav", "ney/cached.wav", "تار/shur/b.wav"]
    assert problems(root) == {}
    (remark,) = folders.remarks(root, folders.listing(root))
    assert remark.startswith(f"{root / 'تار'}: a link to a folder, read, but DVC neither keeps nor watches")


def test_a_loop_is_named_once_and_a_folder_is_walked_once(tmp_path):
    root = tmp_path / "raw"
    put(root / "ney/a.wav")
    (root / "ney/up").symlink_to(root)
    (root / "again").symlink_to(root / "ney")
    (root / "beside").symlink_to(put(tmp_path / "other/b.wav").parent.parent)
    (root / "self.wav").symlink_to("self.wav")
    (root / "gone").symlink_to(tmp_path / "un\x1bmounted")
    assert paths(root) == ["ney/a.wav"]
    assert problems(root) == {
        "beside": f"leads to the folder {tmp_path}; no folder is read twice",
        "again": "leads to the folder ney; no folder is read twice",
        "ney/up": "leads to the folder .; no folder is read twice",
        "self.wav": "cannot be opened (Too many levels of symbolic links)",
        "gone": f"cannot be opened: a link to {tmp_path}/un\\u001bmounted, which is not there",
    }


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    put(tmp_path / "ney/a.wav")
    put(tmp_path / "tar/b.wav")
    scandir = os.scandir

    def refusing(path):
        if Path(path) == tmp_path / "ney":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert paths(tmp_path) == ["tar/b.wav"]
    assert problems(tmp_path) == {"ney": "cannot be opened (Permission denied)"}


def test_pipes_and_names_that_are_not_utf_8_are_problems(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.txt")
    put(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    put(tmp_path / "two\nlines.wav")
    assert paths(tmp_path) == ["two\nlines.wav"]
    assert list(problems(tmp_path).values()) == [
        "is not a regular file (a FIFO)",
        "its name is not UTF-8 text; rename it",
    ]


FORMS = {
    unicodedata.normalize("NFC", "détaché.wav"): unicodedata.normalize("NFD", "détaché.wav"),
    ".\\ney\\shur\\a.wav": "ney/shur//a.wav",
    "ني/كمال.wav": "نی/کمال.wav",
    "\u202aسه\u200cگاه\u200f.wav": "سهگاه.wav",
}


def test_paths_that_differ_in_how_letters_are_stored_have_one_form():
    assert [folders.form(path) for path in FORMS] == [folders.form(path) for path in FORMS.values()]
    assert len({folders.form(path) for path in ("a.wav", "A.wav", "å.wav", "نی.wav", "نا.wav", "a/wav")}) == 6
