"""What MLflow knows of a classifier: its run, its version, its card, and which version is the best."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest
import yaml
from small_classifier import write_classifier

from tarkib import params
from tarkib.errors import Interrupted, TarkibError
from tarkib.runtime import mlflow_store
from tarkib.tracking import card, registry, runs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store of its own."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", "")
        yield folder
        mlflow.set_tracking_uri(None)


@pytest.fixture
def client(project: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> mlflow.MlflowClient:
    """A client of the store, in which each test has a registered model of its own."""
    monkeypatch.setattr(registry, "REGISTERED_MODEL", request.node.name)
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture
def evaluated(settings: Callable, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Evaluate a classifier of some validation score: `evaluated(0.8, seed=1, accuracy=0.7)`."""

    def evaluate(score: float | None, *, seed: int = 0, data: str = "data/test", **figures: float | None) -> None:
        folder = write_classifier(tmp_path / str(seed) / "classifier", seed=seed, validation_roc_auc=score)
        weights = f"{request.node.name} {seed}"
        runs.log_evaluation(settings(data={"test": data}), weights, figures, folder, "240 clips")

    return evaluate


def only_version(client: mlflow.MlflowClient) -> mlflow.entities.model_registry.ModelVersion:
    (version,) = client.search_model_versions(f"name = '{registry.REGISTERED_MODEL}'")
    return version


def downloaded_card(folder: Path) -> card.Card:
    model = f"models:/{registry.REGISTERED_MODEL}/1"
    return card.read(Path(mlflow.artifacts.download_artifacts(model, dst_path=str(folder))))


def test_a_version_carries_its_card_and_what_it_takes_to_decide(client, evaluated, tmp_path):
    evaluated(0.75, seed=7, accuracy=0.8, roc_auc=None)
    version, folder = only_version(client), tmp_path / "7/classifier"
    about = card.read(folder).with_test({"accuracy": 0.8, "roc_auc": None}, "240 clips")
    assert version.description == about.body()
    assert len(version.description) < 5_000  # what a database keeps of a description
    tags = {"mode": "bpm", "seed": "7", "validation_roc_auc": "0.75", "test_accuracy": "0.8", "test_roc_auc": "nan"}
    assert tags.items() <= version.tags.items()
    assert client.get_run(version.run_id).data.metrics == {"test_accuracy": 0.8}
    assert downloaded_card(tmp_path) == about
    described = mlflow.models.get_model_info(f"models:/{registry.REGISTERED_MODEL}/1")
    config = yaml.safe_load((folder / "config.json").read_text())
    for key in ("labels", "thresholds", "trained_classes", "sample_rate"):
        assert described.metadata[key] == config[key]
    assert described.metadata["clip_seconds"] == 5.0
    assert described.metadata["licence"] == about.licence
    assert [one.name for one in described.signature.params] == ["hop_s"]


@pytest.mark.slow
def test_best_is_the_best_by_validation_and_of_equals_the_newest(client, evaluated):
    evaluated(None)
    assert client.get_registered_model(registry.REGISTERED_MODEL).aliases == {}
    chosen = []
    for seed, score in enumerate((0.7, 0.9, 0.8, 0.9), start=1):
        evaluated(score, seed=seed)
        chosen.append(str(client.get_model_version_by_alias(registry.REGISTERED_MODEL, "best").version))
    assert chosen == ["2", "3", "3", "5"]
    assert str(client.get_model_version_by_alias(registry.REGISTERED_MODEL, "latest").version) == "5"


def test_evaluating_again_brings_the_card_up_to_date(client, evaluated, tmp_path):
    evaluated(0.75, accuracy=0.8, f1_macro=0.5)
    evaluated(0.75, accuracy=0.6, f1_macro=None)
    version = only_version(client)
    assert "| accuracy | – | 0.600 |" in version.description
    assert (version.tags["test_accuracy"], version.tags["test_f1_macro"]) == ("0.6", "nan")
    assert downloaded_card(tmp_path).test == {"accuracy": 0.6, "f1_macro": None}


def test_another_test_set_has_a_run_of_its_own(client, evaluated):
    evaluated(0.75, accuracy=0.8)
    evaluated(0.75, data="data/o'ther", accuracy=0.9)
    evaluated(0.75, data="data/o'ther", accuracy=0.95)
    version = only_version(client)
    assert version.tags["test_accuracy"] == "0.8"
    assert client.get_run(version.run_id).data.metrics == {"test_accuracy": 0.8}
    [experiment] = client.search_experiments(filter_string=f"name = '{mlflow_store.EXPERIMENT}'")
    others = client.search_runs([experiment.experiment_id], "params.`data.test` LIKE '%ther'")
    assert [run.data.metrics for run in others] == [{"test_accuracy": 0.95}]
    # Scored on the first again, the version is brought up to date.
    evaluated(0.75, accuracy=0.7)
    assert only_version(client).tags["test_accuracy"] == "0.7"


def test_an_interrupted_training_goes_on_in_its_run(project, defaults):
    with pytest.raises(Interrupted), runs.training(defaults, "interrupted", {}) as first:
        raise Interrupted(signal.SIGTERM)
    with pytest.raises(ValueError), runs.training(defaults, "interrupted", {}) as again:
        raise ValueError
    assert again.run_id == first.run_id
    # One that failed is over.
    with runs.training(defaults, "interrupted", {}) as other:
        assert other.run_id != first.run_id


def test_a_classifier_without_a_card_is_refused(client, defaults, tmp_path):
    folder = write_classifier(tmp_path / "classifier")
    (folder / "README.md").unlink()
    with pytest.raises(TarkibError, match=r"README\.md: missing; train or"):
        runs.log_evaluation(defaults, "no card", {}, folder)


def _worker(folder: Path, own: int, barrier) -> None:
    """Evaluate a classifier of its own and one that the other evaluates as well, each at the same time as the other."""
    settings = params.load(Path(__file__).resolve().parents[2] / "params.yaml")
    for seed in (own, 9):
        classifier = folder / f"{own}-{seed}" / "classifier"
        write_classifier(classifier, seed=seed, validation_roc_auc=seed / 10)
        barrier.wait()
        runs.log_evaluation(settings, f"weights {seed}", {"accuracy": 0.5}, classifier)


@pytest.mark.slow
def test_two_workers_at_once(tmp_path, monkeypatch):
    """In a store that neither has seen; weights that both evaluate have one run and are registered once."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    context = multiprocessing.get_context("spawn")
    # Long, since one may have to import for minutes where others are at work.
    barrier = context.Barrier(2, timeout=600)
    workers = [context.Process(target=_worker, args=(tmp_path, own, barrier)) for own in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "tarkib"]
    assert len(client.search_runs([experiment.experiment_id])) == 3
    found = client.search_model_versions("name = 'tarkib'")
    assert sorted(version.tags["seed"] for version in found) == ["1", "2", "9"]
    assert client.get_model_version_by_alias("tarkib", "best").tags["seed"] == "9"
