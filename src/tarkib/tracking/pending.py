"""What could not be logged because the store did not answer, kept below .cache/tracking until it does.

A training has a journal, `<run>.jsonl`: a line an entry, the last one with the run's status once the training is over.
An evaluation has a folder: `evaluation.json`, and the classifier that is to be registered.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import mlflow
from mlflow.entities import Metric

from tarkib.errors import TarkibError
from tarkib.runtime import mlflow_store, project
from tarkib.runtime.locks import file_lock
from tarkib.tracking import registry
from tarkib.tracking.registry import Evaluation

REMEDY = "is kept, and `tarkib track` logs it when the store can be used"


def folder() -> Path:
    """Where it lies; all experiments of a project share it."""
    return project.cache("tracking")


def journal(run_id: str) -> Path:
    """The journal of a training's run."""
    return folder() / f"{run_id}.jsonl"


def note(journal: Path, **entry: object) -> None:
    """Add an entry to a journal: `metrics` (lists of name, value, milliseconds, step), `tags` or `status`."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"store": mlflow_store.shown(mlflow.get_tracking_uri()), **entry}) + "\n")


def send_training(journal: Path) -> None:
    """Log what a finished training's journal holds, and delete it; raises TarkibError where that cannot be."""
    client, run_id, here = mlflow.MlflowClient(), journal.stem, mlflow_store.shown(mlflow.get_tracking_uri())
    # None where another process has logged it meanwhile.
    if not (entries := _entries(journal)):
        return
    for entry in entries:
        if entry["store"] != here:
            raise TarkibError(f"its run is in the store {entry['store']}; set MLFLOW_TRACKING_URI to that")
    with mlflow_store.usable():
        if not registry.exists(run_id):
            raise TarkibError(f"the store has no such run (was it made anew?), so {journal} is of no use; delete it")
        for entry in entries:
            metrics = [Metric(*one) for one in entry.get("metrics", ())]
            if metrics:
                client.log_batch(run_id, metrics)
            for key, value in entry.get("tags", {}).items():
                client.set_tag(run_id, key, value)
            if "status" in entry:
                client.set_terminated(run_id, entry["status"])
    journal.unlink(missing_ok=True)


def keep(evaluation: Evaluation) -> None:
    """Keep an evaluation with its classifier, in the place of an earlier one of the same weights and test set."""
    folder().mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".", suffix=".partial", dir=folder()))
    try:
        shutil.copytree(evaluation.classifier, half / "classifier", copy_function=_link)
        content = json.dumps({**asdict(evaluation), "classifier": ""})
        (half / "evaluation.json").write_text(content, encoding="utf-8")
        place = folder() / evaluation.key
        shutil.rmtree(place, ignore_errors=True)
        os.replace(half, place)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _link(source: str, target: str) -> None:
    """A second name for a file that no one changes in place, else a copy."""
    try:
        # Of a link into DVC's cache, what it leads to.
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)


def send(report: Callable[[str], None]) -> int:
    """Log all that is kept to the store that is connected; returns how many could not be logged."""
    left = 0
    with file_lock(project.cache("pending.lock")):
        for what, log in _waiting():
            try:
                log()
            except TarkibError as error:
                report(f"{what}: {error}")
                left += 1
            else:
                report(f"{what} logged")
    return left


def anything() -> bool:
    """Whether something is kept."""
    return next(_waiting(), None) is not None


def _waiting() -> Iterator[tuple[str, Callable[[], None]]]:
    """What is kept, in words, and what logs it: first trainings, since evaluations look for their runs."""
    for path in sorted(folder().glob("*.jsonl")):
        if "status" in (_entries(path) or [{}])[-1]:
            yield f"training {path.stem}", partial(send_training, path)
    for path in sorted(folder().glob("*/evaluation.json")):
        if not path.parent.name.startswith("."):  # another process is writing it
            yield f"evaluation {path.parent.name}", partial(_send_evaluation, path)


def _send_evaluation(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        one = Evaluation(**{**content, "classifier": path.parent / "classifier"})
    except FileNotFoundError:
        return  # another process has logged it meanwhile
    except (OSError, ValueError, TypeError) as error:
        raise TarkibError(f"{path}: damaged, or of another version of Tarkib; delete {path.parent}") from error
    with mlflow_store.usable():
        registry.log(one)
    shutil.rmtree(path.parent, ignore_errors=True)


def _entries(journal: Path) -> list[dict]:
    """A journal's entries, none where it is gone; one that a kill cut short, or that is damaged, is left out."""
    try:
        lines = journal.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "store" in entry:
            found.append(entry)
    return found
