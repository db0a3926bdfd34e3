"""The pipeline as its users drive it: dvc repro, exp run, push and pull, in a copy of this project."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from conftest import REPOSITORY

from .conftest import set_parameters


class Checkout:
    """A copy of this project as git has it, with a small orchestra as its own recordings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        """Run a command there, with this environment's programs; what it printed, errors too."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "MLFLOW_"))},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", message)

    def metrics(self) -> dict:
        return json.loads((self.folder / "metrics/metrics.json").read_text())

    def tracked_runs(self) -> list:
        client = mlflow.MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("tarkib")
        return client.search_runs([experiment.experiment_id])


@pytest.fixture(scope="module")
def checkout(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which `dvc repro` has run once."""
    folder = tmp_path_factory.mktemp("dvc") / "tarkib"
    listed = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if name != "dvc.lock" and not name.startswith("metrics/") and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    for name in ("raw", "test"):
        shutil.copytree(recordings / name, folder / "data" / name)
    set_parameters(folder)
    one = Checkout(folder)
    one.run("git", "init", "-q")
    one.run("dvc", "add", "-q", "data/raw", "data/test")
    one.commit("own recordings")
    # The demo is nobody's input here, so it is not made.
    said = one.run("dvc", "repro", "evaluate")
    assert "Running stage 'demo'" not in said
    one.commit("first results")
    return one


def test_nothing_to_do_a_second_time(checkout):
    said = checkout.run("dvc", "repro", "evaluate")
    assert "Running stage" not in said
    assert checkout.run("git", "status", "--porcelain") == ""


def test_run_settings_rerun_nothing(checkout):
    set_parameters(checkout.folder, run={"workers": 2})
    assert "Running stage" not in checkout.run("dvc", "repro", "evaluate")
    checkout.run("git", "checkout", "-q", "params.yaml")


def test_a_queued_experiment(checkout):
    """It reruns what its parameter touches, is tracked in the same store, and leaves the workspace alone."""
    before, known = checkout.metrics(), len(checkout.tracked_runs())
    checkout.run("dvc", "exp", "run", "--queue", "-n", "same-tempo", "-S", "augment.mode=bpm", "evaluate")
    said = checkout.run("dvc", "exp", "run", "--run-all")
    assert [line for line in said.splitlines() if line.startswith("Running stage")] == [
        f"Running stage '{stage}':" for stage in ("mix", "train", "evaluate")
    ]
    runs = checkout.tracked_runs()
    assert len(runs) == known + 1
    assert runs[0].data.tags["dvc.experiment"] == "same-tempo"
    assert runs[0].data.params["augment.mode"] == "bpm"
    assert checkout.metrics() == before
    assert checkout.run("git", "status", "--porcelain") == ""
    shown = json.loads(checkout.run("dvc", "metrics", "diff", "--json", "--all", "HEAD", "same-tempo"))
    assert shown["metrics/metrics.json"]["accuracy"]["old"] == before["accuracy"]
    rows = list(csv.DictReader(checkout.run("dvc", "exp", "show", "--csv").splitlines()))
    assert {(row["Experiment"], row["augment.mode"]) for row in rows} >= {("", "dastgah+bpm"), ("same-tempo", "bpm")}


def encodings(chart: dict) -> dict[str, dict]:
    """Channels of a chart, of its innermost layers too, by name; the last of a name."""
    inner = [chart["spec"]] if "spec" in chart else chart.get("layer", [])
    found = {name: one for part in inner if "data" not in part for name, one in encodings(part).items()}
    return {**chart.get("encoding", {}), **found}


def test_plots_compare_experiments(checkout, tmp_path):
    """Each picture has a title and named axes, and both revisions' figures in colours of their own."""
    said = checkout.run("dvc", "plots", "diff", "--json", "-o", str(tmp_path), "HEAD", "same-tempo")
    shown = json.loads(said)["data"]
    declared = yaml.safe_load((checkout.folder / "dvc.yaml").read_text())["plots"]
    charts = {name: about for one in declared if isinstance(one, dict) for name, about in one.items()}
    assert {name for name in shown if not name.endswith(".png")} == set(charts)
    for name, about in charts.items():
        (chart,) = (one["content"] for one in shown[name])
        assert chart["title"]["text"] == about["title"]
        channels = encodings(chart)
        assert channels["x"]["title"] == about["x_label"]
        assert channels["y"]["title"] == about["y_label"]
        assert channels["x"]["field"] == about["x"]
        assert channels["color"]["field"] == "rev"
        assert channels["color"]["scale"]["domain"] == ["HEAD", "same-tempo"]
        assert len(set(channels["color"]["scale"]["range"])) == 2
        assert {row["rev"] for row in chart["data"]["values"]} == {"HEAD", "same-tempo"}
        assert "<DVC" not in json.dumps(chart)
    losses = shown["Training and validation loss"][0]["content"]
    assert losses["encoding"]["strokeDash"]["scale"]["domain"] == ["train_loss", "validation_loss"]
    instruments = {row["instrument"] for row in shown["F1 by class"][0]["content"]["data"]["values"]}
    averaged = json.loads((checkout.folder / "metrics/details.json").read_text())["averaged"]
    assert averaged
    assert instruments == set(averaged)
    curves = {row["instrument"] for row in shown["ROC curves"][0]["content"]["data"]["values"]}
    assert curves == {"macro", "micro"} | instruments
    pictures = [one["revisions"] for one in shown["plots/overview.png"]]
    assert pictures == [["HEAD"], ["same-tempo"]]


def test_a_run_has_all_that_is_worth_knowing(checkout):
    first = checkout.tracked_runs()[-1]
    assert first.info.status == "FINISHED"
    assert first.data.params["train.epochs"] == "3"
    assert not any(name.startswith("run.") for name in first.data.params)
    assert len(first.data.tags["data.mixtures"]) == 64
    assert len(first.data.tags["git.commit"].rstrip("+")) == 40
    assert first.data.metrics["test_accuracy"] == pytest.approx(checkout.metrics()["accuracy"], abs=1e-4)
    client = mlflow.MlflowClient(f"sqlite:///{checkout.folder / 'mlflow.db'}")
    assert len(client.get_metric_history(first.info.run_id, "eval_loss")) == 3
    versions = client.search_model_versions(f"run_id = '{first.info.run_id}'")
    assert len(versions) == 1


def test_the_registered_model_predicts(checkout):
    client = mlflow.MlflowClient(f"sqlite:///{checkout.folder / 'mlflow.db'}")
    version = client.get_model_version_by_alias("tarkib", "best")
    run = client.get_run(version.run_id)
    assert version.tags["mode"] == run.data.params["augment.mode"]
    assert version.tags["seed"] == run.data.params["train.seed"]
    assert version.tags["data_sha256"] == run.data.tags["data.mixtures"]
    assert float(version.tags["test_accuracy"]) == pytest.approx(run.data.metrics["test_accuracy"], abs=1e-6)
    model = mlflow.pyfunc.load_model(client.get_model_version_download_uri(version.name, version.version))
    samples = np.random.default_rng(0).standard_normal(200_000) / 10
    table = model.predict([{"samples": samples, "sample_rate": 24_000}])
    assert table["start_s"].tolist() == pytest.approx([0, 1, 2, 3, 200_000 / 24_000 - 5])
    assert table["tar"].between(0, 1).all()
    assert table["piano"].isna().all()


def test_a_clone_is_brought_back_without_running(checkout, tmp_path):
    checkout.run("dvc", "remote", "add", "--local", "-d", "store", str(tmp_path / "remote"))
    checkout.run("dvc", "push", "-q")
    checkout.run("git", "clone", "-q", str(checkout.folder), str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone")
    clone.run("dvc", "remote", "add", "--local", "-d", "store", str(tmp_path / "remote"))
    clone.run("dvc", "pull", "-q", "data/raw.dvc", "data/test.dvc", "slice", "annotate", "mix", "train", "evaluate")
    assert "Running stage" not in clone.run("dvc", "repro", "evaluate")
    assert (clone.folder / "models/classifier/model.safetensors").read_bytes() == (
        checkout.folder / "models/classifier/model.safetensors"
    ).read_bytes()
