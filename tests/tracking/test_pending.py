"""A store that fails: refused before a training in one line, and later without a loss."""

import contextlib
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from conftest import REPOSITORY
from small_classifier import write_classifier

from tarkib import cli
from tarkib.errors import TarkibError
from tarkib.runtime import mlflow_store
from tarkib.tracking import pending, runs

from .server import Server

REFUSED = ("503 Service Unavailable", b"<html>back soon</html>")


@pytest.fixture
def project(root: Path) -> Path:
    """The project with params.yaml, as `tarkib track` needs it."""
    shutil.copy(REPOSITORY / "params.yaml", root)
    return root


def log(run: runs.Run, step: int) -> None:
    """What the trainer reports at a step."""
    state = SimpleNamespace(is_world_process_zero=True, global_step=step)
    run.on_log(None, state, None, logs={"eval_loss": 1 / step, "epoch": step})


def only_run() -> mlflow.entities.Run:
    (found,) = mlflow.search_runs(experiment_names=["tarkib"], output_format="list")
    return found


def train_and_evaluate(params, project: Path, between: Callable[[], None]) -> None:
    """Train for three steps, with something that happens after the first, and evaluate."""
    with runs.training(params, "fingerprint", {"mixtures": "abc"}) as run:
        log(run, 1)
        between()
        log(run, 2)
        log(run, 3)
        run.note_weights("weights")
    classifier = write_classifier(project / "models/classifier", validation_roc_auc=0.9)
    runs.evaluated(params, "weights", {"accuracy": 0.75, "f1_macro": None}, classifier, "8 clips")


def all_is_logged() -> None:
    """Fail where something of the training or the evaluation above is not in the store."""
    client, found = mlflow.MlflowClient(), only_run()
    assert [one.step for one in client.get_metric_history(found.info.run_id, "eval_loss")] == [1, 2, 3]
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test_accuracy"] == 0.75
    version = client.get_model_version_by_alias("tarkib", "best")
    assert version.run_id == found.info.run_id
    assert version.tags["test_accuracy"] == "0.75"
    assert not pending.anything()
    assert list(pending.folder().glob("[!.]*")) == []


def test_a_server_that_answers(server, project, defaults, capsys):
    """Below a path, with a password that goes into the requests and nowhere else."""
    train_and_evaluate(defaults, project, between=lambda: None)
    all_is_logged()
    assert {authorization for _, authorization in server.requests} == {"Basic bWU6c0BjcmV0"}
    assert "cret" not in mlflow.get_tracking_uri()
    said = capsys.readouterr()
    assert "cret" not in said.out + said.err


def test_a_server_that_goes_away_costs_nothing(server: Server, project, defaults, capsys):
    train_and_evaluate(defaults, project, between=server.stop)
    lines = capsys.readouterr().out.splitlines()
    assert [f"MLflow's store {server.address}: it does not answer; start it, or" in one for one in lines] == [True] * 3
    assert "what this training logs is kept, and `tarkib track` logs it" in lines[0]
    assert "what this training logged is kept, and `tarkib track` logs it" in lines[1]
    assert "this evaluation is kept, and `tarkib track` logs it" in lines[2]
    # The next training's classifier takes the place of this one.
    shutil.rmtree(project / "models")
    assert cli.main(["track"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: MLflow's store {server.address}: it does not answer")
    server.start()
    assert cli.main(["track"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"training {only_run().info.run_id} logged\nevaluation [0-9a-f]{{32}} logged\n", said)
    all_is_logged()
    assert cli.main(["track"]) == 0
    assert capsys.readouterr().out == "nothing is waiting to be logged\n"


def test_a_server_that_is_back_in_time_gets_all(server: Server, project, defaults, capsys):
    """What a training could not log is logged at its end, and what an end could not log by the next evaluation."""
    broken = []
    server.fails = lambda path: REFUSED if broken and path.endswith(broken[0]) else None
    train_and_evaluate(defaults, project, between=lambda: broken.append("/runs/update"))
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert pending.anything()
    broken.clear()
    runs.evaluated(defaults, "weights", {"accuracy": 0.75}, project / "models/classifier")
    all_is_logged()


def test_a_server_that_fails_while_the_model_is_sent(server: Server, project, defaults, capsys):
    server.fails = lambda path: REFUSED if "/registered-models/" in path else None
    train_and_evaluate(defaults, project, between=lambda: None)
    (line,) = capsys.readouterr().out.splitlines()
    assert f"MLflow's store {server.address}: it answers with the error 503; look into the server's log" in line
    server.fails = lambda path: None
    assert cli.main(["track"]) == 0
    all_is_logged()


def test_a_server_of_mlflow_2_has_all_but_the_model(server: Server, project, defaults, capsys):
    server.fails = lambda path: ("404 Not Found", b"<html>") if "/logged-models" in path else None
    train_and_evaluate(defaults, project, between=lambda: None)
    (line,) = capsys.readouterr().out.splitlines()
    assert "stores no models of MLflow 3; the run and its figures are logged, the model is not registered" in line
    assert only_run().data.metrics["test_accuracy"] == 0.75
    assert not pending.anything()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("403 Forbidden", b"<html>no</html>"), "it refuses access (403); set MLFLOW_TRACKING_USERNAME and "),
        (("401 Unauthorized", b'{"error_code": "UNAUTHENTICATED", "message": "s@cret"}'), "it refuses access (401)"),
        (("500 Internal Server Error", b'{"error_code": "INTERNAL_ERROR"}'), "it answers with the error 500; look"),
        (("502 Bad Gateway", b"<html>" + b"x" * 100_000), "it answers with the error 502; look"),
        (("200 OK", b"<html>" + b"\x1b[31m welcome " * 10_000), "was not in a valid JSON format"),
        (("200 OK", b"\xff\xfe"), "not"),
    ],
)
def test_no_training_begins_with_a_server_that_fails(server: Server, defaults, capsys, answer, words):
    server.fails = lambda path: answer
    with pytest.raises(TarkibError) as told, runs.training(defaults, "fingerprint", {}):
        pytest.fail("trained")
    refused(str(told.value), server.address, words)


def refused(line: str, address: str, words: str) -> None:
    """Fail where an error is not one short line that names the store and no password."""
    assert line.startswith(f"MLflow's store {address}: ")
    assert words in line
    assert "set MLFLOW_TRACKING_URI" in line
    assert "cret" not in line
    assert line.isprintable()
    assert len(line) < 500


@pytest.mark.parametrize(
    ("address", "shown", "words"),
    [
        ("http://me:s%40cret@127.0.0.1:{port}/x", "http://127.0.0.1:{port}/x", "it does not answer; start it"),
        ("postgresql://me:s%40cret@127.0.0.1:{port}/x", "postgresql://***@127.0.0.1:{port}/x", "install what"),
        ("nonsense://me:s%40cret@x", "nonsense://***@x", "unsupported URI"),
        ("databricks", "databricks", "credential"),
    ],
)
def test_no_training_begins_with_a_store_that_is_not_there(root, settings, capsys, address, shown, words):
    """In params.yaml too; a closed port is known to be closed, since it was ours."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    params = settings(run={"tracking_uri": address.format(port=port)})
    with pytest.raises(TarkibError) as told, runs.training(params, "fingerprint", {}):
        pytest.fail("trained")
    refused(str(told.value), shown.format(port=port), words)
    assert "cret" not in "".join(capsys.readouterr())


def test_the_users_own_patience_wins(server: Server, monkeypatch):
    """MLflow's environment variables, where they are set, are left as they are."""
    seen = []
    server.fails = lambda path: seen.append(path) or REFUSED
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with pytest.raises(TarkibError, match="503"):
        mlflow_store.connect(None)
    assert len(seen) == 4


@pytest.mark.parametrize("address", ["./mlruns", "file:./mlruns", "mlruns", "sqlite:///other.db"])
def test_relative_stores_lie_in_the_project(project, defaults, monkeypatch, address):
    """Not in the copy that an experiment is run in."""
    copy = project / ".dvc/tmp/exps/one"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    train_and_evaluate(defaults, project, between=lambda: None)
    all_is_logged()
    assert (project / ("other.db" if "db" in address else "mlruns")).exists()
    assert list(copy.iterdir()) == []


def damaged(database: Path) -> None:
    database.write_bytes(b"no database at all" * 100)


def torn(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[100:8192] = bytes(8092)
    database.write_bytes(content)


def a_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged, "it is damaged; move the file away"),
        (torn, "it is damaged; move the file away"),
        (a_folder, "it cannot be opened; is its folder there"),
    ],
)
def test_a_spoilt_database_is_one_line(project, defaults, capsys, spoil, words):
    mlflow_store.connect(None)
    mlflow.set_tracking_uri(None)
    spoil(project / "mlflow.db")
    with pytest.raises(TarkibError) as told, runs.training(defaults, "fingerprint", {}):
        pytest.fail("trained")
    assert str(told.value).startswith(f"MLflow's store {project / 'mlflow.db'}: {words}")
    runs.evaluated(defaults, "weights", {}, write_classifier(project / "classifier"))
    (line,) = capsys.readouterr().out.splitlines()
    assert words in line
    assert line.endswith("when the store can be used")


def test_a_locked_database_is_one_line(project, defaults):
    """By a program that does not let go of it."""
    mlflow_store.connect(None)
    with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TarkibError) as told, runs.training(defaults, "fingerprint", {}):
            pytest.fail("trained")
        assert "mlflow.db: another program keeps it locked; end that program, or wait" in str(told.value)


FULL = """
import resource, signal, sys
from pathlib import Path
from types import SimpleNamespace
from tarkib import params
from tarkib.tracking import runs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with runs.training(params.load(Path("params.yaml")), "fingerprint", {}) as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    state = SimpleNamespace(is_world_process_zero=True, global_step=1)
    run.on_log(None, state, None, logs={"eval_loss": 1.0})
print("trained")
"""


def test_a_full_disk_ends_no_training(project):
    """Neither the database nor the journal can be written."""
    done = subprocess.run([sys.executable, "-c", FULL], cwd=project, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert re.search(r"mlflow\.db: it cannot be written; is the disk full\?", lines[0])
    assert "File too large; the metrics of this training cannot be kept" in lines[1]
    assert lines[-1] == "trained"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["", '{"weights_sha256": "a", "foo": 1}', "\xff"])
def test_a_damaged_evaluation_is_named_and_stops_nothing(project, defaults, capsys, content):
    damaged = pending.folder() / "x/evaluation.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(content, encoding="latin-1")
    train_and_evaluate(defaults, project, between=lambda: None)
    capsys.readouterr()
    assert cli.main(["track"]) == 1
    assert f"{damaged}: damaged, or of another version of Tarkib; delete {damaged.parent}" in capsys.readouterr().out


def test_a_journal_of_a_run_that_is_gone_is_named(project, capsys):
    mlflow_store.connect(None)
    journal = pending.journal("0" * 32)
    pending.keep_entry("0" * 32, {"status": "FINISHED"})
    journal.write_bytes(b"\xff\xfe\n1\n" + journal.read_bytes())
    assert cli.main(["track"]) == 1
    assert f"the store has no run {'0' * 32} (is it a new store?); delete {journal}" in capsys.readouterr().out


def test_what_another_process_has_logged_meanwhile_is_done(project):
    mlflow_store.connect(None)
    pending.send_training("0" * 32)
    pending._send_evaluation(pending.folder() / "x/evaluation.json")


def test_a_store_in_memory_is_refused(defaults, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite://")
    with pytest.raises(TarkibError, match="sqlite://: keeps nothing; name a file"):
        mlflow_store.connect(None)


def test_half_a_line_of_a_journal_is_left_out(project):
    """As a kill leaves it."""
    mlflow_store.connect(None)
    journal = pending.journal("0" * 32)
    pending.keep_entry("0" * 32, {"metrics": [["loss", 1.0, 5, 1]]})
    with journal.open("a") as file:
        file.write(json.dumps({"store": "x", "metrics": []})[:9])
    assert not pending.anything()
