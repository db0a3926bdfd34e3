import csv
import json
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import noise, write

from tarkib.cli import annotate, main
from tarkib.demo import orchestra

BAD = ["empty.wav", "text.flac", "nan.wav", "absent.wav"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solo of half a minute and a drum's, and files that are none."""
    folder = tmp_path_factory.mktemp("songs")
    plan = orchestra.plan(105, 2, 1, dastgahs=("chahargah",), instruments=("tar", "tonbak"), seconds=(30.0, 30.0))
    solos = {job.instruments[0]: job for job in plan if job.performer}
    for name, job in solos.items():
        write(folder / f"{name}.flac", orchestra.render(job))
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no music")
    spoilt = noise(2.0)
    spoilt[100] = np.nan
    write(folder / "nan.wav", spoilt, subtype="FLOAT")
    return folder


def test_the_table_tells_what_a_person_asks(songs, capsys):
    assert main(["annotate", str(songs / "tar.flac"), "--dastgah", "Chahargah"]) == 0
    said = capsys.readouterr().out
    assert "tar.flac, 0:30" in said
    assert "dastgah  chahargah 1.00, family chahargah" in said
    assert " Hz, " in said
    assert "BPM" in said or "no metre" in said


def test_a_drum_has_a_tempo_alone(songs, capsys):
    assert main(["annotate", str(songs / "tonbak.flac"), "--instrument", "tombak"]) == 0
    said = capsys.readouterr().out
    assert "dastgah  none" in said
    assert "tonic" not in said


def test_csv_and_json_hold_every_slice(songs, capsys):
    files = [str(songs / "tar.flac"), str(songs / "tonbak.flac")]
    assert main(["annotate", *files, "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert len(rows) == 12
    assert [float(row["start_s"]) for row in rows[:6]] == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    assert main(["annotate", *files, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["file"] for one in told] == files
    assert [len(one["slices"]) for one in told] == [6, 6]
    for row, piece in zip(rows, [piece for one in told for piece in one["slices"]], strict=True):
        assert float(row["bpm_confidence"]) == pytest.approx(piece["bpm_confidence"], abs=1e-4)
        assert (row["bpm"] == "") == (piece["bpm"] is None)


def test_a_label_is_taken_and_doubted(songs, capsys):
    assert main(["annotate", str(songs / "tar.flac"), "--dastgah", "mahoor", "--tonic", "200", "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert {piece["dastgah"] for piece in told["slices"]} == {"mahur"}
    assert {piece["tonic_hz"] for piece in told["slices"]} == {200.0}
    assert {piece["tonic_source"] for piece in told["slices"]} == {"label"}


def test_files_that_cannot_be_used_are_named_and_the_rest_is_done(songs, capsys):
    assert main(["annotate", *(str(songs / name) for name in BAD), str(songs / "tar.flac")]) == 1
    said = capsys.readouterr()
    assert "tar.flac, 0:30" in said.out
    for name, reason in zip(BAD, ("is empty", "cannot be decoded", "NaN", "No such file"), strict=True):
        (line,) = (line for line in said.err.splitlines() if name in line)
        assert reason in line


def test_a_file_that_is_cut_short_is_annotated_as_far_as_it_goes_and_remarked_on(tmp_path, capsys):
    whole = write(tmp_path / "song.mp3", noise(20.0)).read_bytes()
    (tmp_path / "song.mp3").write_bytes(whole[: len(whole) // 2])
    assert main(["annotate", str(tmp_path / "song.mp3")]) == 0
    said = capsys.readouterr()
    assert "song.mp3, 0:09" in said.out
    assert re.fullmatch(r".*song\.mp3: it ends at 9\.\d\d of 20\.\d\d s; is it cut short\?\n", said.err)


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
def test_control_characters_of_names_never_reach_the_terminal(songs, tmp_path, capsys, kind):
    good, bad = tmp_path / "good\x1b[2J.flac", tmp_path / "bad\x1b]0;title\x07\nok.wav"
    shutil.copy(songs / "tonbak.flac", good)
    bad.write_text("no music")
    main(["annotate", str(good), str(bad), "--format", kind])
    said = capsys.readouterr()
    assert not {one for one in said.out + said.err if unicodedata.category(one) == "Cc"} - {"\n"}
    assert "good\\u001b[2J.flac" in said.out
    assert said.err.startswith(f"{tmp_path}/bad\\u001b]0;title\\u0007\\u000aok.wav: ")
    if kind == "json":
        assert json.loads(said.out)[0]["file"] == str(good)


def test_a_picture_of_one_file_and_of_several(songs, tmp_path, capsys):
    target = tmp_path / "new/out.png"
    assert main(["annotate", str(songs / "tar.flac"), "--plot", str(target)]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    first = target.read_bytes()
    assert main(["annotate", str(songs / "tar.flac"), "--plot", str(target)]) == 0
    assert target.read_bytes() == first
    both = [str(songs / "tar.flac"), str(songs / "tonbak.flac")]
    assert main(["annotate", *both, "--plot", str(tmp_path / "all")]) == 0
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"tar.flac.png", "tonbak.flac.png"}
    assert main(["annotate", *both, "--plot", str(target)]) == 1
    assert "give a folder" in capsys.readouterr().err


@pytest.fixture
def namesakes(tmp_path) -> list[str]:
    """Two recordings of one name."""
    return [str(write(tmp_path / folder / "x.wav", noise(6.0, seed=k))) for k, folder in enumerate("ab")]


def test_two_pictures_are_never_written_to_one_file(namesakes, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    assert main(["annotate", *namesakes, "--plot", str(pictures)]) == 1
    said = capsys.readouterr()
    assert f"would both be written to {pictures / 'x.wav.png'}; rename one" in said.err
    assert said.out == ""
    assert not pictures.exists()
    assert main(["annotate", namesakes[0], namesakes[0], "--plot", str(pictures)]) == 0


@pytest.mark.parametrize("ending", ["svg", "PDF"])
def test_a_picture_of_another_kind_is_no_folder(namesakes, tmp_path, capsys, ending):
    target = tmp_path / f"out.{ending}"
    assert main(["annotate", namesakes[0], "--plot", str(target)]) == 1
    assert f"--plot {target}: PNG is drawn; name a file that ends in .png, or a folder" in capsys.readouterr().err
    assert not target.exists()


def test_a_picture_that_cannot_be_written_is_named_and_its_recording_is_told_of(namesakes, tmp_path, capsys):
    (tmp_path / "file").write_text("a file")
    target = tmp_path / "file" / "x.wav.png"
    assert main(["annotate", namesakes[0], "--plot", str(tmp_path / "file"), "--format", "json"]) == 1
    said = capsys.readouterr()
    assert said.err == f"error: {target}: cannot be written (File exists); make room, or name another folder\n"
    (told,) = json.loads(said.out)
    assert told["file"] == namesakes[0]


def test_a_name_too_long_for_a_picture_stops_no_other(namesakes, tmp_path, capsys):
    long = Path(namesakes[0]).rename(tmp_path / ("a" * 250 + ".wav"))
    assert main(["annotate", str(long), namesakes[1], "--plot", str(tmp_path / "all")]) == 1
    said = capsys.readouterr()
    assert f"{long}: {tmp_path / 'all' / long.name}.png: cannot be written (" in said.err
    assert "give it a shorter name" in said.err
    assert f"{long}, 0:06" in said.out
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["x.wav.png"]


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
@pytest.mark.parametrize("told", [0, 1])
def test_what_was_found_before_an_interruption_is_told(namesakes, capsys, monkeypatch, kind, told):
    main(["annotate", *namesakes[:told], "--format", kind] if told else ["annotate", "absent.wav", "--format", kind])
    expected = capsys.readouterr().out
    listen, calls = annotate.evidence.listen, []

    def interrupted(blocks):
        calls.append(blocks)
        if len(calls) > told:
            raise KeyboardInterrupt
        return listen(blocks)

    monkeypatch.setattr(annotate.evidence, "listen", interrupted)
    assert main(["annotate", *namesakes, "--format", kind]) == 130
    assert capsys.readouterr().out == expected


def test_json_is_laid_out_as_one_list(namesakes, capsys):
    for files in ([], namesakes[:1], namesakes):
        main(["annotate", "absent.wav", *files, "--format", "json"])
        said = capsys.readouterr().out
        assert said == json.dumps(json.loads(said), indent=1, ensure_ascii=False) + "\n"
        assert [one["file"] for one in json.loads(said)] == files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dastgah", "blues"], "invalid choice: 'blues' (choose from"),
        (["--instrument", "oud"], "invalid choice: 'oud' (choose from"),
        (["--bpm", "0"], "'0': give a number between 20 and 400"),
        (["--tonic", "high"], "'high': give a number between 20 and 5000"),
    ],
)
def test_a_call_without_sense_is_refused_before_anything_is_done(songs, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        main(["annotate", str(songs / "tar.flac"), *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_is_installed():
    command = shutil.which("tarkib", path=str(Path(sys.executable).parent))
    said = subprocess.run([command, "annotate", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--plot" in said


def test_parameters_come_from_the_file_that_is_named(songs, tmp_path, capsys, content):
    content["annotate"]["min_confidence"] = 1.0
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(content))
    strict = ["annotate", str(songs / "tar.flac"), "--format", "json", "--params", str(tmp_path / "strict.yaml")]
    assert main(strict) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert {piece["bpm"] for piece in told["slices"]} == {None}
