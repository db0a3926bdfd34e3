"""The registered model `tarkib`: one version per run, which carries its card.

MLflow's alias `latest` is the newest version; `best` is the version with the highest macro ROC-AUC on validation, the
newest of equal ones. Each version was validated on its own mixtures, which differ between modes and recordings, so
`best` is a fair comparison only while all versions were made of the same data (tags `mode` and `data_sha256`).

These functions use the store that `mlflow_store.connect` selected, and raise MLflow's errors.
"""

import json
import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow
from mlflow.entities import Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tarkib.audio import CLIP_SECONDS
from tarkib.recognition import pyfunc
from tarkib.runtime import fingerprint, mlflow_store, project
from tarkib.runtime.locks import file_lock
from tarkib.tracking import card
from tarkib.tracking.card import Card

REGISTERED_MODEL = "tarkib"

ARTIFACTS = (project.TRAINING_PLOTS, project.EVALUATION_PLOTS, project.OVERVIEW, project.METRICS / "details.json")
"""What a run holds besides its figures and the model card, where it is there."""

# Tags of a run: checksum of its weights; fingerprint of the training's code, data and parameters.
WEIGHTS_TAG, TRAINING_TAG = "tarkib.weights_sha256", "tarkib.training"


@dataclass(frozen=True)
class Evaluation:
    """Figures by name (None where undefined) of the weights in the folder `classifier`, and what led to them.

    `outputs` holds what `ARTIFACTS` names: it is the project, or a copy that was kept.
    """

    weights_sha256: str
    params: dict[str, str]
    commit: str
    figures: dict[str, float | None]
    classifier: Path
    test_set: str
    outputs: Path = Path()

    @property
    def key(self) -> str:
        """A name made of the weights and the test set."""
        return fingerprint.of(self.weights_sha256, self.params["data.test"])[:32]


def create_run(params: Mapping[str, str], tags: Mapping[str, str], name: str | None = None) -> str:
    """Create a run with parameters; returns its id."""
    client = mlflow.MlflowClient()
    experiment = mlflow.set_experiment(mlflow_store.EXPERIMENT).experiment_id
    run_id = client.create_run(experiment, tags=dict(tags), run_name=name).info.run_id
    client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    return run_id


def search(where: str) -> list[Run]:
    """The runs that match a filter, newest first."""
    return mlflow.search_runs(
        experiment_names=[mlflow_store.EXPERIMENT],
        filter_string=where,
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )


def log(evaluation: Evaluation) -> None:
    """Log an evaluation's figures to the run of its weights and test set, and register the model with its card.

    The run is usually the one that trained the weights. A new one is created where they came from elsewhere (`dvc
    pull`) or were trained for another test set: a run holds figures of a single test set. Weights have one version;
    evaluating its run again updates its card and tags, evaluating on another test set does not.
    """
    test_set = evaluation.params["data.test"]
    # Two processes that evaluate the same weights must not both create a run or a version.
    with file_lock(project.cache("tracking.lock")):
        runs = search(f"tags.`{WEIGHTS_TAG}` = '{evaluation.weights_sha256}'")
        run_id = next((run.info.run_id for run in runs if run.data.params.get("data.test") == test_set), None)
        if run_id is None:
            tags = {WEIGHTS_TAG: evaluation.weights_sha256, "git.commit": evaluation.commit}
            run_id = create_run(evaluation.params, tags)
        with mlflow.start_run(run_id=run_id):
            mlflow.log_metrics(
                {f"test_{name}": value for name, value in evaluation.figures.items() if value is not None}
            )
            for name in ARTIFACTS:
                if (path := evaluation.outputs / name).is_dir():
                    mlflow.log_artifacts(str(path), str(name))
                elif path.is_file():
                    mlflow.log_artifact(str(path), str(name.parent))
            model_card = card.read(evaluation.classifier).with_test(evaluation.figures, evaluation.test_set)
            mlflow.log_text(model_card.text(), card.NAME)
            _update_version(run_id, {run.info.run_id for run in runs}, evaluation.classifier, model_card)


def _update_version(run_id: str, run_ids: set[str], classifier: Path, model_card: Card) -> None:
    """Register the weights, or update their version if it is of this run; `run_ids` are all runs of these weights."""
    client = mlflow.MlflowClient()
    versions = [version for version in _versions(client) if version.run_id in {run_id, *run_ids}]
    if versions and all(version.run_id != run_id for version in versions):
        return
    tags = {
        "mode": model_card.mode,
        "seed": str(model_card.seed),
        "data_sha256": model_card.data_sha256,
        # Undefined figures too: they replace those of an earlier evaluation.
        **{
            f"{kind}_{name}": "nan" if value is None else str(value)
            for kind, figures in (("validation", model_card.validation), ("test", model_card.test or {}))
            for name, value in figures.items()
        },
    }
    try:
        version = versions[0] if versions else _register(classifier, model_card, tags)
    except MlflowException as error:
        if mlflow_store.status(error) != 404:
            raise
        print(
            "MLflow's store: a server of MLflow 2 stores no models of MLflow 3; only the figures are logged", flush=True
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        card.write(Path(folder), model_card)
        # A database keeps no model_id with a version, but its source, models:/<id>.
        client.log_model_artifact(str(version.source).removeprefix("models:/"), str(Path(folder, card.NAME)))
    client.update_model_version(REGISTERED_MODEL, version.version, description=model_card.body())
    for key, value in tags.items():
        client.set_model_version_tag(REGISTERED_MODEL, version.version, key, value)
    _mark_best(client)


def _register(classifier: Path, model_card: Card, tags: Mapping[str, str]) -> ModelVersion:
    """Store the model in the current run and register it, with its tags."""
    config = json.loads((classifier / "config.json").read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        # MLflow wants an example to infer the signature from, which is given; its columns have any type on purpose.
        warnings.filterwarnings("ignore", message=".*(input example was not provided|AnyType).*")
        stored = mlflow.pyfunc.log_model(
            name="classifier",
            python_model=pyfunc.__file__,
            artifacts={"classifier": str(classifier)},
            code_paths=[str(Path(pyfunc.__file__).parents[1])],
            signature=pyfunc.signature(),
            metadata={
                **{key: config[key] for key in ("labels", "thresholds", "trained_classes", "sample_rate")},
                "clip_seconds": CLIP_SECONDS,
                "backbone": config["backbone"]["source"],
                "licence": model_card.licence,
                "mode": model_card.mode,
                "data_sha256": model_card.data_sha256,
            },
            # Named, so that MLflow need not load the model to guess them.
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in pyfunc.REQUIREMENTS],
        )
    return mlflow.register_model(f"models:/{stored.model_id}", REGISTERED_MODEL, tags=dict(tags))


def _mark_best(client: mlflow.MlflowClient) -> None:
    """Set the alias `best` where a version has a validation score."""
    scores = {
        (score, int(version.version)): str(version.version)
        for version in _versions(client)
        if not math.isnan(score := float(version.tags.get("validation_roc_auc", "nan")))
    }
    if scores:
        client.set_registered_model_alias(REGISTERED_MODEL, "best", scores[max(scores)])


def _versions(client: mlflow.MlflowClient) -> list[ModelVersion]:
    return list(client.search_model_versions(f"name = '{REGISTERED_MODEL}'"))
