"""The MLflow runs of trainings and evaluations, as the stages log them."""

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking.context import registry as context
from transformers import TrainerCallback

from tarkib.errors import TarkibError
from tarkib.params import Params
from tarkib.runtime import mlflow_store, versioning
from tarkib.tracking import card, pending, registry
from tarkib.tracking.registry import TRAINING_TAG, WEIGHTS_TAG, Evaluation


class Run(TrainerCallback):
    """A training's run; as a callback it logs losses and validation scores by epoch and step. Picklable.

    What the store does not take goes into a journal, which is sent when the training ends. transformers' own
    MLflowCallback would let a failing store end the training.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id, self.uri = run_id, mlflow.get_tracking_uri()

    def on_log(self, args: Any, state: Any, control: Any, **values: Any) -> None:
        """Log the numbers that the trainer reports; of several processes only the first logs."""
        if state.is_world_process_zero:
            numbers = {name: value for name, value in values["logs"].items() if isinstance(value, int | float)}
            now = int(time.time() * 1000)
            self._log(metrics=[[name, value, now, state.global_step] for name, value in numbers.items()])

    def note_weights(self, sha256: str) -> None:
        """Tag the run with the weights that it produced, by which the evaluate stage finds it."""
        self._log(tags={WEIGHTS_TAG: sha256})

    def end(self, status: str) -> None:
        """Log the run's final status, and its journal if it has one."""
        had_journal = pending.journal(self.run_id).exists()
        self._log(status=status)
        if had_journal:
            try:
                pending.send_training(self.run_id)
            except TarkibError as error:
                print(f"{error}; what this training logged {pending.REMEDY}", flush=True)

    def _log(self, **entry: Any) -> None:
        """Log to the store, or to the journal once the store has failed: no training waits for it twice."""
        mlflow.set_tracking_uri(self.uri)
        journal = pending.journal(self.run_id)
        if not journal.exists():
            try:
                with mlflow_store.usable():
                    return pending.write_entry(self.run_id, entry)
            except TarkibError as error:
                print(f"{error}; what this training logs {pending.REMEDY}", flush=True)
        try:
            pending.keep_entry(self.run_id, entry)
        except OSError as error:
            print(f"{journal}: {error.strerror}; the {', '.join(entry)} of this training cannot be kept", flush=True)


@contextmanager
def training(params: Params, fingerprint: str, data: Mapping[str, str]) -> Iterator[Run]:
    """A run to train in, with all parameters and tags for the commit, the DVC experiment and the data's checksums.

    An interrupted run of the same fingerprint is continued. Raises TarkibError where the store cannot be used, before
    anything is trained.
    """
    mlflow_store.connect(params.run.tracking_uri)
    with mlflow_store.usable():
        interrupted = registry.search(f"tags.`{TRAINING_TAG}` = '{fingerprint}' and attributes.status = 'RUNNING'")
        run = Run(interrupted[0].info.run_id if interrupted else _create(params, fingerprint, data))
    try:
        yield run
    except KeyboardInterrupt:
        # Its status stays RUNNING, so that the next training continues it.
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def _create(params: Params, fingerprint: str, data: Mapping[str, str]) -> str:
    experiment = os.environ.get("DVC_EXP_NAME", "")
    tags = {
        TRAINING_TAG: fingerprint,
        "git.commit": versioning.commit(),
        "dvc.experiment": experiment,
        **{f"data.{name}": value for name, value in data.items()},
    }
    name = experiment or f"{params.augment.mode} {params.model.backbone}"
    return registry.create_run(_flat(params), context.resolve_tags(tags), name)


def evaluated(
    params: Params, weights_sha256: str, metrics: Mapping[str, float | None], classifier: Path, test_set: str = ""
) -> None:
    """Log the final metrics to the run of these weights, and register their model with its card.

    Where the store cannot be used, prints that and keeps everything for `tarkib track`.

    Parameters
    ----------
    metrics : figures on the test set by name, None where undefined.
    classifier : the folder that the train stage wrote. TarkibError where it has no card.
    test_set : the test set's size in words, for the card.
    """
    card.read(classifier)
    evaluation = Evaluation(weights_sha256, _flat(params), versioning.commit(), dict(metrics), classifier, test_set)
    try:
        mlflow_store.connect(params.run.tracking_uri)
        # First what earlier stages could not log: the run of these weights may be among it.
        pending.send(lambda _: None)
        with mlflow_store.usable():
            registry.log(evaluation)
    except TarkibError as error:
        try:
            pending.keep_evaluation(evaluation)
        except OSError as full:
            print(f"{error}; {pending.folder()}: {full.strerror}, so MLflow will lack this evaluation", flush=True)
        else:
            print(f"{error}; this evaluation {pending.REMEDY}", flush=True)


def _flat(params: Params) -> dict[str, str]:
    """Parameters as ``section.key``, without `run` and `pretrain`, which change no stage's result."""
    return {
        f"{section}.{key}": str(value)
        for section, values in dataclasses.asdict(params).items()
        if section not in ("run", "pretrain")
        for key, value in values.items()
    }
