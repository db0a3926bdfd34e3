"""MLflow: one run an experiment, begun by the train stage and finished by the evaluate stage, and a registered model.

The store is MLFLOW_TRACKING_URI, else `run.tracking_uri`, else SQLite in the project's root (the original's, where DVC
runs a queued experiment in a copy), with artifacts beside it. Nothing in here changes a result.

Each run gives one version of the registered model `tarkib`, which carries its card. Of the aliases `latest` is MLflow's
own, the newest version; `best` is the version of the highest macro ROC-AUC on validation, of equal ones the newest,
among all for which that is defined. Each version was validated on its own mixtures, and these differ between modes and
recordings: `best` compares like with like only while all versions were made of the same data (tags `mode` and
`data_sha256`).
"""

import dataclasses
import json
import logging
import math
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

# MLflow reads these when it is imported; nothing is reported to anyone, and small copies need no progress bars.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
from mlflow.entities import Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion
from transformers import TrainerCallback

from tarkib import project, pyfunc
from tarkib.audio import CLIP_SECONDS
from tarkib.locks import one_at_a_time
from tarkib.models import card
from tarkib.models.card import Card
from tarkib.params import Params

EXPERIMENT = "tarkib"
REGISTERED_MODEL = "tarkib"
BEST = "best"
"""Alias of the version that validated best."""

_VALIDATION_TAG = "validation_roc_auc"
_WEIGHTS_TAG = "tarkib.weights_sha256"
_TRAINING_TAG = "tarkib.training"


def connect(params: Params) -> None:
    """Choose the tracking store and the experiment, made where it is not there yet."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    root = project.root()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(params.run.tracking_uri or f"sqlite:///{root / 'mlflow.db'}")
    # A store is set up by the first process that uses it, and two at once would spoil it.
    with one_at_a_time(project.cache("tracking.lock")):
        # A server decides by itself where artifacts go; for a local store it must not depend on where one stands.
        if mlflow.get_tracking_uri().startswith("sqlite:") and mlflow.get_experiment_by_name(EXPERIMENT) is None:
            mlflow.create_experiment(EXPERIMENT, (root / "mlruns").as_uri())
        mlflow.set_experiment(EXPERIMENT)


@contextmanager
def training(params: Params, fingerprint: str, data: Mapping[str, str]) -> Iterator[None]:
    """A run to train in: with all parameters, and tags for the commit, the DVC experiment and the data's hashes.

    A run of the same fingerprint that was killed is taken up again, so that its curves go on.
    """
    connect(params)
    running = _search(f"tags.`{_TRAINING_TAG}` = '{fingerprint}' and attributes.status = 'RUNNING'")
    killed = running[0].info.run_id if running else None
    tags = {
        _TRAINING_TAG: fingerprint,
        "git.commit": _git_commit(),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        **{f"data.{name}": value for name, value in data.items()},
    }
    name = os.environ.get("DVC_EXP_NAME") or f"{params.augment.mode} {params.model.backbone}"
    with mlflow.start_run(run_id=killed, run_name=None if killed else name, tags=tags):
        if not killed:
            mlflow.log_params(_flat(params))
        yield


def note_weights(sha256: str) -> None:
    """Tag the current run with the weights that it gave, by which the evaluate stage finds it."""
    mlflow.set_tag(_WEIGHTS_TAG, sha256)


class Curves(TrainerCallback):
    """Logs losses and validation scores to the run that is current when this is made, by epoch and step.

    May be copied to other processes, where no run is current.
    """

    def __init__(self) -> None:
        self.uri, self.run_id = mlflow.get_tracking_uri(), mlflow.active_run().info.run_id

    def on_log(self, args, state, control, logs=None, **_) -> None:
        """Log what the trainer reports that is a number; of several processes the first one does."""
        if not state.is_world_process_zero:
            return
        now = int(time.time() * 1000)
        values = [
            Metric(name, value, now, state.global_step)
            for name, value in (logs or {}).items()
            if isinstance(value, int | float)
        ]
        mlflow.MlflowClient(self.uri).log_batch(self.run_id, values)


@contextmanager
def evaluation(params: Params, weights_sha256: str) -> Iterator[None]:
    """The run of these weights and this test set, as a rule the one that they were trained in.

    A new one where the weights came from elsewhere (dvc pull, say), or were trained with another test set in mind: no
    run has the figures of two.
    """
    connect(params)
    client, test_set = mlflow.MlflowClient(), str(params.data.test)
    # Two that evaluate the same weights would both make a run of them, and both register them below.
    with one_at_a_time(project.cache("tracking.lock")):
        known = (one for one in _runs_of(weights_sha256) if one.data.params.get("data.test") == test_set)
        run_id = next((one.info.run_id for one in known), None)
        if run_id is None:
            experiment = mlflow.get_experiment_by_name(EXPERIMENT).experiment_id
            tags = {_WEIGHTS_TAG: weights_sha256, "git.commit": _git_commit()}
            run_id = client.create_run(experiment, tags=tags).info.run_id
            client.log_batch(run_id, params=[Param(name, str(value)) for name, value in _flat(params).items()])
    with mlflow.start_run(run_id=run_id):
        yield


def log_evaluation(metrics: Mapping[str, float | None], classifier: Path, test_set: str = "") -> None:
    """Log final metrics to the current run, and register its model with its card.

    Weights have one version. Where its run is evaluated again, the version's card and tags are brought up to date;
    figures of another test set stay in the run alone.

    Parameters
    ----------
    metrics : figures on the test set by name, None where undefined.
    classifier : the folder that the train stage wrote.
    test_set : the test set in words, for the card.

    Raises TarkibError where the folder holds no card.
    """
    about = card.read(classifier).with_test(metrics, test_set)
    mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items() if value is not None})
    client, run = mlflow.MlflowClient(), mlflow.active_run()
    tags = _tags(about)
    with one_at_a_time(project.cache("tracking.lock")):
        alike = {one.info.run_id for one in _runs_of(run.data.tags[_WEIGHTS_TAG])}
        found = [one for one in client.search_model_versions(f"name = '{REGISTERED_MODEL}'") if one.run_id in alike]
        if found and all(one.run_id != run.info.run_id for one in found):
            return
        version = found[0] if found else _register(classifier, about, tags)
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
    with warnings.catch_warnings():
        # An example would be stored only for MLflow to infer the signature, which is given.
        warnings.filterwarnings("ignore", message=".*input example was not provided.*")
        # The signature's columns have any type, on purpose.
        warnings.filterwarnings("ignore", message=".*AnyType.*")
        stored = mlflow.pyfunc.log_model(
            name="classifier",
            python_model=pyfunc.__file__,
            artifacts={"classifier": str(classifier)},
            code_paths=[str(Path(pyfunc.__file__).parent)],
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


def _search(where: str) -> list[Run]:
    """The runs for which a filter holds, the newest first."""
    return mlflow.search_runs(filter_string=where, order_by=["attributes.start_time DESC"], output_format="list")


def _runs_of(weights_sha256: str) -> list[Run]:
    """The runs that gave or scored these weights."""
    return _search(f"tags.`{_WEIGHTS_TAG}` = '{weights_sha256}'")


def _flat(params: Params) -> dict[str, object]:
    """Parameters as ``section.key``; left out are `run` and `pretrain`, which change no stage's result."""
    return {
        f"{section}.{key}": value
        for section, values in dataclasses.asdict(params).items()
        if section not in ("run", "pretrain")
        for key, value in values.items()
    }


def _git_commit() -> str:
    """Hash of the commit that is checked out, with a plus where files differ from it; empty outside of git."""
    found = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"], capture_output=True, text=True
    )
    return found.stdout.strip()
