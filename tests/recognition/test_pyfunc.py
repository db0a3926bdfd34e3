"""The registered model as others use it: in Python without this project, and over HTTP."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import noise, write
from mlflow.exceptions import MlflowException
from small_classifier import write_classifier

from tarkib import Recogniser, params
from tarkib.errors import TarkibError
from tarkib.recognition import Recognition, pyfunc
from tarkib.tracking import runs
from tarkib.vocabulary import INSTRUMENTS

MODEL = "models:/tarkib@best"
RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, defaults: params.Params) -> Iterator[Path]:
    """A project with one registered model, not trained on piano, and a recording."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", "")
        classifier = write_classifier(folder / "classifier", untrained=("piano",))
        write(folder / "song.wav", noise(8, rate=RATE), RATE, subtype="FLOAT")
        runs.log_evaluation(defaults, "weights", {"accuracy": 0.8}, classifier)
        yield folder
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def model(folder: Path) -> mlflow.pyfunc.PyFuncModel:
    return mlflow.pyfunc.load_model(MODEL)


@pytest.fixture(scope="module")
def expected(folder: Path) -> Recognition:
    """The recogniser's own result for the recording."""
    return Recogniser.load(folder / "classifier", device="cpu")(folder / "song.wav")


def song() -> np.ndarray:
    """Samples of the recording."""
    return noise(8, rate=RATE)


def agrees(table: pd.DataFrame, expected: Recognition, row: int = 0) -> None:
    """Fail where a row's windows differ from the recogniser's."""
    mine = table[table["input"] == row].reset_index(drop=True)
    np.testing.assert_allclose(mine["start_s"], expected.starts_s)
    np.testing.assert_allclose(mine["end_s"], expected.ends_s)
    # None, for the class without training, becomes NaN.
    np.testing.assert_allclose(mine[list(INSTRUMENTS)].astype(float), expected.window_probabilities, atol=1e-5)
    present = expected.window_probabilities >= expected.thresholds
    # Otherwise the next line would prove nothing.
    assert present.any()
    assert not present[:, expected.trained].all()
    assert mine["present"].map(list).tolist() == [np.array(INSTRUMENTS)[window].tolist() for window in present]


@pytest.mark.slow
def test_a_recording_in_each_of_the_ways(model, expected, folder):
    file = folder / "song.wav"
    for row in (
        {"path": str(file)},
        {"audio": file.read_bytes()},
        {"audio": base64.b64encode(file.read_bytes()).decode()},
        {"samples": np.stack([song(), song()]), "sample_rate": RATE},
        {"samples": song().tolist(), "sample_rate": float(RATE)},
    ):
        table = model.predict(pd.DataFrame([row]))
        assert list(table) == ["input", "start_s", "end_s", "present", *INSTRUMENTS]
        assert table["piano"].tolist() == [None] * len(table)
        agrees(table, expected)
    found = Recogniser.load(MODEL, device="cpu")(file)
    np.testing.assert_array_equal(found.window_probabilities, expected.window_probabilities)


def test_rows_of_different_kinds_and_the_hop(model, folder):
    part = song()[: 6 * RATE]
    rows = [{"samples": part, "sample_rate": RATE}, {"path": str(folder / "song.wav")}]
    table = model.predict(rows, params={"hop_s": 2.5})
    recogniser = Recogniser.load(folder / "classifier", device="cpu")
    for row, sound in enumerate(((part, RATE), folder / "song.wav")):
        agrees(table, recogniser(sound, hop_s=2.5), row)


GOOD = {"samples": [0.1] * 9_000, "sample_rate": 8_000}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"path": "absent.wav"}, "row 1: absent.wav: no such file"),
        ({"path": 3}, r"row 1: path is 3\.0, not the name of a file"),
        ({"path": "song.txt"}, "row 1: song.txt: cannot be decoded"),
        ({"path": "a\x1b[1m" * 10_000}, r"row 1: (a\\u001b\[1m)+\S{0,9}…: File name too long"),
        ({"audio": b"no music"}, "row 1: cannot be decoded"),
        ({"audio": "%%%"}, "row 1: audio is not base64"),
        ({"audio": ""}, "row 1: the file is empty"),
        ({"samples": [0.1, 0.2]}, "row 1: samples or sample_rate are no numbers"),
        ({"samples": [0.1, 0.2], "sample_rate": "fast"}, "row 1: samples or sample_rate are no numbers"),
        ({"samples": ["a"], "sample_rate": 8_000}, "row 1: samples or sample_rate are no numbers"),
        ({"samples": [10**400], "sample_rate": 8_000}, "row 1: samples or sample_rate are no numbers"),
        ({"samples": [0.1, 0.2], "sample_rate": 3}, "row 1: its header gives a sample rate of 3 Hz"),
        ({"samples": [], "sample_rate": 8_000}, r"row 1: samples have shape \(0,\)"),
        ({"samples": 0.5, "sample_rate": 8_000}, r"row 1: samples have shape \(\)"),
        ({"samples": [0.1, -3_000.0], "sample_rate": 8_000}, "row 1: peaks at 3e.03"),
        ({}, "row 1: gives no recording; a row has one of path, audio, or samples"),
        ({"path": "a.wav", "audio": "AAAA"}, "row 1: gives path and audio; a row has one of"),
    ],
)
def test_a_bad_row_is_named(model, tmp_path, monkeypatch, row, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "song.txt").write_text("no music")
    with pytest.raises(MlflowException, match=message) as error:
        model.predict([GOOD, row])
    assert error.value.get_http_status_code() == 400


def test_a_table_without_recordings_and_a_hop_too_long(model):
    with pytest.raises(MlflowException, match="no rows with a column path, audio or samples"):
        model.predict([{"file": "a.wav"}])
    with pytest.raises(MlflowException, match="hop_s is 7; it must be from"):
        model.predict([GOOD], params={"hop_s": 7.0})


def test_damaged_weights_are_named(folder, tmp_path):
    copy = Path(mlflow.artifacts.download_artifacts(MODEL, dst_path=str(tmp_path / "model")))
    weights = copy / "artifacts/classifier/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for load in (mlflow.pyfunc.load_model, Recogniser.load):
        with pytest.raises(TarkibError, match=r"model\.safetensors: damaged"):
            load(str(copy))


ALONE = """
import builtins, json, sys
imported, ordinary = set(), builtins.__import__
def noted(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and (globals or {}).get("__name__", "").partition(".")[0] in ("tarkib", "pyfunc", "code_model"):
        imported.add(name.partition(".")[0])
    return ordinary(name, globals, locals, fromlist, level)
builtins.__import__ = noted
sys.path = [one for one in sys.path if one != PROJECT]
sys.meta_path = [one for one in sys.meta_path if "editable" not in repr(one)]
import mlflow
model = mlflow.pyfunc.load_model(MODEL)
table = model.predict([{"path": SONG}])
import tarkib
others = sorted(imported - set(sys.stdlib_module_names))
print(json.dumps({"from": tarkib.__file__, "rows": len(table), "imported": others}))
"""


@pytest.mark.slow
def test_it_loads_where_tarkib_is_not_installed(folder, expected, tmp_path):
    """From the copy of the code in the model, with the packages that the model names."""
    copy = mlflow.artifacts.download_artifacts(MODEL, dst_path=str(tmp_path / "model"))
    project = str(Path(pyfunc.__file__).resolve().parents[2])
    values = {"PROJECT": project, "MODEL": copy, "SONG": str(folder / "song.wav")}
    code = "".join(f"{name} = {value!r}\n" for name, value in values.items()) + ALONE
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert Path(report["from"]).is_relative_to(copy)
    assert report["rows"] == len(expected.starts_s)
    named = {line.partition("==")[0] for line in (Path(copy) / "requirements.txt").read_text().split()}
    assert named == set(pyfunc.REQUIREMENTS)
    packages = metadata.packages_distributions()
    for module in set(report["imported"]) - {"tarkib"}:
        assert {one.lower() for one in packages[module]} & named, module


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """Address of `mlflow models serve`, as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    call = f"-m mlflow models serve --env-manager local -m {MODEL} -h 127.0.0.1 -p {port}"
    # PATH is where MLflow looks for the programs that it starts.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "OMP_NUM_THREADS": "1", "PATH": path}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *call.split()],
            cwd=folder,
            env={**os.environ, **store},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        while not answers(f"{address}/ping"):
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield address
    finally:
        # The server is a child of the command.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status == 200
    except OSError:
        return False


def asked(server: str, **content: object) -> pd.DataFrame:
    """The table that the server answers with, without NaN, which is no JSON."""
    request = urllib.request.Request(
        f"{server}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return pd.DataFrame(json.load(answer, parse_constant=pytest.fail)["predictions"])


@pytest.mark.slow
def test_the_server_answers_by_path_samples_and_audio_and_names_what_is_wrong(server, expected, folder):
    file = folder / "song.wav"
    rows = [
        {"path": str(file)},
        {"samples": song().tolist(), "sample_rate": RATE},
        {"audio": base64.b64encode(file.read_bytes()).decode()},
    ]
    table = asked(server, inputs=rows, params={"hop_s": 1.0})
    agrees(asked(server, dataframe_records=rows[:1]), expected)
    for number in range(len(rows)):
        agrees(table, expected, number)
    with pytest.raises(urllib.error.HTTPError) as error:
        asked(server, dataframe_records=[{"path": "absent.wav"}])
    assert error.value.code == 400
    answer = json.load(error.value)
    assert "row 0: absent.wav: no such file" in answer["message"]
    assert "Traceback" not in str(answer)
