"""``tarkib predict``, as it is typed."""

import csv
import io
import json
import os
import unicodedata
from pathlib import Path

import jams
import numpy as np
import pytest
from conftest import noise, write
from models.small_mert import model_params

from tarkib import models
from tarkib.cli import main
from tarkib.vocabulary import INSTRUMENTS


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A classifier that hears ney everywhere, since it takes any probability for enough, and nothing else."""
    folder = tmp_path_factory.mktemp("model")
    thresholds = {name: 0.0 if name == "ney" else 1.0 for name in INSTRUMENTS}
    models.build(model_params(backbone="mel-cnn"), seed=1).save(folder, thresholds=thresholds)
    return str(folder)


@pytest.fixture
def songs(tmp_path) -> Path:
    """Two recordings of one name, one in a folder, and everything that is none."""
    folder = tmp_path / "songs"
    write(folder / "song.wav", noise(7.0, rate=44_100), 44_100)
    write(folder / "song.mp3", noise(6.0, seed=1))
    write(folder / "deeper" / "نی $1.flac", noise(2.0, seed=2, rate=8_000), 8_000)
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no music")
    (folder / "cut.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(99))
    (folder / "absent.wav").symlink_to(tmp_path / "nowhere.wav")
    (folder / "labels.csv").write_text("sample_id,tar\n")
    (folder / ".hidden.wav").write_text("no music")
    (folder / "folder.wav").mkdir()
    return folder


GOOD = ["deeper/نی $1.flac", "song.mp3", "song.wav"]
BAD = ["absent.wav", "cut.mp4", "empty.wav", "text.flac"]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_of_mixed_junk(songs, model, capsys):
    assert main(["predict", str(songs), "--model", model]) == 0
    said = capsys.readouterr()
    for name in GOOD:
        assert f"{songs / name}: 0:0" in said.out
        assert str(songs / name) not in said.err
    for name in BAD:
        assert f"{songs / name}: " in said.err
        assert name not in said.out
    assert "ney        100%  0:00-0:07" in said.out
    assert "files without a recording's ending, left out: 1" in said.err
    assert "4 of 7 recordings could not be read" in said.err
    assert "Traceback" not in said.err


def test_links_are_followed_and_a_loop_is_named_once(songs, model, tmp_path, capsys):
    write(tmp_path / "archive" / "more.wav", noise(1.0))
    (songs / "archive").symlink_to(tmp_path / "archive")
    (tmp_path / "archive" / "loop").symlink_to(songs)
    os.mkfifo(songs / "pipe.wav")
    assert main(["predict", str(songs), "--model", model]) == 0
    said = capsys.readouterr()
    assert f"{songs / 'archive/more.wav'}: 0:0" in said.out
    assert said.err.count("loop: leads to the folder .; no folder is read twice") == 1
    assert f"{songs / 'pipe.wav'}: is a named pipe and no file" in said.err
    assert "6 of 10 recordings could not be read" in said.err


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
def test_control_characters_of_names_never_reach_the_terminal(tmp_path, model, capsys, kind):
    good, bad = "good \x1b[2J\x9b31m.wav", "bad \x1b]0;title\x07\nok.wav"
    write(tmp_path / good, noise(1.0))
    (tmp_path / bad).write_text("no music")
    assert main(["predict", str(tmp_path), "--model", model, "--format", kind]) == 0
    said = capsys.readouterr()
    assert not {one for one in said.out + said.err if unicodedata.category(one) == "Cc"} - {"\n"}
    assert "good \\u001b[2J\\u009b31m" in said.out
    assert "bad \\u001b]0;title\\u0007\\u000aok.wav: " in said.err
    if kind == "json":
        assert json.loads(said.out)[0]["file"] == str(tmp_path / good)


@pytest.mark.parametrize("kind", ["table", "csv", "json", "jams"])
def test_a_recording_that_is_cut_short_is_remarked_on_once(songs, model, capsys, kind):
    (songs / "song.mp3").write_bytes((songs / "song.mp3").read_bytes()[:9_000])
    assert main(["predict", str(songs / "song.mp3"), "--model", model, "--format", kind]) == 0
    said = capsys.readouterr()
    remark = " of 6.00 s; is it cut short?"
    # A document for other programs has it as data, too.
    assert said.err.count(remark) == (kind != "table")
    assert said.out.count(remark) == (kind in ("table", "json"))


def test_where_nothing_can_be_read_the_exit_code_says_so(songs, model, capsys):
    assert main(["predict", *(str(songs / name) for name in BAD), "--model", model]) == 1
    assert main(["predict", str(songs / "song.wav"), str(songs / "empty.wav"), "--model", model]) == 0


def test_csv_of_several_has_one_heading(songs, model, capsys):
    assert main(["predict", str(songs), "--model", model, "--format", "csv", "--hop", "5"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted(Path(row["file"]).relative_to(songs).as_posix() for row in rows) == GOOD
    assert {row["instrument"] for row in rows} == {"ney"}
    assert sorted(float(row["end_s"]) for row in rows) == pytest.approx([2.0, 6.0, 7.0], abs=0.1)


@pytest.mark.parametrize(("given", "count"), [(GOOD, 3), (BAD, 0), (["song.wav"], 1)])
def test_json_of_several_is_one_list(songs, model, capsys, given, count):
    main(["predict", *(str(songs / name) for name in given), "--model", model, "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    assert len(told) == count
    assert all(np.isfinite(list(one["windows"][0].values())).all() for one in told)


@pytest.mark.parametrize(("kind", "ending"), [("table", "txt"), ("csv", "csv"), ("json", "json"), ("jams", "jams")])
def test_files_are_written_one_a_recording(songs, model, tmp_path, kind, ending, capsys):
    out = tmp_path / "out"
    assert main(["predict", str(songs), "--model", model, "--format", kind, "--out", str(out)]) == 0
    assert names(out) == [f"{name}.{ending}" for name in GOOD]
    assert sorted(capsys.readouterr().out.split("\n")[:-1]) == sorted(str(out / f"{name}.{ending}") for name in GOOD)
    if kind == "jams":
        for name in names(out):
            jams.load(str(out / name), validate=True, strict=True)


def test_what_is_there_is_skipped_and_the_rest_is_heard(songs, model, tmp_path, capsys):
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    call = ["predict", str(songs), "--model", model, "--out", str(out), "--plot", str(pictures), "--skip-existing"]
    assert main(call) == 0
    assert names(pictures) == [f"{name}.png" for name in GOOD]
    (out / "song.mp3.txt").write_text("kept")
    (pictures / "song.wav.png").unlink()
    capsys.readouterr()
    assert main(call) == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(out / "song.wav.txt")]
    assert "2 of 7 recordings skipped" in said.err
    assert (out / "song.mp3.txt").read_text() == "kept"
    assert (pictures / "song.wav.png").is_file()
    # All that can be read has been; what cannot is told once more, and is no failure.
    assert main(call) == 0


def test_nothing_is_loaded_where_all_is_there(songs, model, tmp_path):
    call = ["predict", str(songs / "song.wav"), "--out", str(tmp_path), "--skip-existing"]
    assert main([*call, "--model", model]) == 0
    assert main([*call, "--model", "no such model"]) == 0


def test_a_picture_of_one_recording(songs, model, tmp_path):
    path = tmp_path / "deep" / "picture.png"
    assert main(["predict", str(songs / "song.wav"), "--model", model, "--plot", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plot", "one.png"], "--plot one.png: give a folder"),
        (["--plot", "one.svg"], "--plot one.svg: PNG is drawn"),
        (["--format", "jams"], "give a folder with --out"),
        (["--skip-existing"], "--skip-existing: needs --out or --plot"),
        (["--model", "nowhere"], "nowhere: no such model"),
    ],
)
def test_calls_that_make_no_sense(songs, model, capsys, options, words):
    assert main(["predict", str(songs), "--model", model, *options]) == 1
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("device", "reason"),
    [("tpu", "'tpu' is unknown; choose auto, cpu, cuda"), ("cuda", "cuda, but torch finds no GPU here")],
)
def test_a_device_that_is_not_there_is_the_calls_fault_and_no_recordings(
    songs, model, capsys, monkeypatch, device, reason
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    files = [str(songs / name) for name in GOOD]
    assert main(["predict", *files, "--model", model, "--device", device]) == 1
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: --device: {reason}")
    assert said.out == ""


def test_two_recordings_are_never_written_to_one_file(songs, model, tmp_path, capsys):
    write(tmp_path / "other" / "song.wav", noise(1.0))
    both = [str(songs / "song.wav"), str(tmp_path / "other" / "song.wav")]
    assert main(["predict", *both, "--model", model, "--out", str(tmp_path / "out")]) == 1
    assert "would both be written" in capsys.readouterr().err
    assert main(["predict", both[0], both[0], "--model", model, "--out", str(tmp_path / "out")]) == 0


def test_a_folder_without_recordings(tmp_path, model, capsys):
    (tmp_path / "notes.txt").write_text("nothing")
    assert main(["predict", str(tmp_path), "--model", model]) == 1
    said = capsys.readouterr().err
    assert "holds no recordings" in said
    assert "there is no recording" in said


def test_an_output_that_cannot_be_written_is_named(songs, model, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert main(["predict", str(songs / "song.wav"), "--model", model, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert f"error: {tmp_path / 'out' / 'song.wav.txt'}: cannot be written" in said
    assert "make room, or name another folder" in said


def test_of_a_recordings_two_files_the_one_that_cannot_be_written_is_named(songs, model, tmp_path, capsys):
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    pictures.write_text("a file")
    call = ["predict", str(songs / "song.wav"), "--model", model, "--out", str(out), "--plot", str(pictures)]
    assert main(call) == 1
    said = capsys.readouterr().err
    assert f"error: {pictures / 'song.wav.png'}: cannot be written (" in said
    assert "song.wav.txt" not in said
    assert names(out) == ["song.wav.txt"]


def test_a_name_too_long_to_be_written_stops_no_other(songs, model, tmp_path, capsys):
    (songs / "song.wav").rename(songs / ("a" * 250 + ".wav"))
    out = tmp_path / "out"
    assert main(["predict", str(songs), "--model", model, "--out", str(out)]) == 0
    assert names(out) == [f"{name}.txt" for name in GOOD[:2]]
    assert "give it a shorter name" in capsys.readouterr().err
    # Nor where one looks for what is there, or the call itself names no file that could be.
    call = ["predict", str(songs), "b" * 300, "--model", model, "--out", str(out), "--skip-existing"]
    assert main(call) == 0
    said = capsys.readouterr().err
    assert "2 of 8 recordings skipped" in said
    assert "give it a shorter name" in said
    assert f"{'b' * 300}: File name too long" in said


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
def test_names_that_are_no_text_stop_no_other(songs, model, capsys):
    os.rename(os.fsencode(songs / "song.wav"), os.fsencode(songs) + b"/caf\xe9.wav")
    assert main(["predict", str(songs), "--model", model]) == 0
    said = capsys.readouterr()
    assert "its name is not UTF-8 text; rename it" in said.err
    assert str(songs / "song.mp3") in said.out
