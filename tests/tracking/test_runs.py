"""A store that fails: refused before a training in one line, and later without a loss."""

import contextlib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from conftest import REPOSITORY
from small_classifier import write_classifier

from tarkib import cli
from tarkib.errors import TarkibError
from tarkib.runtime import mlflow_store
from tarkib.tracking import runs

from .server import Server

pytestmark = pytest.mark.slow

REFUSED = ("503 Service Unavailable", b"<html>back soon</html>")


@pytest.fixture
def project(root: Path) -> Path:
    """The project with params.yaml, as `tarkib track` needs it."""
    shutil.copy(REPOSITORY / "params.yaml", root)
    return root


def log(run: runs.Run, step: int) -> None:
    """What the trainer reports at a step."""
    run.log({"eval_loss": 1 / step, "epoch": step}, step)


def only_run() -> mlflow.entities.Run:
    (run,) = mlflow.search_runs(experiment_names=["tarkib"], output_format="list")
    return run


def train_and_evaluate(params, project: Path, between: Callable[[], object] = int) -> None:
    """Train for three steps, call `between` after the first, and evaluate."""
    with runs.training(params, "fingerprint", {"mixtures": "abc"}) as run:
        log(run, 1)
        between()
        log(run, 2)
        log(run, 3)
        run.tag_weights("weights")
    classifier = write_classifier(project / "models/classifier", validation_roc_auc=0.9)
    runs.log_evaluation(params, "weights", {"accuracy": 0.75, "f1_macro": None}, classifier, "8 clips")


def all_is_logged() -> None:
    """Fail where something of the training or the evaluation above is not in the store."""
    client, run = mlflow.MlflowClient(), only_run()
    assert [one.step for one in client.get_metric_history(run.info.run_id, "eval_loss")] == [1, 2, 3]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_accuracy"] == 0.75
    version = client.get_model_version_by_alias("tarkib", "best")
    assert (version.run_id, version.tags["test_accuracy"]) == (run.info.run_id, "0.75")
    assert list(runs.pending_folder().glob("[!.]*")) == []


def refusal(params) -> str:
    """The one line that refuses to train with the store."""
    with pytest.raises(TarkibError) as raised, runs.training(params, "fingerprint", {}):
        pytest.fail("trained")
    line = str(raised.value)
    assert line.isprintable()
    assert "cret" not in line
    assert len(line) < 500
    return line


def test_a_server_that_answers(server, project, defaults, capsys):
    """Below a path, with a password that goes into the requests and nowhere else."""
    train_and_evaluate(defaults, project)
    all_is_logged()
    assert {authorization for _, authorization in server.requests} == {"Basic bWU6c0BjcmV0"}
    assert "cret" not in mlflow.get_tracking_uri() + "".join(capsys.readouterr())


def test_a_server_that_goes_away_costs_nothing(server: Server, project, defaults, capsys):
    train_and_evaluate(defaults, project, between=server.stop)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line, what in zip(
        lines, ("what this training logs", "what this training logged", "this evaluation"), strict=True
    ):
        assert f"MLflow's store {server.address}: it does not answer; start it, or" in line
        assert f"{what} is kept, and `tarkib track` logs it" in line
    # The next training's classifier takes the place of this one.
    shutil.rmtree(project / "models")
    assert cli.main(["track"]) == 1
    assert capsys.readouterr().err.startswith(f"error: MLflow's store {server.address}: it does not answer")
    server.start()
    assert cli.main(["track"]) == 0
    printed = capsys.readouterr().out
    assert re.fullmatch(rf"training {only_run().info.run_id} logged\nevaluation [0-9a-f]{{32}} logged\n", printed)
    all_is_logged()
    assert cli.main(["track"]) == 0
    assert capsys.readouterr().out == "nothing is waiting to be logged\n"


def test_a_server_that_is_back_in_time_gets_all(server: Server, project, defaults):
    """What a training could not log is logged by the next evaluation."""
    broken = []
    server.fails = lambda path: REFUSED if broken and path.endswith(broken[0]) else None
    train_and_evaluate(defaults, project, between=lambda: broken.append("/runs/update"))
    assert any(runs.pending())
    broken.clear()
    runs.log_evaluation(defaults, "weights", {"accuracy": 0.75}, project / "models/classifier")
    all_is_logged()


def test_a_server_that_fails_while_the_model_is_sent(server: Server, project, defaults, capsys):
    server.fails = lambda path: REFUSED if "/registered-models/" in path else None
    train_and_evaluate(defaults, project)
    (line,) = capsys.readouterr().out.splitlines()
    assert f"MLflow's store {server.address}: it answers with the error 503; look into the server's log" in line
    server.fails = lambda path: None
    assert cli.main(["track"]) == 0
    all_is_logged()


def test_a_server_of_mlflow_2_has_all_but_the_model(server: Server, project, defaults, capsys):
    server.fails = lambda path: ("404 Not Found", b"<html>") if "/logged-models" in path else None
    train_and_evaluate(defaults, project)
    assert "stores no models of MLflow 3; only the figures are logged" in capsys.readouterr().out
    assert only_run().data.metrics["test_accuracy"] == 0.75
    assert not any(runs.pending())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("401 Unauthorized", b'{"error_code": "UNAUTHENTICATED", "message": "s@cret"}'), "it refuses access (401); "),
        (("500 Internal Server Error", b'{"error_code": "INTERNAL_ERROR"}'), "it answers with the error 500; look"),
        (("502 Bad Gateway", b"<html>" + b"x" * 100_000), "it answers with the error 502; look"),
        (("200 OK", b"<html>" + b"\x1b[31m welcome " * 10_000), "was not in a valid JSON format"),
    ],
)
def test_no_training_begins_with_a_server_that_fails(server: Server, defaults, answer, words):
    server.fails = lambda path: answer
    line = refusal(defaults)
    assert line.startswith(f"MLflow's store {server.address}: ")
    assert words in line


@pytest.mark.parametrize(
    ("address", "shown", "words"),
    [
        ("http://me:s%40cret@127.0.0.1:{port}/x", "http://127.0.0.1:{port}/x", "it does not answer; start it"),
        ("postgresql://me:s%40cret@127.0.0.1:{port}/x", "postgresql://***@127.0.0.1:{port}/x", "install what"),
        ("nonsense://me:s%40cret@x", "nonsense://***@x", "unsupported URI"),
    ],
)
def test_no_training_begins_with_a_store_that_is_not_there(root, settings, address, shown, words):
    """In params.yaml too; a closed port is known to be closed, since it was ours."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    line = refusal(settings(run={"tracking_uri": address.format(port=port)}))
    assert line.startswith(f"MLflow's store {shown.format(port=port)}: ")
    assert words in line
    assert "set MLFLOW_TRACKING_URI" in line


def test_the_users_own_patience_wins(server: Server, monkeypatch):
    """MLflow's environment variables, where they are set, are left as they are."""
    server.fails = lambda path: REFUSED
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    with pytest.raises(TarkibError, match="503"):
        mlflow_store.connect(None)
    assert len(server.requests) == 4


@pytest.mark.parametrize("address", ["file:./mlruns", "mlruns", "sqlite:///other.db"])
def test_relative_stores_lie_in_the_project(project, defaults, monkeypatch, address):
    """Not in the copy that an experiment is run in."""
    copy = project / ".dvc/tmp/exps/one"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    train_and_evaluate(defaults, project)
    all_is_logged()
    assert (project / ("other.db" if "db" in address else "mlruns")).exists()
    assert list(copy.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no database at all" * 100, "it is damaged; move the file away"), (None, "it cannot be opened; is its folder")],
)
def test_a_spoilt_database_is_one_line(project, defaults, capsys, content, words):
    database = project / "mlflow.db"
    if content is None:
        database.mkdir()
    else:
        database.write_bytes(content)
    assert refusal(defaults).startswith(f"MLflow's store {database}: {words}")
    runs.log_evaluation(defaults, "weights", {}, write_classifier(project / "classifier"))
    (line,) = capsys.readouterr().out.splitlines()
    assert words in line
    assert line.endswith("when the store can be used")


def test_a_locked_database_is_one_line(project, defaults):
    """By a program that does not let go of it."""
    mlflow_store.connect(None)
    with contextlib.closing(sqlite3.connect(project / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "mlflow.db: another program keeps it locked; end that program, or wait" in refusal(defaults)


FULL = """
import resource, signal, sys
from pathlib import Path
from tarkib import params
from tarkib.tracking import runs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with runs.training(params.load(Path("params.yaml")), "fingerprint", {}) as run:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    run.log({"eval_loss": 1.0}, 1)
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
    damaged = runs.pending_folder() / "x/evaluation.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text(content, encoding="latin-1")
    train_and_evaluate(defaults, project)
    capsys.readouterr()
    assert cli.main(["track"]) == 1
    assert f"{damaged}: damaged, or of another version of Tarkib; delete {damaged.parent}" in capsys.readouterr().out


def test_a_damaged_journal_and_one_of_a_run_that_is_gone(project, capsys):
    """A kill leaves half a line; a new store does not know the run."""
    journal = runs.journal("0" * 32)
    journal.parent.mkdir(parents=True)
    journal.write_bytes(b'\xff\xfe\n1\n{"metrics": []}\n{"stat')
    assert not any(runs.pending())
    journal.write_bytes(journal.read_bytes() + b'\n{"status": "FINISHED"}\n')
    assert cli.main(["track"]) == 1
    printed = capsys.readouterr().out
    assert f"the store has no run {'0' * 32}; set MLFLOW_TRACKING_URI" in printed
    assert f"or delete {journal}" in printed


def test_a_store_in_memory_is_refused(defaults, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite://")
    with pytest.raises(TarkibError, match=r"sqlite://: is a database in memory, .*; name a file"):
        mlflow_store.connect(None)
