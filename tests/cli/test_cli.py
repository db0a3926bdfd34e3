"""``tarkib annotate``, and what all commands share."""

import csv
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, noise, write

from tarkib.annotation import evidence
from tarkib.annotation.pitch import Pitch
from tarkib.cli import main
from tarkib.demo import orchestra
from tarkib.vocabulary import SCALES


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A solo of a tar and one of a drum, and files that are no recordings."""
    folder = tmp_path_factory.mktemp("songs")
    plan = orchestra.plan(105, 2, 1, dastgahs=("chahargah",), instruments=("tar", "tonbak"), seconds=(12.0, 12.0))
    solos = {job.instruments[0]: job for job in plan if job.performer}
    for name, job in solos.items():
        write(folder / f"{name}.flac", orchestra.render(job))
    (folder / "empty.wav").touch()
    (folder / "text.flac").write_text("no music")
    spoilt = noise(2.0)
    spoilt[100] = np.nan
    write(folder / "nan.wav", spoilt, subtype="FLOAT")
    return folder


def test_the_table_states_dastgah_tonic_and_tempo(songs, capsys):
    assert main(["annotate", str(songs / "tar.flac"), "--dastgah", "Chahargah"]) == 0
    table = capsys.readouterr().out
    assert "tar.flac, 0:12" in table
    assert "dastgah  chahargah 1.00, family chahargah" in table
    assert " Hz, " in table
    assert "BPM" in table
    assert main(["annotate", str(songs / "tonbak.flac"), "--instrument", "tombak"]) == 0
    table = capsys.readouterr().out
    assert "  dastgah  none: percussion\n" in table
    assert "tonic" not in table
    assert main(["annotate", str(songs / "tonbak.flac")]) == 0
    assert "  dastgah  none: too few held notes" in capsys.readouterr().out


def test_csv_and_json_hold_every_slice(songs, capsys):
    files = [str(songs / "tar.flac"), str(songs / "tonbak.flac")]
    assert main(["annotate", *files, "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["file"], row["start_s"]) for row in rows] == [
        (file, start) for file in files for start in ("0.0", "5.0")
    ]
    assert main(["annotate", *files, "--format", "json"]) == 0
    text = capsys.readouterr().out
    content = json.loads(text)
    assert text == json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    assert [recording["file"] for recording in content] == files
    slices = [piece for recording in content for piece in recording["slices"]]
    for row, piece in zip(rows, slices, strict=True):
        assert float(row["bpm_confidence"]) == pytest.approx(piece["bpm_confidence"], abs=1e-4)
        assert (row["bpm"] == "") == (piece["bpm"] is None)


def test_options_are_labels_and_parameters_come_from_a_file(songs, tmp_path, capsys, content):
    content["annotate"]["min_confidence"] = 1.0
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(content))
    options = ["--dastgah", "mahoor", "--tonic", "200", "--params", str(tmp_path / "strict.yaml")]
    assert main(["annotate", str(songs / "tar.flac"), "--format", "json", *options]) == 0
    (recording,) = json.loads(capsys.readouterr().out)
    assert main(["annotate", str(songs / "tar.flac"), *options]) == 0
    assert re.search(r"0:12  uncertain or free \(0\.\d\d, below min_confidence 1\)", capsys.readouterr().out)
    for name, value in (("dastgah", "mahur"), ("tonic_hz", 200.0), ("tonic_source", "label"), ("bpm", None)):
        assert {piece[name] for piece in recording["slices"]} == {value}


def test_files_that_cannot_be_read_are_named_and_the_rest_is_done(songs, tmp_path, capsys):
    bad = {"empty.wav": "is empty", "text.flac": "cannot be decoded", "nan.wav": "NaN", "absent.wav": "No such file"}
    whole = write(tmp_path / "song.mp3", noise(20.0)).read_bytes()
    (tmp_path / "song.mp3").write_bytes(whole[: len(whole) // 2])
    assert main(["annotate", *(str(songs / name) for name in bad), str(tmp_path / "song.mp3")]) == 1
    printed = capsys.readouterr()
    assert "song.mp3, 0:09" in printed.out
    for name, reason in {**bad, "song.mp3": "it ends at 9."}.items():
        (line,) = (line for line in printed.err.splitlines() if name in line)
        assert reason in line


@pytest.mark.slow
def test_a_picture_of_one_file_and_of_several(songs, tmp_path, capsys):
    target = tmp_path / "new/out.png"
    both = [str(songs / "tar.flac"), str(songs / "tonbak.flac")]
    assert main(["annotate", both[0], "--plot", str(target)]) == 0
    first = target.read_bytes()
    assert first.startswith(b"\x89PNG")
    assert main(["annotate", *both, "--plot", str(tmp_path / "all")]) == 0
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"tar.flac.png", "tonbak.flac.png"}
    assert (tmp_path / "all/tar.flac.png").read_bytes() == first
    # A picture that cannot be written ends the command, after its recording's results.
    capsys.readouterr()
    assert main(["annotate", both[0], "--plot", str(target / "folder"), "--format", "json"]) == 1
    printed = capsys.readouterr()
    assert printed.err.endswith(
        "tar.flac.png: cannot be written (Not a directory); make room, or name another folder\n"
    )
    assert json.loads(printed.out)[0]["file"] == both[0]


def test_a_recording_that_changes_its_mode_is_told_by_parts(songs, tmp_path, capsys, monkeypatch):
    degrees = [
        np.random.default_rng(1).permutation(np.repeat((0, *SCALES[name]), 75)) for name in ("mahur", "chahargah")
    ]
    cents = np.repeat(np.concatenate(degrees) + 2400.0, 10).astype(np.float32)
    pitch = Pitch(cents, np.ones(len(cents), np.float32), np.zeros((48, 120), np.float32))
    found = evidence.Evidence(240.0, np.zeros((24_001, 4), np.float32), pitch)
    monkeypatch.setattr(evidence, "extract", lambda stream: found)
    assert main(["annotate", str(songs / "tar.flac"), "--plot", str(tmp_path / "parts.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line.split() for line in lines if line.strip().startswith("dastgah")]
    assert [words[4] for words in told] == ["mahur", "chahargah"]
    assert (told[0][1], told[0][3], told[1][3]) == ("0:00", told[1][1], "4:00")
    assert (tmp_path / "parts.png").stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
@pytest.mark.parametrize("done", [0, 1])
def test_results_before_an_interrupt_are_printed(tmp_path, capsys, monkeypatch, kind, done):
    files = [str(write(tmp_path / name, noise(6.0))) for name in ("a.wav", "b.wav")]
    main(["annotate", *(files[:done] or ["absent.wav"]), "--format", kind])
    expected = capsys.readouterr().out
    listen, calls = evidence.extract, []

    def interrupted(blocks):
        calls.append(blocks)
        if len(calls) > done:
            raise KeyboardInterrupt
        return listen(blocks)

    monkeypatch.setattr(evidence, "extract", interrupted)
    assert main(["annotate", *files, "--format", kind]) == 130
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dastgah", "blues"], "invalid choice: 'blues' (choose from"),
        (["--instrument", "oud"], "invalid choice: 'oud' (choose from"),
        (["--bpm", "0"], "'0': give a number between 20 and 400"),
        (["--tonic", "high"], "'high': give a number between 20 and 5000"),
    ],
)
def test_wrong_arguments_are_refused(capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        main(["annotate", "song.flac", *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "remedy"), [("predct", "did you mean predict?"), ("xylophone", "choose from predict, annotate, init")]
)
def test_a_mistyped_command(capsys, typed, remedy):
    with pytest.raises(SystemExit) as ended:
        main(["--debug", typed, "song.flac"])
    assert ended.value.code == 2
    assert f"{typed!r} is no command; {remedy}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        ("--version", 0, f"tarkib {metadata.version('tarkib')}"),
        ("--hop 2 predict song.flac", 2, "--hop: options come after their command"),
        ("predict absent.flac --debug --format json", 1, "absent.flac: No such file or directory"),
        ("annotate --format xml song.flac", 2, "invalid choice: 'xml'"),
        ("predict absent.flac --model absent", 1, "absent.flac: No such file or directory"),
        ("predict README.md --format json --model absent", 1, "absent: no such model; run dvc repro"),
        ("annotate absent.flac", 1, "absent.flac: No such file or directory"),
        ("preview absent", 1, "absent: no such folder"),
        ("verify absent", 1, "absent: no such folder; run dvc repro"),
        ("verify README.md", 1, "README.md: is no folder"),
        ("annotate README.md --format json --params absent", 1, "absent: cannot be read"),
        ("export absent --to onnx model.onnx", 1, "absent: no such model"),
        ("app --label absent", 1, "absent: no such folder; make it"),
    ],
)
def test_what_is_wrong_is_said_before_anything_slow_is_loaded(typed, code, message):
    run = "import sys; from tarkib.cli import main; code = main(sys.argv[1:])"
    loaded = "print({'torch', 'scipy', 'pandas', 'matplotlib', 'mlflow'} & set(sys.modules))"
    program = f"import atexit, sys; atexit.register(lambda: {loaded})\n{run}; sys.exit(code)"
    ended = subprocess.run(
        [sys.executable, "-c", program, *typed.split()], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert ended.returncode == code
    assert message in ended.stdout + ended.stderr
    assert ended.stdout.endswith("set()\n")
    assert ended.stdout == "set()\n" or "error:" not in ended.stderr, "not even an empty list"


@pytest.mark.slow
def test_the_command_is_installed():
    command = shutil.which("tarkib", path=str(Path(sys.executable).parent))
    text = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("predict", "annotate", "compare", "app", "preview", "export", "verify", "track", "fetch-backbone"):
        assert f"    {name}" in text
