"""MLflow: one run an experiment, begun by the train stage and finished by the evaluate stage, and a registered model.

The store is MLFLOW_TRACKING_URI, else `run.tracking_uri`, else SQLite in the project's root (the original's, where DVC
runs a queued experiment in a copy), with artifacts beside it. Nothing in here changes a result.
"""

import dataclasses
import logging
import os
import subprocess
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
import numpy as np
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from transformers import TrainerCallback

from tarkib import project, pyfunc
from tarkib.audio import CLIP_SAMPLES
from tarkib.params import Params
from tarkib.vocabulary import INSTRUMENTS

EXPERIMENT = "tarkib"
REGISTERED_MODEL = "tarkib"
_WEIGHTS_TAG = "tarkib.weights_sha256"
_TRAINING_TAG = "tarkib.training"


def connect(params: Params) -> None:
    """Choose the tracking store and the experiment, made where it is not there yet."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    root = project.root()
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(params.run.tracking_uri or f"sqlite:///{root / 'mlflow.db'}")
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        # A server decides by itself where artifacts go; for a local store it must not depend on where one stands.
        local = mlflow.get_tracking_uri().startswith("sqlite:")
        mlflow.create_experiment(EXPERIMENT, (root / "mlruns").as_uri() if local else None)
    mlflow.set_experiment(EXPERIMENT)


@contextmanager
def training(params: Params, fingerprint: str, data: Mapping[str, str]) -> Iterator[None]:
    """A run to train in: with all parameters, and tags for the commit, the DVC experiment and the data's hashes.

    A run of the same fingerprint that was killed is taken up again, so that its curves go on.
    """
    connect(params)
    killed = _search(f"tags.`{_TRAINING_TAG}` = '{fingerprint}' and attributes.status = 'RUNNING'")
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
    """The run that these weights were trained in; a new one where they came from elsewhere (dvc pull, say)."""
    connect(params)
    found = _search(f"tags.`{_WEIGHTS_TAG}` = '{weights_sha256}'")
    with mlflow.start_run(run_id=found):
        if not found:
            mlflow.log_params(_flat(params))
            mlflow.set_tags({_WEIGHTS_TAG: weights_sha256, "git.commit": _git_commit()})
        yield


def log_evaluation(metrics: Mapping[str, float], classifier: Path) -> None:
    """Log final metrics to the current run and register its model, once a run."""
    mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items() if value is not None})
    run_id = mlflow.active_run().info.run_id
    if mlflow.MlflowClient().search_model_versions(f"name = '{REGISTERED_MODEL}' and run_id = '{run_id}'"):
        return
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, CLIP_SAMPLES), "samples")]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, len(INSTRUMENTS)), "probabilities")]),
    )
    packages = ("mlflow", "numpy", "safetensors", "torch", "torchaudio", "transformers")
    with warnings.catch_warnings():
        # An example would be stored only for MLflow to infer the signature, which is given.
        warnings.filterwarnings("ignore", message=".*input example was not provided.*")
        mlflow.pyfunc.log_model(
            name="classifier",
            python_model=pyfunc.__file__,
            artifacts={"classifier": str(classifier)},
            code_paths=[str(Path(pyfunc.__file__).parent)],
            signature=signature,
            registered_model_name=REGISTERED_MODEL,
            # Named, so that MLflow need not load the model to guess them.
            pip_requirements=[f"{one}=={metadata.version(one)}" for one in packages],
        )


def _search(where: str) -> str | None:
    """Id of the newest run for which a filter holds."""
    runs = mlflow.search_runs(
        filter_string=where, max_results=1, order_by=["attributes.start_time DESC"], output_format="list"
    )
    return runs[0].info.run_id if runs else None


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
