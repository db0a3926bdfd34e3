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
    monkeypatch.setattr(registry, "REGISTERED_MODEL", request.node.name.replace("[", "-").replace("]", ""))
    return mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")


@pytest.fixture
def evaluated(
    settings: Callable[..., params.Params], tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., None]:
    """Evaluate a classifier of some validation score: `evaluated(0.8, seed=1, accuracy=0.7)`."""

    def evaluate(
        score: float | None, *, seed: int = 0, test_set: str = "", data: str = "data/test", **figures: float | None
    ) -> None:
        folder = write_classifier(tmp_path / str(seed) / "classifier", seed=seed, validation_roc_auc=score)
        weights = f"{request.node.name} {seed}"
        runs.evaluated(settings(data={"test": data}), weights, figures, folder, test_set)

    return evaluate


def versions(client: mlflow.MlflowClient) -> list:
    """All versions, the oldest first."""
    found = client.search_model_versions(f"name = '{registry.REGISTERED_MODEL}'")
    return sorted(found, key=lambda version: int(version.version))


def best(client: mlflow.MlflowClient) -> str:
    return str(client.get_model_version_by_alias(registry.REGISTERED_MODEL, "best").version)


def test_a_version_carries_its_card(client, evaluated, tmp_path):
    evaluated(0.75, seed=7, test_set="240 clips of 60 recordings", accuracy=0.8, roc_auc=None)
    (version,) = versions(client)
    about = card.read(tmp_path / "7/classifier").with_test(
        {"accuracy": 0.8, "roc_auc": None}, "240 clips of 60 recordings"
    )
    assert version.description == about.body()
    # What a database keeps of a description.
    assert len(version.description) < 5_000
    assert version.tags["mode"] == "bpm"
    assert version.tags["seed"] == "7"
    assert version.tags["validation_roc_auc"] == "0.75"
    assert version.tags["test_accuracy"] == "0.8"
    assert version.tags["test_roc_auc"] == "nan"
    assert client.get_run(version.run_id).data.metrics == {"test_accuracy": 0.8}
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{registry.REGISTERED_MODEL}/1", dst_path=str(tmp_path)))
    assert card.read(folder) == about
    assert card.read(folder / "artifacts/classifier").test is None


def test_the_model_says_what_it_takes_to_decide(client, evaluated, tmp_path):
    evaluated(0.75)
    described = mlflow.models.get_model_info(f"models:/{registry.REGISTERED_MODEL}/1")
    config = yaml.safe_load((tmp_path / "0/classifier/config.json").read_text())
    for key in ("labels", "thresholds", "trained_classes", "sample_rate"):
        assert described.metadata[key] == config[key]
    assert described.metadata["clip_seconds"] == 5.0
    assert described.metadata["licence"] == card.read(tmp_path / "0/classifier").licence
    assert [one.name for one in described.signature.params] == ["hop_s"]


def test_best_is_the_best_by_validation_and_of_equals_the_newest(client, evaluated):
    chosen = []
    for seed, score in enumerate((0.7, 0.9, 0.8, None, 0.9)):
        evaluated(score, seed=seed)
        chosen.append(best(client))
    assert chosen == ["1", "2", "2", "2", "5"]
    assert str(client.get_model_version_by_alias(registry.REGISTERED_MODEL, "latest").version) == "5"


def test_without_a_validation_score_none_is_the_best(client, evaluated):
    evaluated(None)
    assert client.get_registered_model(registry.REGISTERED_MODEL).aliases == {}
    assert [version.tags["validation_roc_auc"] for version in versions(client)] == ["nan"]


def test_evaluating_again_brings_the_card_up_to_date(client, evaluated, tmp_path):
    evaluated(0.75, accuracy=0.8, f1_macro=0.5)
    evaluated(0.75, accuracy=0.6, f1_macro=None)
    (version,) = versions(client)
    assert "| accuracy | – | 0.600 |" in version.description
    assert version.tags["test_accuracy"] == "0.6"
    assert version.tags["test_f1_macro"] == "nan"
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{registry.REGISTERED_MODEL}/1", dst_path=str(tmp_path)))
    assert card.read(folder).test == {"accuracy": 0.6, "f1_macro": None}


def test_another_test_set_has_a_run_of_its_own(client, evaluated):
    evaluated(0.75, accuracy=0.8)
    evaluated(0.75, data="data/o'ther", accuracy=0.9)
    evaluated(0.75, data="data/o'ther", accuracy=0.95)
    (version,) = versions(client)
    assert version.tags["test_accuracy"] == "0.8"
    assert client.get_run(version.run_id).data.metrics == {"test_accuracy": 0.8}
    [experiment] = client.search_experiments(filter_string=f"name = '{mlflow_store.EXPERIMENT}'")
    others = [
        one.data.metrics for one in client.search_runs([experiment.experiment_id], "params.`data.test` LIKE '%ther'")
    ]
    assert others == [{"test_accuracy": 0.95}]
    # Scored on the first again, the version is brought up to date.
    evaluated(0.75, accuracy=0.7)
    assert versions(client)[0].tags["test_accuracy"] == "0.7"


def test_a_version_that_was_registered_meanwhile_is_not_overlooked(client, evaluated, monkeypatch):
    """As by a worker on another machine: after the versions were compared and before the alias is set."""
    evaluated(0.7)
    (first,) = versions(client)
    set_alias, others = mlflow.MlflowClient.set_registered_model_alias, []

    def overtaken(self, name, alias, version):
        if not others:
            others.append(client.create_model_version(name, first.source, tags={"validation_roc_auc": "0.95"}))
            set_alias(client, name, alias, others[0].version)
        set_alias(self, name, alias, version)

    monkeypatch.setattr(mlflow.MlflowClient, "set_registered_model_alias", overtaken)
    evaluated(0.8, seed=1)
    assert best(client) == "3"


def test_an_interrupted_training_goes_on_in_its_run(project, defaults):
    with pytest.raises(Interrupted), runs.training(defaults, "interrupted", {}) as first:
        raise Interrupted(signal.SIGTERM)
    with pytest.raises(ValueError), runs.training(defaults, "interrupted", {}) as again:
        raise ValueError
    assert again.run_id == first.run_id
    # One that failed is over.
    with runs.training(defaults, "interrupted", {}) as other:
        assert other.run_id != first.run_id


def test_a_classifier_without_a_card_is_told(client, defaults, tmp_path):
    folder = write_classifier(tmp_path / "classifier")
    (folder / "README.md").unlink()
    with pytest.raises(TarkibError, match=r"README\.md: missing; train or"):
        runs.evaluated(defaults, "no card", {}, folder)


def _worker(folder: Path, own: int, barrier) -> None:
    """Evaluate a classifier of its own and one that the other evaluates as well, each at the same time as the other."""
    settings = params.load(Path(__file__).resolve().parents[2] / "params.yaml")
    for seed in (own, 9):
        classifier = folder / f"{own}-{seed}" / "classifier"
        write_classifier(classifier, seed=seed, validation_roc_auc=seed / 10)
        barrier.wait()
        runs.evaluated(settings, f"weights {seed}", {"accuracy": 0.5}, classifier)


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
