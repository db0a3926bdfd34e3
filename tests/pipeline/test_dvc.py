"""The pipeline as its users drive it: dvc repro, exp run, push and pull, in a copy of this project."""

import csv
import json
import shutil
import sys
from urllib.parse import quote

import mlflow
import numpy as np
import pytest
import yaml

from .conftest import Checkout, bring_recordings, set_parameters

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(fresh: Checkout) -> Checkout:
    """A checkout in which `dvc repro` has run once."""
    fresh.run("dvc", "add", "-q", "data/raw", "data/test")
    fresh.commit("own recordings")
    fresh.run("dvc", "repro", "evaluate", "leakage")
    fresh.commit("first results")
    return fresh


@pytest.fixture(scope="module")
def client(checkout) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{quote(str(checkout.folder / 'mlflow.db'))}")


def metrics(project: Checkout) -> dict:
    return json.loads((project.folder / "metrics/metrics.json").read_text())


def experiments(project: Checkout) -> dict[str, str]:
    """Commit of each experiment, by name."""
    lines = project.run("git", "for-each-ref", "--format=%(refname:lstrip=-1) %(objectname)", "refs/exps/*/*/*")
    return dict(line.split() for line in lines.splitlines())


def tracked_runs(client: mlflow.MlflowClient) -> list:
    return client.search_runs([client.get_experiment_by_name("tarkib").experiment_id])


def test_nothing_to_do_a_second_time_nor_with_other_run_settings(checkout):
    assert [path.name for path in checkout.folder.parent.iterdir()] == [checkout.folder.name]
    assert "Running stage" not in checkout.run("dvc", "repro", "evaluate", "leakage")
    assert checkout.run("git", "status", "--porcelain") == ""
    set_parameters(checkout.folder, run={"workers": 2})
    assert "Running stage" not in checkout.run("dvc", "repro", "evaluate", "leakage")
    checkout.run("git", "checkout", "-q", "params.yaml")


def test_a_queued_experiment(checkout, client):
    """It reruns what its parameter touches, is tracked in the same store, and leaves the workspace alone."""
    before, known = metrics(checkout), len(tracked_runs(client))
    checkout.run("dvc", "exp", "run", "--queue", "-n", "same-tempo", "-S", "augment.mode=bpm", "evaluate", "leakage")
    printed = checkout.run("dvc", "exp", "run", "--run-all")
    assert [line for line in printed.splitlines() if line.startswith("Running stage")] == [
        f"Running stage '{stage}':" for stage in ("mix", "train", "evaluate")
    ]
    latest, *others = tracked_runs(client)
    assert len(others) == known
    assert (latest.data.tags["dvc.experiment"], latest.data.params["augment.mode"]) == ("same-tempo", "bpm")
    assert metrics(checkout) == before
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
        channels = encodings(chart)
        titles = chart["title"]["text"], channels["x"]["title"], channels["y"]["title"], channels["x"]["field"]
        assert titles == (about["title"], about["x_label"], about["y_label"], about["x"])
        assert channels["color"]["field"] == "rev"
        assert channels["color"]["scale"]["domain"] == ["HEAD", "same-tempo"]
        assert len(set(channels["color"]["scale"]["range"])) == 2
        assert {row["rev"] for row in chart["data"]["values"]} == {"HEAD", "same-tempo"}
    instruments = {row["instrument"] for row in shown["F1 by class"][0]["content"]["data"]["values"]}
    assert instruments == set(json.loads((checkout.folder / "metrics/details.json").read_text())["averaged"])
    curves = {row["instrument"] for row in shown["ROC curves"][0]["content"]["data"]["values"]}
    assert curves == {"macro", "micro"} | instruments
    assert [one["revisions"] for one in shown["plots/overview.png"]] == [["HEAD"], ["same-tempo"]]


def test_a_run_is_tracked_and_its_registered_model_predicts(checkout, client):
    first = tracked_runs(client)[-1]
    assert first.info.status == "FINISHED"
    assert first.data.params["train.epochs"] == "2"
    assert not any(name.startswith("run.") for name in first.data.params)
    assert len(first.data.tags["git.commit"].rstrip("+")) == 40
    assert first.data.metrics["test_accuracy"] == pytest.approx(metrics(checkout)["accuracy"], abs=1e-4)
    assert len(client.get_metric_history(first.info.run_id, "eval_loss")) == 2
    assert {one.path for one in client.list_artifacts(first.info.run_id)} >= {"README.md", "metrics", "plots"}
    assert len(client.search_model_versions(f"run_id = '{first.info.run_id}'")) == 1
    version = client.get_model_version_by_alias("tarkib", "best")
    run = client.get_run(version.run_id)
    assert version.tags["mode"] == run.data.params["augment.mode"]
    assert version.tags["data_sha256"] == run.data.tags["data.mixtures"]
    assert float(version.tags["test_accuracy"]) == pytest.approx(run.data.metrics["test_accuracy"], abs=1e-6)
    model = mlflow.pyfunc.load_model(client.get_model_version_download_uri(version.name, version.version))
    samples = np.random.default_rng(0).standard_normal(200_000) / 10
    table = model.predict([{"samples": samples, "sample_rate": 24_000}])
    assert table["start_s"].tolist() == pytest.approx([0, 1, 2, 3, 200_000 / 24_000 - 5])
    assert table["tar"].between(0, 1).all()
    assert table["piano"].isna().all()


def cloned(checkout: Checkout, folder) -> Checkout:
    checkout.run("git", "clone", "-q", str(checkout.folder), str(folder))
    project = Checkout(folder)
    project.identify()
    return project


def test_a_clone_is_brought_back_without_running(checkout, tmp_path):
    clone = cloned(checkout, tmp_path / "clone")
    for project in (checkout, clone):
        project.run("dvc", "remote", "add", "--local", "-d", "store", str(tmp_path / "remote"))
    checkout.run("dvc", "push", "-q")
    stages = ("demo", "slice", "annotate", "mix", "train", "evaluate", "leakage")
    clone.run("dvc", "pull", "-q", "data/raw.dvc", "data/test.dvc", *stages)
    assert "Running stage" not in clone.run("dvc", "repro", "evaluate", "leakage")
    weights = "models/classifier/model.safetensors"
    assert (clone.folder / weights).read_bytes() == (checkout.folder / weights).read_bytes()


@pytest.fixture
def clone(checkout, recordings, tmp_path) -> Checkout:
    """A clone of the checkout as its next owner has it: recordings are brought along, and DVC has the demo alone."""
    project = cloned(checkout, tmp_path / "clone")
    bring_recordings(recordings, project.folder)
    shutil.copytree(checkout.folder / "data/demo", project.folder / "data/demo")
    project.run("dvc", "commit", "-q", "demo")
    assert project.run("git", "status", "--porcelain") == ""
    return project


def test_data_that_dvc_does_not_know_stay_out_of_git(clone):
    (clone.folder / "data/raw.dvc").unlink()
    printed = clone.run("dvc", "exp", "run", "-n", "lost", "-f", "-s", "slice", fails=True)
    words = "error: data/raw: not under DVC, so an experiment would put it into Git or run without it; dvc add data/raw"
    assert words in printed.splitlines()
    assert "lost" not in experiments(clone)
    sound = clone.run("git", "hash-object", *map(str, (clone.folder / "data/raw").rglob("*.flac"))).split()
    stored = clone.run("git", "cat-file", "--batch-all-objects", "--batch-check")
    assert sound
    assert not [checksum for checksum in sound if checksum in stored]


def test_an_experiment_in_a_copy_measures_what_is_there(clone):
    """In a new clone, whose dvc.lock names outputs that only the author has; recordings were overwritten and added."""
    one, other = sorted((clone.folder / "data/raw").rglob("*.flac"))[:2]
    clone.run("dvc", "add", "-q", "data/raw", "data/test")
    shutil.copyfile(one, one.with_name("new.flac"))
    one.unlink()
    shutil.copyfile(other, one)
    clone.run("dvc", "exp", "run", "--temp", "-n", "changed", "-S", "slice.min_seconds=2.5", "slice")
    made = clone.run("git", "show", f"{experiments(clone)['changed']}:dvc.lock")
    clone.run("dvc", "add", "-q", "data/raw")
    assert yaml.safe_load((clone.folder / "data/raw.dvc").read_text())["outs"][0]["md5"] in made


def test_without_git(checkout, recordings, tmp_path):
    """A ZIP of the project: `make repro` runs, experiments say what they need, and then they have it."""
    checkout.run("git", "archive", "--format=tar", f"--output={tmp_path}/tarkib.tar", "HEAD")
    project = Checkout(tmp_path / "tarkib")
    shutil.unpack_archive(tmp_path / "tarkib.tar", project.folder)
    bring_recordings(recordings, project.folder)
    shutil.copytree(checkout.folder / "data/demo", project.folder / "data/demo")
    # The environment is made already: this one.
    (project.folder / ".venv/bin").mkdir(parents=True)
    for name, call in (("python", ""), ("dvc", "-m dvc")):
        program = project.folder / ".venv/bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {call} "$@"\n')
        program.chmod(0o755)
    (project.folder / ".venv/bin/.installed").touch()
    project.run("dvc", "repro", "slice", fails=True)
    assert "Running stage 'slice'" in project.run("make", "--eval", "try: ; dvc repro slice", "try")
    compare = "import stages; from tarkib import cli; exit(cli.main(['compare']))"
    printed = project.run("python", "-c", compare, fails=True)
    assert printed.startswith("error: experiments need a Git repository with a commit; run in the project's folder: ")
    project.run("git", "init", "-q")
    project.identify()
    project.commit("start")
    project.run("dvc", "exp", "run", "-n", "first", "-S", "slice.min_seconds=2.5", "slice")
    assert "first" in experiments(project)
