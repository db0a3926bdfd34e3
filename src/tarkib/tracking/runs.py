"""The MLflow runs of trainings and evaluations; what the store did not accept is pending, in .cache/tracking.

A training's file is its journal, `<run>.jsonl`: an entry per line, the last one with the run's final status. An
evaluation's is a folder with `evaluation.json` and the classifier to register.
"""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.tracking.context import registry as context

from tarkib.errors import TarkibError
from tarkib.params import Params
from tarkib.runtime import mlflow_store, project, versioning
from tarkib.runtime.locks import file_lock
from tarkib.runtime.outputs import atomic_dir
from tarkib.tracking import card, registry
from tarkib.tracking.registry import TRAINING_TAG, WEIGHTS_TAG, Evaluation

_REMEDY = "is kept, and `tarkib track` logs it when the store can be used"


class Run:
    """A training's run, to which losses and validation scores are logged. Picklable.

    What the store does not accept goes into a journal, which is sent when the training ends. (With transformers' own
    MLflowCallback a failing store would end the training.)
    """

    def __init__(self, run_id: str) -> None:
        self.run_id, self.uri = run_id, mlflow.get_tracking_uri()

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Log the numbers among some values after a step."""
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        now = int(time.time() * 1000)
        self._log(metrics=[[name, value, now, step] for name, value in numbers.items()])

    def tag_weights(self, sha256: str) -> None:
        """Tag the run with the weights that it produced, by which the evaluate stage finds it."""
        self._log(tags={WEIGHTS_TAG: sha256})

    def end(self, status: str) -> None:
        """Log the run's final status, and its journal if it has one."""
        had_journal = journal(self.run_id).exists()
        self._log(status=status)
        if had_journal:
            try:
                _send_training(self.run_id)
            except TarkibError as error:
                print(f"{error}; what this training logged {_REMEDY}", flush=True)

    def _log(self, **entry: Any) -> None:
        """Log to the store, or to the journal once the store has failed: no training waits for it twice."""
        mlflow.set_tracking_uri(self.uri)
        path = journal(self.run_id)
        if not path.exists():
            try:
                with mlflow_store.usable():
                    return _write(self.run_id, entry)
            except TarkibError as error:
                print(f"{error}; what this training logs {_REMEDY}", flush=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            print(f"{path}: {error.strerror}; the {', '.join(entry)} of this training cannot be kept", flush=True)


@contextmanager
def training(params: Params, fingerprint: str, data: Mapping[str, str]) -> Iterator[Run]:
    """A run for a training, with all parameters, and tags for commit, DVC experiment and the data's checksums.

    An interrupted run of the same fingerprint is continued. Raises TarkibError where the store cannot be used, before
    anything is trained.
    """
    mlflow_store.connect(params.run.tracking_uri)
    with mlflow_store.usable():
        interrupted = registry.search(f"tags.`{TRAINING_TAG}` = '{fingerprint}' and attributes.status = 'RUNNING'")
        if interrupted:
            run = Run(interrupted[0].info.run_id)
        else:
            experiment = os.environ.get("DVC_EXP_NAME", "")
            tags = {TRAINING_TAG: fingerprint, "git.commit": versioning.commit(), "dvc.experiment": experiment}
            tags |= {f"data.{name}": value for name, value in data.items()}
            name = experiment or f"{params.augment.mode} {params.model.backbone}"
            run = Run(registry.create_run(_flat(params), context.resolve_tags(tags), name))
    try:
        yield run
    except KeyboardInterrupt:
        # Its status stays RUNNING, so that the next training continues it.
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def log_evaluation(
    params: Params, weights_sha256: str, metrics: Mapping[str, float | None], classifier: Path, test_set: str = ""
) -> None:
    """Log the metrics of a test set (None: undefined) to the run of these weights, and register their model.

    `classifier` is the folder that the train stage wrote; `test_set` the test set's size in words, for the card. Where
    the store cannot be used, prints that and keeps everything for `tarkib track`. TarkibError for a missing card.
    """
    card.read(classifier)
    evaluation = Evaluation(weights_sha256, _flat(params), versioning.commit(), dict(metrics), classifier, test_set)
    try:
        mlflow_store.connect(params.run.tracking_uri)
        # First what earlier stages could not log: the run of these weights may be among it.
        send_pending(lambda _: None)
        with mlflow_store.usable():
            registry.log(evaluation)
    except TarkibError as error:
        try:
            _keep(evaluation)
        except OSError as full:
            print(f"{error}; {pending_folder()}: {full.strerror}, so MLflow will lack this evaluation", flush=True)
        else:
            print(f"{error}; this evaluation {_REMEDY}", flush=True)


def pending_folder() -> Path:
    """The folder of all pending files; all experiments of a project share it."""
    return project.cache("tracking")


def journal(run_id: str) -> Path:
    """The journal of a training's run."""
    return pending_folder() / f"{run_id}.jsonl"


def pending() -> Iterator[tuple[str, Callable[[], None]]]:
    """Names of pending trainings, then evaluations (which search for their runs), and functions that log them."""
    for path in sorted(pending_folder().glob("*.jsonl")):
        if "status" in (_entries(path) or [{}])[-1]:
            yield f"training {path.stem}", partial(_send_training, path.stem)
    for path in sorted(pending_folder().glob("*/evaluation.json")):
        if not path.parent.name.startswith("."):  # another process is writing it
            yield f"evaluation {path.parent.name}", partial(_send_evaluation, path)


def send_pending(report: Callable[[str], object]) -> int:
    """Log everything that is pending; returns how many trainings and evaluations could not be logged."""
    failed = 0
    with file_lock(project.cache("pending.lock")):
        for what, log in pending():
            try:
                log()
            except TarkibError as error:
                report(f"{what}: {error}")
                failed += 1
            else:
                report(f"{what} logged")
    return failed


def _send_training(run_id: str) -> None:
    """Log a finished training's journal and delete it; does nothing where another process has done that."""
    entries = _entries(journal(run_id))
    with mlflow_store.usable():
        if entries and not registry.search(f"attributes.run_id = '{run_id}'"):
            raise TarkibError(
                f"the store has no run {run_id}; set MLFLOW_TRACKING_URI to the store that was used for this training, "
                f"or delete {journal(run_id)}"
            )
        for entry in entries:
            _write(run_id, entry)
    journal(run_id).unlink(missing_ok=True)


def _send_evaluation(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        evaluation = Evaluation(**{**content, "classifier": path.parent / "classifier", "outputs": path.parent})
    except FileNotFoundError:
        return  # another process has logged it
    except (OSError, ValueError, TypeError) as error:
        raise TarkibError(f"{path}: damaged, or of another version of Tarkib; delete {path.parent}") from error
    with mlflow_store.usable():
        registry.log(evaluation)
    shutil.rmtree(path.parent, ignore_errors=True)


def _keep(evaluation: Evaluation) -> None:
    """Keep an evaluation with its classifier, in place of an earlier one of the same weights and test set."""
    pending_folder().mkdir(parents=True, exist_ok=True)
    with atomic_dir(pending_folder() / evaluation.key) as folder:
        shutil.copytree(evaluation.classifier, folder / "classifier")
        for name in filter(Path.exists, registry.ARTIFACTS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if name.is_dir() else shutil.copy2)(name, folder / name)
        content = json.dumps({**dataclasses.asdict(evaluation), "classifier": "", "outputs": ""})
        (folder / "evaluation.json").write_text(content, encoding="utf-8")


def _write(run_id: str, entry: dict[str, Any]) -> None:
    """Log a journal's entry: `metrics` (lists of name, value, milliseconds, step), `tags` or `status`."""
    client = mlflow.MlflowClient()
    if metrics := [Metric(*values) for values in entry.get("metrics", ())]:
        client.log_batch(run_id, metrics)
    for key, value in entry.get("tags", {}).items():
        client.set_tag(run_id, key, value)
    if "status" in entry:
        client.set_terminated(run_id, entry["status"])


def _entries(path: Path) -> list[dict[str, Any]]:
    """A journal's entries; lines that a kill cut short or that are damaged are left out."""
    entries = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError):
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)]


def _flat(params: Params) -> dict[str, str]:
    """Parameters as ``section.key``, without `run` and `pretrain`, which change no stage's result."""
    return {
        f"{section}.{key}": str(value)
        for section, values in dataclasses.asdict(params).items()
        if section not in ("run", "pretrain")
        for key, value in values.items()
    }
