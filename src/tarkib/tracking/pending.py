"""What the store did not take, kept below .cache/tracking until it does.

A training has a journal, `<run>.jsonl`: an entry per line, the last one with the run's final status. An evaluation has
a folder: `evaluation.json` and the classifier to register.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric

from tarkib.errors import TarkibError
from tarkib.runtime import mlflow_store, project
from tarkib.runtime.locks import file_lock
from tarkib.runtime.outputs import atomic_dir
from tarkib.tracking import registry
from tarkib.tracking.registry import Evaluation

REMEDY = "is kept, and `tarkib track` logs it when the store can be used"


def folder() -> Path:
    """Where it is kept; all experiments of a project share it."""
    return project.cache("tracking")


def journal(run_id: str) -> Path:
    """The journal of a training's run."""
    return folder() / f"{run_id}.jsonl"


def write_entry(run_id: str, entry: dict[str, Any]) -> None:
    """Log a journal's entry: `metrics` (lists of name, value, milliseconds, step), `tags` or `status`."""
    client = mlflow.MlflowClient()
    if metrics := [Metric(*values) for values in entry.get("metrics", ())]:
        client.log_batch(run_id, metrics)
    for key, value in entry.get("tags", {}).items():
        client.set_tag(run_id, key, value)
    if "status" in entry:
        client.set_terminated(run_id, entry["status"])


def keep_entry(run_id: str, entry: dict[str, Any]) -> None:
    """Append an entry to the run's journal."""
    folder().mkdir(parents=True, exist_ok=True)
    with journal(run_id).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"store": mlflow_store.shown(mlflow.get_tracking_uri()), **entry}) + "\n")


def keep_evaluation(evaluation: Evaluation) -> None:
    """Keep an evaluation with its classifier, in place of an earlier one of the same weights and test set."""
    folder().mkdir(parents=True, exist_ok=True)
    with atomic_dir(folder() / evaluation.key) as partial_folder:
        shutil.copytree(evaluation.classifier, partial_folder / "classifier")
        content = json.dumps({**asdict(evaluation), "classifier": ""})
        (partial_folder / "evaluation.json").write_text(content, encoding="utf-8")


def send_training(run_id: str) -> None:
    """Log a finished training's journal and delete it; raises TarkibError where that fails."""
    entries, store = _entries(journal(run_id)), mlflow_store.shown(mlflow.get_tracking_uri())
    if not entries:
        return  # another process has logged it
    for entry in entries:
        if entry["store"] != store:
            raise TarkibError(f"its run is in the store {entry['store']}; set MLFLOW_TRACKING_URI to that")
    with mlflow_store.usable():
        if not registry.search(f"attributes.run_id = '{run_id}'"):
            raise TarkibError(f"the store has no run {run_id} (is it a new store?); delete {journal(run_id)}")
        for entry in entries:
            write_entry(run_id, entry)
    journal(run_id).unlink(missing_ok=True)


def send(report: Callable[[str], object]) -> int:
    """Log everything that is kept; returns how many trainings and evaluations could not be logged."""
    failed = 0
    with file_lock(project.cache("pending.lock")):
        for what, log in _waiting():
            try:
                log()
            except TarkibError as error:
                report(f"{what}: {error}")
                failed += 1
            else:
                report(f"{what} logged")
    return failed


def anything() -> bool:
    """Whether something is kept."""
    return any(_waiting())


def _waiting() -> Iterator[tuple[str, Callable[[], None]]]:
    """Names of what is kept and functions to log it: trainings first, as evaluations search for their runs."""
    for path in sorted(folder().glob("*.jsonl")):
        if "status" in (_entries(path) or [{}])[-1]:
            yield f"training {path.stem}", partial(send_training, path.stem)
    for path in sorted(folder().glob("*/evaluation.json")):
        if not path.parent.name.startswith("."):  # another process is writing it
            yield f"evaluation {path.parent.name}", partial(_send_evaluation, path)


def _send_evaluation(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        evaluation = Evaluation(**{**content, "classifier": path.parent / "classifier"})
    except FileNotFoundError:
        return  # another process has logged it
    except (OSError, ValueError, TypeError) as error:
        raise TarkibError(f"{path}: damaged, or of another version of Tarkib; delete {path.parent}") from error
    with mlflow_store.usable():
        registry.log(evaluation)
    shutil.rmtree(path.parent, ignore_errors=True)


def _entries(path: Path) -> list[dict[str, Any]]:
    """A journal's entries; lines that a kill cut short or that are damaged are left out."""
    entries = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "store" in entry:
            entries.append(entry)
    return entries
