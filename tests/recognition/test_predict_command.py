"""``tarkib predict``, as it is typed."""

import csv
import io
import json
import os
import unicodedata
from pathlib import Path

import jams
import pytest
from conftest import noise, write
from models.small_mert import model_params

from tarkib import models
from tarkib.cli import main
from tarkib.vocabulary import INSTRUMENTS


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A classifier that reports ney everywhere, as its threshold is 0, and nothing else."""
    folder = tmp_path_factory.mktemp("model")
    thresholds = {name: 0.0 if name == "ney" else 1.0 for name in INSTRUMENTS}
    models.build(model_params(backbone="mel-cnn"), seed=1).save(folder, thresholds=thresholds)
    return str(folder)


@pytest.fixture
def songs(tmp_path) -> Path:
    """Recordings, two of them with one name, and all kinds of other files."""
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


def test_a_folder_with_other_files(songs, model, capsys):
    assert main(["predict", str(songs), "--model", model]) == 0
    printed = capsys.readouterr()
    for name in GOOD:
        assert f"{songs / name}: 0:0" in printed.out
        assert str(songs / name) not in printed.err
    for name in BAD:
        assert f"{songs / name}: " in printed.err
        assert name not in printed.out
    assert "ney        100%  0:00-0:07" in printed.out
    assert "files without a recording's ending, left out: 1" in printed.err
    assert "4 of 7 recordings could not be read" in printed.err
    assert "model: mel-cnn (full), weights " in printed.err
    # Only where nothing can be read the exit code is 1.
    assert main(["predict", *(str(songs / name) for name in BAD), "--model", model]) == 1


@pytest.mark.parametrize("kind", ["table", "json"])
def test_control_characters_of_names_never_reach_the_terminal(tmp_path, model, capsys, kind):
    good, bad = "good \x1b[2J\x9b31m.wav", "bad \x1b]0;title\x07\nok.wav"
    write(tmp_path / good, noise(1.0))
    (tmp_path / bad).write_text("no music")
    assert main(["predict", str(tmp_path), "--model", model, "--format", kind]) == 0
    printed = capsys.readouterr()
    assert not {letter for letter in printed.out + printed.err if unicodedata.category(letter) == "Cc"} - {"\n"}
    assert "good \\u001b[2J\\u009b31m" in printed.out
    assert "bad \\u001b]0;title\\u0007\\u000aok.wav: " in printed.err
    if kind == "json":
        (content,) = json.loads(printed.out)
        assert (content["file"], content["model"]["backbone"]) == (str(tmp_path / good), "mel-cnn")


@pytest.mark.parametrize(("kind", "places"), [("table", (0, 1)), ("csv", (1, 0)), ("json", (1, 1))])
def test_a_remark_on_a_recording_is_printed_once(songs, model, capsys, kind, places):
    """JSON is for other programs and has the remark as data, too."""
    (songs / "song.mp3").write_bytes((songs / "song.mp3").read_bytes()[:9_000])
    assert main(["predict", str(songs / "song.mp3"), "--model", model, "--format", kind]) == 0
    printed = capsys.readouterr()
    assert tuple(text.count(" of 6.00 s; is it cut short?") for text in (printed.err, printed.out)) == places


@pytest.mark.slow
def test_several_recordings_are_one_table_or_one_list(songs, model, capsys):
    call = ["predict", str(songs), "--model", model, "--hop", "5", "--format"]
    assert main([*call, "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted(Path(row["file"]).relative_to(songs).as_posix() for row in rows) == GOOD
    assert {row["instrument"] for row in rows} == {"ney"}
    assert sorted(float(row["end_s"]) for row in rows) == pytest.approx([2.0, 6.0, 7.0], abs=0.1)
    assert main([*call, "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [len(recording["windows"]) for recording in content] == [1, 2, 2]
    main(["predict", str(songs / "text.flac"), "--model", model, "--format", "json"])
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(("kind", "ending"), [("table", "txt"), ("csv", "csv"), ("json", "json"), ("jams", "jams")])
def test_each_recording_gets_a_file(songs, model, tmp_path, kind, ending, capsys):
    out = tmp_path / "out"
    assert main(["predict", str(songs), "--model", model, "--format", kind, "--out", str(out)]) == 0
    assert names(out) == [f"{name}.{ending}" for name in GOOD]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(str(out / name) for name in names(out))
    if kind == "jams":
        for name in names(out):
            jams.load(str(out / name), validate=True, strict=True)


@pytest.mark.slow
def test_recordings_whose_files_exist_are_skipped(songs, model, tmp_path, capsys):
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    call = ["predict", str(songs), "--model", model, "--out", str(out), "--plot", str(pictures), "--skip-existing"]
    assert main(call) == 0
    assert names(pictures) == [f"{name}.png" for name in GOOD]
    (out / "song.mp3.txt").write_text("kept")
    (pictures / "song.wav.png").unlink()
    capsys.readouterr()
    assert main(call) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(out / "song.wav.txt")]
    assert f"{pictures / 'song.wav.png'} written\n" in printed.err
    assert "2 of 7 recordings skipped" in printed.err
    assert (out / "song.mp3.txt").read_text() == "kept"
    assert (pictures / "song.wav.png").read_bytes().startswith(b"\x89PNG")
    # Where nothing is left to do, no model is loaded.
    call = ["predict", str(songs / "song.wav"), "--out", str(out), "--skip-existing", "--model", "no such model"]
    assert main(call) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--plot one.png", "--plot one.png: give a folder"),
        ("--plot one.svg", "--plot one.svg: PNG is drawn; name a file that ends in .png, or a folder"),
        ("--format jams", "give a folder with --out"),
        ("--skip-existing", "--skip-existing: needs --out or --plot"),
        ("--model nowhere", "nowhere: no such model"),
        ("--device tpu", "error: --device: 'tpu' is unknown; choose auto, cpu, cuda"),
    ],
)
def test_calls_that_make_no_sense(songs, model, capsys, monkeypatch, options, words):
    monkeypatch.chdir(songs)
    assert main(["predict", ".", "--model", model, *options.split()]) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.out == ""


def test_two_recordings_are_never_written_to_one_file(songs, model, tmp_path, capsys):
    other = write(tmp_path / "other/song.wav", noise(1.0))
    call = ["predict", str(songs / "song.wav"), str(other), "--model", model]
    for option in ("--out", "--plot"):
        assert main([*call, option, str(tmp_path / "out")]) == 1
        assert "would both be written" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_named(songs, model, tmp_path, capsys):
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    pictures.write_text("a file")
    call = ["predict", str(songs / "song.wav"), "--model", model, "--out", str(out), "--plot", str(pictures)]
    assert main(call) == 1
    messages = capsys.readouterr().err
    assert f"error: {pictures / 'song.wav.png'}: cannot be written (" in messages
    assert "make room, or name another folder" in messages
    assert names(out) == ["song.wav.txt"]


def test_names_that_cannot_be_written_stop_no_other(songs, model, tmp_path, capsys):
    (songs / "song.wav").rename(songs / ("a" * 250 + ".wav"))
    os.rename(os.fsencode(songs / "empty.wav"), os.fsencode(songs) + b"/caf\xe9.wav")
    out = tmp_path / "out"
    # One file name, and one in the call, is longer than NAME_MAX; another is not UTF-8.
    assert main(["predict", str(songs), "b" * 300, "--model", model, "--out", str(out), "--skip-existing"]) == 0
    assert names(out) == [f"{name}.txt" for name in GOOD[:2]]
    messages = capsys.readouterr().err
    assert "give it a shorter name" in messages
    assert "its name is not UTF-8 text; rename it" in messages
    assert f"{'b' * 300}: File name too long" in messages


def test_a_folder_without_recordings(tmp_path, model, capsys):
    assert main(["predict", str(tmp_path), "--model", model]) == 1
    assert "there is no recording" in capsys.readouterr().err
