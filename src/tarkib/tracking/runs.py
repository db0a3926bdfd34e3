"""The runs of trainings and evaluations, as the stages log them."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.entities import Metric
from mlflow.tracking.context import registry as context
from transformers import TrainerCallback

from tarkib.errors import TarkibError
from tarkib.params import Params
from tarkib.runtime import mlflow_store, versioning
from tarkib.tracking import card, pending, registry
from tarkib.tracking.registry import TRAINING_TAG, WEIGHTS_TAG, Evaluation


class Run:
    """A training's run. What the store does not take goes into a journal, and to the store when the training is over.

    May be copied to other processes.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id, self.uri, self.journal = run_id, mlflow.get_tracking_uri(), pending.journal(run_id)

    def log(self, metrics: list[Metric]) -> None:
        """Log metrics; once the store has failed, no training waits for it a second time."""
        mlflow.set_tracking_uri(self.uri)
        if not self.journal.exists():
            try:
                with mlflow_store.usable():
                    mlflow.MlflowClient().log_batch(self.run_id, metrics)
                return
            except TarkibError as error:
                print(f"{error}; the training goes on, and what it logs is kept", flush=True)
        self._keep(metrics=[[one.key, one.value, one.timestamp, one.step] for one in metrics])

    def note_weights(self, sha256: str) -> None:
        """Tag the run with the weights that it gave, by which the evaluate stage finds it."""
        if not self._keep(tags={WEIGHTS_TAG: sha256}):
            self._try(mlflow.MlflowClient().set_tag, WEIGHTS_TAG, sha256)

    def end(self, status: str) -> None:
        """Log what is in the journal, and that the run is over."""
        if self._keep(status=status):
            try:
                pending.send_training(self.journal)
            except TarkibError as error:
                print(f"{error}; what this training logged {pending.REMEDY}", flush=True)
        else:
            self._try(mlflow.MlflowClient().set_terminated, status)

    def _try(self, change: Callable[..., None], *values: str) -> None:
        """Change the run in the store at once, where nothing can be kept for later."""
        try:
            with mlflow_store.usable():
                change(self.run_id, *values)
        except TarkibError as error:
            print(error, flush=True)

    def _keep(self, **entry: object) -> bool:
        try:
            pending.note(self.journal, **entry)
        except OSError as error:
            print(
                f"{self.journal}: {error.strerror}; the {', '.join(entry)} of this training cannot be kept", flush=True
            )
            return False
        return True


@contextmanager
def training(params: Params, fingerprint: str, data: Mapping[str, str]) -> Iterator[Run]:
    """A run to train in: with all parameters, and tags for the commit, the DVC experiment and the data's hashes.

    A run of the same fingerprint that was killed is taken up again, so that its curves go on. Raises TarkibError where
    the store cannot be used, before anything is trained.
    """
    mlflow_store.connect(params.run.tracking_uri)
    with mlflow_store.usable():
        run = Run(_begun(params, fingerprint, data))
    try:
        yield run
    except KeyboardInterrupt:
        # It stays as it is: run again, the training goes on in it.
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def _begun(params: Params, fingerprint: str, data: Mapping[str, str]) -> str:
    """Id of the run to train in: a killed one's, or a new one."""
    running = registry.search(f"tags.`{TRAINING_TAG}` = '{fingerprint}' and attributes.status = 'RUNNING'")
    if running:
        return running[0].info.run_id
    experiment = os.environ.get("DVC_EXP_NAME", "")
    tags = {
        TRAINING_TAG: fingerprint,
        "git.commit": versioning.commit(),
        "dvc.experiment": experiment,
        **{f"data.{name}": value for name, value in data.items()},
    }
    return registry.create_run(
        _flat(params), context.resolve_tags(tags), experiment or f"{params.augment.mode} {params.model.backbone}"
    )


class Curves(TrainerCallback):
    """Logs losses and validation scores to a run, by epoch and step."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_log(self, args, state, control, logs=None, **_) -> None:
        """Log what the trainer reports that is a number; of several processes the first one does."""
        if not state.is_world_process_zero:
            return
        now = int(time.time() * 1000)
        self.run.log(
            [
                Metric(name, value, now, state.global_step)
                for name, value in (logs or {}).items()
                if isinstance(value, int | float)
            ]
        )


def evaluated(
    params: Params,
    weights_sha256: str,
    metrics: Mapping[str, float | None],
    classifier: Path,
    test_set: str = "",
) -> None:
    """Log final metrics to the run of these weights, and register their model with its card.

    Where the store cannot be used that is printed, and all is kept for `tarkib track`.

    Parameters
    ----------
    metrics : figures on the test set by name, None where undefined.
    classifier : the folder that the train stage wrote.
    test_set : the test set in words, for the card.

    Raises TarkibError where the folder holds no card.
    """
    card.read(classifier)
    one = Evaluation(weights_sha256, _flat(params), versioning.commit(), dict(metrics), classifier, test_set)
    try:
        mlflow_store.connect(params.run.tracking_uri)
        # What an earlier stage could not log comes first: the run that this evaluation looks for may wait for it.
        pending.send(lambda _: None)
        with mlflow_store.usable():
            registry.log(one)
    except TarkibError as error:
        try:
            pending.keep(one)
        except OSError as full:
            print(f"{error}; {pending.folder()}: {full.strerror}, so MLflow will lack this evaluation", flush=True)
        else:
            print(f"{error}; what this evaluation found {pending.REMEDY}", flush=True)


def _flat(params: Params) -> dict[str, str]:
    """Parameters as ``section.key``; left out are `run` and `pretrain`, which change no stage's result."""
    return {
        f"{section}.{key}": str(value)
        for section, values in dataclasses.asdict(params).items()
        if section not in ("run", "pretrain")
        for key, value in values.items()
    }
