"""The registered model `tarkib`: a version a run, which carries its card.

Of the aliases `latest` is MLflow's own, the newest version; `best` is the version of the highest macro ROC-AUC on
validation, of equal ones the newest, among all for which that is defined. Each version was validated on its own
mixtures, and these differ between modes and recordings: `best` compares like with like only while all versions were
made of the same data (tags `mode` and `data_sha256`).

All of this talks to the store that `mlflow_store.connect` chose, and raises what MLflow raises.
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
BEST = "best"
"""Alias of the version that validated best."""

WEIGHTS_TAG = "tarkib.weights_sha256"
"""Tag of a run: the weights that it gave or scored."""

TRAINING_TAG = "tarkib.training"
"""Tag of a run: the fingerprint of what was trained with what."""

_VALIDATION_TAG = "validation_roc_auc"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: figures by name (None where undefined), of the weights in the folder `classifier`.

    `params` are all parameters that change a result, as ``section.key``; `test_set` says for the card what it was.
    """

    weights_sha256: str
    params: dict[str, str]
    commit: str
    figures: dict[str, float | None]
    classifier: Path
    test_set: str

    @property
    def key(self) -> str:
        """A name for it: of the weights and the test set."""
        return fingerprint.of(self.weights_sha256, self.params["data.test"])[:32]


def create_run(params: Mapping[str, str], tags: Mapping[str, str], name: str | None = None) -> str:
    """Make a run with parameters; returns its id."""
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name(mlflow_store.EXPERIMENT).experiment_id
    run_id = client.create_run(experiment, tags=dict(tags), run_name=name).info.run_id
    client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    return run_id


def exists(run_id: str) -> bool:
    """Whether the store has a run."""
    try:
        mlflow.MlflowClient().get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def search(where: str) -> list[Run]:
    """The runs for which a filter holds, the newest first."""
    return mlflow.search_runs(
        experiment_names=[mlflow_store.EXPERIMENT],
        filter_string=where,
        order_by=["attributes.start_time DESC"],
        output_format="list",
    )


def _runs_of(weights_sha256: str) -> list[Run]:
    """The runs that gave or scored these weights."""
    return search(f"tags.`{WEIGHTS_TAG}` = '{weights_sha256}'")


def log(one: Evaluation) -> None:
    """Log an evaluation's figures to the run of its weights and test set, and register the model with its card.

    The run is as a rule the one that the weights were trained in; a new one where they came from elsewhere (dvc pull,
    say), or were trained with another test set in mind: no run has the figures of two. Weights have one version. Where
    its run is evaluated again, the version's card and tags are brought up to date; figures of another test set stay in
    the run alone. To log the same twice changes nothing.
    """
    client, test_set = mlflow.MlflowClient(), one.params["data.test"]
    # Two that evaluate the same weights would both make a run of them, and both register them below.
    with file_lock(project.cache("tracking.lock")):
        known = (run for run in _runs_of(one.weights_sha256) if run.data.params.get("data.test") == test_set)
        run_id = next((run.info.run_id for run in known), None)
        if run_id is None:
            run_id = create_run(one.params, {WEIGHTS_TAG: one.weights_sha256, "git.commit": one.commit})
    with mlflow.start_run(run_id=run_id):
        mlflow.log_metrics({f"test_{name}": value for name, value in one.figures.items() if value is not None})
        with file_lock(project.cache("tracking.lock")):
            _bring_up_to_date(client, run_id, one)


def _bring_up_to_date(client: mlflow.MlflowClient, run_id: str, one: Evaluation) -> None:
    """The version of an evaluation's weights, made where it is not there, with what the evaluation found."""
    alike = {run.info.run_id for run in _runs_of(one.weights_sha256)}
    found = [
        version for version in client.search_model_versions(f"name = '{REGISTERED_MODEL}'") if version.run_id in alike
    ]
    if found and all(version.run_id != run_id for version in found):
        return
    about = card.read(one.classifier).with_test(one.figures, one.test_set)
    tags = _tags(about)
    try:
        version = found[0] if found else _register(one.classifier, about, tags)
    except MlflowException as error:
        if mlflow_store.status(error) != 404:
            raise
        print(
            f"MLflow's store {mlflow_store.shown(mlflow.get_tracking_uri())}: a server of MLflow 2 keeps no models of "
            "MLflow 3; the run and its figures are there, the model is not registered",
            flush=True,
        )
        return
    _store_card(client, version, about)
    client.update_model_version(REGISTERED_MODEL, version.version, description=about.body())
    for key, value in tags.items():
        client.set_model_version_tag(REGISTERED_MODEL, version.version, key, value)
    mark_best(client)


def mark_best(client: mlflow.MlflowClient) -> None:
    """Set the alias `best`; left as it is where no version has a validation score."""
    # Looked at again after it was set: workers on other machines, at one server, may have registered meanwhile.
    while (best := _best(client)) is not None:
        if str(client.get_registered_model(REGISTERED_MODEL).aliases.get(BEST)) == str(best.version):
            return
        client.set_registered_model_alias(REGISTERED_MODEL, BEST, best.version)


def _best(client: mlflow.MlflowClient) -> ModelVersion | None:
    """The version of the highest validation score, of equal ones the newest; None where none has a score."""
    scores = {}
    for version in client.search_model_versions(f"name = '{REGISTERED_MODEL}'"):
        score = float(version.tags.get(_VALIDATION_TAG, "nan"))
        if not math.isnan(score):
            scores[score, int(version.version)] = version
    return scores[max(scores)] if scores else None


def _register(classifier: Path, about: Card, tags: Mapping[str, str]) -> ModelVersion:
    """Store the current run's model, and register it, tags included, once it is whole."""
    config = json.loads((classifier / "config.json").read_text(encoding="utf-8"))
    with mlflow_store.patiently(), warnings.catch_warnings():
        # An example would be stored only for MLflow to infer the signature, which is given.
        warnings.filterwarnings("ignore", message=".*input example was not provided.*")
        # The signature's columns have any type, on purpose.
        warnings.filterwarnings("ignore", message=".*AnyType.*")
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
                "licence": about.licence,
                "mode": about.mode,
                "data_sha256": about.data_sha256,
            },
            # Named, so that MLflow need not load the model to guess them.
            pip_requirements=[f"{one}=={metadata.version(one)}" for one in pyfunc.REQUIREMENTS],
        )
    return mlflow.register_model(f"models:/{stored.model_id}", REGISTERED_MODEL, tags=dict(tags))


def _store_card(client: mlflow.MlflowClient, version: ModelVersion, about: Card) -> None:
    """Put the card beside the stored model, in the place of an earlier one."""
    # A database keeps no model_id with a version, but where the version came from: models:/<id>.
    model_id = version.source.removeprefix("models:/")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, card.NAME)
        path.write_text(about.text(), encoding="utf-8")
        client.log_model_artifact(model_id, str(path))


def _tags(about: Card) -> dict[str, str]:
    """A version's tags: by what it can be found and compared."""
    facts = {
        "mode": about.mode,
        "seed": about.seed,
        "data_sha256": about.data_sha256,
        **{f"validation_{name}": value for name, value in about.validation.items()},
        **{f"test_{name}": value for name, value in (about.test or {}).items()},
    }
    # Undefined figures are told as well, over those of an earlier evaluation.
    return {name: "nan" if value is None else str(value) for name, value in facts.items()}
