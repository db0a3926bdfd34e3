"""The pipeline as its users drive it: dvc repro, exp run, push and pull, in a copy of this project."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import mlflow
import numpy as np
import pytest
import yaml
from conftest import REPOSITORY

from .conftest import set_parameters

pytestmark = pytest.mark.slow


class Checkout:
    """A copy of this project as git has it, with a small orchestra as its own recordings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, fails: bool = False) -> str:
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
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", message)

    def metrics(self) -> dict:
        return json.loads((self.folder / "metrics/metrics.json").read_text())

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{quote(str(self.folder / 'mlflow.db'))}")

    def experiments(self) -> dict[str, str]:
        """Commit of each experiment, by name."""
        lines = self.run("git", "for-each-ref", "--format=%(refname:lstrip=-1) %(objectname)", "refs/exps/*/*/*")
        return dict(line.split() for line in lines.splitlines())

    def tracked_runs(self) -> list:
        client = self.client()
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
    project = Checkout(folder)
    project.run("git", "init", "-q")
    project.run("dvc", "add", "-q", "data/raw", "data/test")
    project.commit("own recordings")
    # The demo is nobody's input here, so it is not made.
    assert "Running stage 'demo'" not in project.run("dvc", "repro", "evaluate", "leakage")
    project.commit("first results")
    return project


def test_all_that_is_written_lies_in_the_project(checkout):
    assert [path.name for path in checkout.folder.parent.iterdir()] == [checkout.folder.name]
    assert (checkout.folder / "mlflow.db").is_file()
    assert (checkout.folder / "mlruns").is_dir()


def test_nothing_to_do_a_second_time_nor_with_other_run_settings(checkout):
    printed = checkout.run("dvc", "repro", "evaluate", "leakage")
    assert "Running stage" not in printed
    assert checkout.run("git", "status", "--porcelain") == ""
    set_parameters(checkout.folder, run={"workers": 2})
    assert "Running stage" not in checkout.run("dvc", "repro", "evaluate", "leakage")
    checkout.run("git", "checkout", "-q", "params.yaml")


def test_a_queued_experiment(checkout):
    """It reruns what its parameter touches, is tracked in the same store, and leaves the workspace alone."""
    before, known = checkout.metrics(), len(checkout.tracked_runs())
    checkout.run("dvc", "exp", "run", "--queue", "-n", "same-tempo", "-S", "augment.mode=bpm", "evaluate", "leakage")
    printed = checkout.run("dvc", "exp", "run", "--run-all")
    assert [line for line in printed.splitlines() if line.startswith("Running stage")] == [
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
    printed = checkout.run("dvc", "plots", "diff", "--json", "-o", str(tmp_path), "HEAD", "same-tempo")
    shown = json.loads(printed)["data"]
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
    client = checkout.client()
    assert len(client.get_metric_history(first.info.run_id, "eval_loss")) == 3
    versions = client.search_model_versions(f"run_id = '{first.info.run_id}'")
    assert len(versions) == 1


def test_the_registered_model_predicts(checkout):
    client = checkout.client()
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
    clone.run(
        "dvc", "pull", "-q", "data/raw.dvc", "data/test.dvc", "slice", "annotate", "mix", "train", "evaluate", "leakage"
    )
    assert "Running stage" not in clone.run("dvc", "repro", "evaluate", "leakage")
    assert (clone.folder / "models/classifier/model.safetensors").read_bytes() == (
        checkout.folder / "models/classifier/model.safetensors"
    ).read_bytes()


@pytest.fixture
def clone(checkout, recordings, tmp_path) -> Checkout:
    """A clone of the checkout as its next owner has it: DVC's cache is empty, and the recordings are brought along."""
    subprocess.run(["git", "clone", "-q", checkout.folder, tmp_path / "clone"], check=True)
    project = Checkout(tmp_path / "clone")
    for name in ("raw", "test"):
        shutil.copytree(recordings / name, project.folder / "data" / name)
    project.run("git", "config", "user.name", "t")
    project.run("git", "config", "user.email", "t@example.org")
    return project


def test_a_new_clone_serves_for_any_target(clone):
    """Though its dvc.lock names outputs that nobody but the author has."""
    clone.run("dvc", "add", "-q", "data/raw", "data/test")
    known = len(clone.experiments())
    for count, target in enumerate(("slice", "mix"), start=1):
        clone.run("dvc", "exp", "run", "-S", "slice.min_seconds=2.5", target)
        assert len(clone.experiments()) == known + count


def test_data_that_dvc_does_not_know_stay_out_of_git(clone, recordings):
    """Where they are and in a folder of any name."""
    (clone.folder / "data/raw.dvc").unlink()
    shutil.copytree(recordings / "raw", clone.folder / "mine")
    for folder in ("data/raw", "mine"):
        printed = clone.run("dvc", "exp", "run", "-n", "lost", "-S", f"data.raw={folder}", "-f", "slice", fails=True)
        words = f"error: {folder}: not under DVC, so an experiment would put it into Git or run without it; dvc add"
        assert f"{words} {folder}" in printed.splitlines()
        assert "lost" not in clone.experiments()
        clone.run("git", "checkout", "-q", "params.yaml", "dvc.lock")
    sound = clone.run("git", "hash-object", *map(str, (clone.folder / "mine").rglob("*.flac"))).split()
    stored = clone.run("git", "cat-file", "--batch-all-objects", "--batch-check")
    assert sound
    assert not [checksum for checksum in sound if checksum in stored]
    # Made before as no experiment, it is no stage's turn to ask.
    clone.run("dvc", "repro", "slice")
    clone.run("dvc", "exp", "run", "-n", "kept", "-S", "annotate.min_bpm=55", "annotate")
    assert "data/raw" not in clone.run("git", "ls-tree", "-r", "--name-only", clone.experiments()["kept"])


def test_an_experiment_in_a_copy_measures_what_is_there(clone):
    """Recordings that were overwritten or added, without a new `dvc add`."""
    one, other = sorted((clone.folder / "data/raw").rglob("*.flac"))[:2]
    clone.run("dvc", "add", "-q", "data/raw", "data/test")
    shutil.copyfile(one, clone.folder / "copied")
    for path, name in ((one, "overwritten"), (one.with_name("new.flac"), "added")):
        path.unlink(missing_ok=True)
        shutil.copyfile(other if name == "overwritten" else clone.folder / "copied", path)
        clone.run("dvc", "exp", "run", "--temp", "-n", name, "-S", "slice.min_seconds=2.5", "slice")
        made = clone.run("git", "show", f"{clone.experiments()[name]}:dvc.lock")
        now = json.loads(clone.run("dvc", "data", "status", "--json", "--granular")).get("uncommitted", {})
        assert str(path.relative_to(clone.folder)) in str(now)
        clone.run("dvc", "add", "-q", "data/raw")
        assert yaml.safe_load((clone.folder / "data/raw.dvc").read_text())["outs"][0]["md5"] in made


def test_without_git(checkout, recordings, tmp_path):
    """A ZIP of the project: `make repro` runs, experiments say what they need, and then they have it."""
    checkout.run("git", "archive", "--format=tar", f"--output={tmp_path}/tarkib.tar", "HEAD")
    project = Checkout(tmp_path / "tarkib")
    shutil.unpack_archive(tmp_path / "tarkib.tar", project.folder)
    for name in ("raw", "test"):
        shutil.copytree(recordings / name, project.folder / "data" / name)
    # The environment is made already: this one.
    (project.folder / ".venv/bin").mkdir(parents=True)
    for name, call in (("python", ""), ("dvc", "-m dvc")):
        program = project.folder / ".venv/bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
        program.chmod(0o755)
    (project.folder / ".venv/bin/.installed").touch()
    project.run("dvc", "repro", "slice", fails=True)
    printed = project.run("make", "--eval", "try: ; dvc repro slice", "try")
    assert "Running stage 'slice'" in printed
    printed = project.run(
        "python", "-c", "import stages; from tarkib import cli; exit(cli.main(['compare']))", fails=True
    )
    assert printed == (
        "error: experiments need a Git repository with a commit; run in the project's folder: "
        "git init && git add -A && git commit -m start\n"
    )
    project.run("git", "init", "-q")
    project.commit("start")
    project.run("git", "config", "user.name", "t")
    project.run("git", "config", "user.email", "t@example.org")
    project.run("dvc", "exp", "run", "-n", "first", "-S", "slice.min_seconds=2.5", "slice")
    assert "first" in project.experiments()
