"""What stands behind the routes, without a server."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import noise, write

pytest.importorskip("fastapi", reason="fastapi is not installed")

from tarkib.app import routes, table
from tarkib.errors import TarkibError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    return made


def test_a_folder_whose_name_is_no_text_is_shown_and_told(tmp_path, made):
    folder = tmp_path / os.fsdecode(b"latin-\xe9") / "excerpts"
    write(tmp_path / "a.wav", noise(0.2))
    folder.mkdir(parents=True)
    shutil.move(tmp_path / "a.wav", folder)
    desk = routes.Desk(folder, made)
    answer = routes._answer(desk.open)
    told = json.loads(answer.body)
    assert answer.status_code == 200
    assert told["length"] == "The name of this folder is no text, so that nothing can read it; rename it."
    assert told["file"].endswith("latin-\\xe9/excerpts/labels.csv")
    with pytest.raises(TarkibError, match="the name is no text; rename it"):
        desk.sound(told["key"])
    shutil.rmtree(folder)
    answer = routes._answer(desk.open)
    assert answer.status_code == 409
    assert "latin-\\xe9/excerpts: no such folder" in json.loads(answer.body)["error"]


def test_a_disk_that_goes_away_is_an_answer(tmp_path, made, monkeypatch):
    write(tmp_path / "in" / "a.wav", noise(0.2))
    desk = routes.Desk(tmp_path / "in", made)
    key = desk.open()["key"]

    def stale(path: Path) -> None:
        raise OSError(116, "Stale file handle", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(table, "put", lambda path, _: stale(path))
        patch.setattr(Path, "read_bytes", stale)
        for answer in (
            routes._answer(desk.state, key),
            routes._answer(desk.change, key, routes.Change(confirm=True)),
        ):
            assert answer.status_code == 409
            assert "labels.csv: cannot be read (Stale file handle)" in json.loads(answer.body)["error"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", stale)
        answer = routes._answer(desk.open)
    assert answer.status_code == 409
    assert "in: Stale file handle; is its disk still there?" in json.loads(answer.body)["error"]


def brought(place: Path, number: int = 0) -> Path:
    """A recording that no browser plays, as if uploaded: renamed into its place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    return write(place.with_name("uploading.aiff"), noise(0.2, seed=number)).rename(place)


def test_what_a_page_heard_before_is_removed(tmp_path, made):
    sounds = routes.Sounds(made)
    addresses = []
    for number in range(3):
        upload = brought(tmp_path / "uploads" / str(number) / "x.aiff", number)
        addresses.append(sounds.add(upload, sounds.begin("one", upload)).rpartition("/")[2])
    assert [sounds.get(key) is not None for key in addresses] == [False, False, True]
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".aiff", ".flac"]
    other = brought(tmp_path / "uploads" / "other.aiff")
    sounds.add(other, sounds.begin("other", other))
    sounds.drop("one")
    sounds.drop("one")
    assert other.exists()
    assert len(list(made.iterdir())) == 1
    sounds.drop("other")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list(made.iterdir()) == []


def test_an_upload_that_is_still_of_use_stays(tmp_path, made):
    """Gradio keeps equal uploads in one place."""
    sounds = routes.Sounds(made)
    upload = brought(tmp_path / "uploads" / "x.aiff")
    sounds.begin("one", upload)
    sounds.begin("other", upload)
    sounds.drop("one")
    assert upload.exists()
    brought(upload)  # anew, while what was heard of the one before is removed
    sounds.drop("other")
    assert upload.exists()
    sounds.begin("other", upload)
    sounds.drop("other")
    assert not upload.exists()
