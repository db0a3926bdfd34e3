"""The checkpoints of trainings: whose they are, which are whole, which may go.

A training has a folder of its own, named by all that makes it what it is. In it are `checkpoint-<step>` folders as
`transformers.Trainer` writes them, each with a mark once all its files are there, and `run.json`, which says what
training they belong to. The mark holds the files' sizes: a folder whose writing was cut short, or that was damaged
since, counts for nothing.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from tarkib.errors import TarkibError
from tarkib.runtime import fingerprint
from tarkib.runtime.locks import take
from tarkib.runtime.outputs import atomic_file
from tarkib.training.progress import say

_IDENTITY = "run.json"
_COMPLETE = "complete"
_STATE = "trainer_state.json"
_LOCK = "lock"

_PATIENCE_S = 15.0
"""How long a lock is waited for: processes that load data outlive a killed training by seconds, and hold it."""


def digest(model: nn.Module) -> str:
    """Sha256 of a model's architecture and configurations, its weights and which of them are trained."""
    found = hashlib.sha256(str(model).encode())
    for module in model.modules():
        # What changes no module's shape: heads of the attention, the constant-Q branch's frequencies.
        if hasattr(getattr(module, "config", None), "to_dict"):
            found.update(json.dumps(module.config.to_dict(), sort_keys=True, default=str).encode())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {name in trained}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy())
    return found.hexdigest()


@contextmanager
def open_run(root: Path, identity: Mapping[str, Any], *, resume: bool = True) -> Iterator[tuple[Path, Path | None]]:
    """Give the folder of the training that an identity makes, and its newest checkpoint, to this process alone.

    Where there is no checkpoint, others' trainings that were cut short are told of. Raises as `locked` does.
    """
    folder = home(root, identity)
    with locked(folder):
        latest = prepare(folder, identity, resume)
        if latest is None:
            for line in unfinished(folder, identity):
                say(line)
        yield folder, latest


def home(root: Path, identity: Mapping[str, Any]) -> Path:
    """Folder, below the one for all trainings, of the training that this identity makes."""
    return root / fingerprint.of(json.dumps(identity, sort_keys=True))[:16]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a training's folder to this process; TarkibError where another one is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        patient_until = time.monotonic() + _PATIENCE_S
        while take(lock) is False:
            if time.monotonic() > patient_until:
                raise TarkibError(
                    f"{folder}: another process is at this very training; wait for it, or stop it and start again"
                )
            time.sleep(0.2)
        # The system lets go of it when the process ends, however it ends.
        yield


def prepare(folder: Path, identity: Mapping[str, Any], resume: bool) -> Path | None:
    """Clear a training's folder of what is of no use, and note whose it is; returns the newest checkpoint, if any.

    A checkpoint is of use where it is whole and that of the best epoch so far is too. Not to resume is to clear all.
    """
    for checkpoint in _sorted(folder):
        if not resume or not _is_whole(checkpoint):
            drop(checkpoint)
    for checkpoint in reversed(_sorted(folder)):
        best = (_read(checkpoint / _STATE) or {}).get("best_global_step")
        if best and not of_step(folder, best).is_dir():
            drop(checkpoint)
    with atomic_file(folder / _IDENTITY) as path:
        path.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    return newest(folder)


def unfinished(folder: Path, identity: Mapping[str, Any]) -> list[str]:
    """A line for each other training beside this one's folder that was cut short: where it is and what differs.

    One that another process is at is not meant.
    """
    known = json.loads(json.dumps(identity))
    lines = []
    for stamp in sorted(folder.parent.glob(f"*/{_IDENTITY}")):
        before, last = _read(stamp), newest(stamp.parent)
        if stamp.parent != folder and before is not None and last is not None and not _is_held(stamp.parent):
            lines.append(
                f"an unfinished training of other {', '.join(_differences(before, known))} has come to step "
                f"{_step(last)}; this one starts afresh, and {stamp.parent} may be deleted unless you go back to that"
            )
    return lines


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a training."""
    whole = [checkpoint for checkpoint in _sorted(folder) if _is_whole(checkpoint)]
    return whole[-1] if whole else None


def of_step(folder: Path, step: int) -> Path:
    """The checkpoint of a step."""
    return folder / f"checkpoint-{step}"


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """The model's weights after a step that has a checkpoint."""
    return load_file(of_step(folder, step) / "model.safetensors")


def notes(checkpoint: Path) -> dict[str, Any]:
    """What `finish` wrote down with a checkpoint; empty where it has no mark."""
    mark = _read(checkpoint / _COMPLETE)
    return {} if mark is None else mark["notes"]


def finish(folder: Path, step: int, best_step: int | None, notes: Mapping[str, Any]) -> None:
    """Mark a step's checkpoint as whole, and only then drop older ones: the newest two and the best stay.

    The Trainer's own rotation comes before any mark could be set; a kill between the two would leave a checkpoint that
    does not count and another whose best one is gone.
    """
    checkpoint = of_step(folder, step)
    (checkpoint / _COMPLETE).unlink(missing_ok=True)
    sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
    with atomic_file(checkpoint / _COMPLETE) as path:
        path.write_text(json.dumps({"files": sizes, "notes": dict(notes)}), encoding="utf-8")
    for checkpoint in _sorted(folder)[:-2]:
        if _step(checkpoint) != best_step:
            drop(checkpoint)


def drop(checkpoint: Path) -> None:
    """Delete a checkpoint, the mark first: half of one must not look like a whole one."""
    (checkpoint / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    """Whether a process is at a training."""
    try:
        with (folder / _LOCK).open() as lock:
            return take(lock) is False
    except OSError:
        return False


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names in which two trainings differ, with the values of those that are no checksums."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            checksums = all(isinstance(value, str) and len(value) == 64 for value in (old, new))
            found.append(name if checksums else f"{name} ({old}, now {new})")
    return found


def _is_whole(checkpoint: Path) -> bool:
    mark = _read(checkpoint / _COMPLETE)
    return mark is not None and all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in mark["files"].items()
    )


def _read(stamp: Path) -> dict[str, Any] | None:
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
