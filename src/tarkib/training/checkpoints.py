"""Checkpoints on disk: which training they belong to, which are complete, which may be deleted.

Each training has its own folder, named by a checksum of everything that defines it (run.json). A `checkpoint-<step>` of
`transformers.Trainer` counts only with the file `complete`, written last, and while its files have the sizes in there.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import nn

from tarkib.errors import TarkibError
from tarkib.runtime import fingerprint
from tarkib.runtime.outputs import atomic_file
from tarkib.training.compute import say

_IDENTITY, _COMPLETE, _LOCK = "run.json", "complete", "lock"

_PATIENCE_S = 15.0
"""How long to wait for the lock: processes of a killed training outlive it by seconds and hold it."""


def digest(model: nn.Module) -> str:
    """Sha256 of a model's architecture, configurations and weights, and of which weights are trained."""
    checksum = hashlib.sha256(str(model).encode())
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        # Settings that change no shape: attention heads, the frequencies of the constant-Q branch.
        if hasattr(config, "to_dict"):
            checksum.update(json.dumps(config.to_dict(), sort_keys=True, default=str).encode())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict().items():
        checksum.update(f"{name} {name in trained}".encode())
        checksum.update(tensor.detach().cpu().contiguous().numpy())
    return checksum.hexdigest()


@contextmanager
def open_run(root: Path, identity: Mapping[str, Any]) -> Iterator[tuple[Path, Path | None]]:
    """Lock the folder of the training with this identity (JSON values); yields it and its newest checkpoint, or None.

    Deletes unusable checkpoints. If none is left, prints a line for each other training that did not finish. Raises
    TarkibError if another process has locked the folder.
    """
    folder = root / fingerprint.of(json.dumps(identity, sort_keys=True))[:16]
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except Timeout as error:
        message = f"{folder}: another process runs this training; wait for it, or stop it and try again"
        raise TarkibError(message) from error
    except OSError:
        pass  # a file system without locks
    try:
        latest = _drop_unusable(folder)
        with atomic_file(folder / _IDENTITY) as path:
            path.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        if latest is None:
            _report_unfinished(folder)
        yield folder, latest
    finally:
        lock.release()


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a training."""
    return next(filter(_is_complete, reversed(_checkpoints(folder))), None)


def of_step(folder: Path, step: int) -> Path:
    """The checkpoint of a step."""
    return folder / f"checkpoint-{step}"


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """The model's weights in the checkpoint of a step."""
    return load_file(of_step(folder, step) / "model.safetensors")


def loss_sum(checkpoint: Path) -> float:
    """The sum of the epoch's losses that `finish` stored with a checkpoint."""
    return _read(checkpoint / _COMPLETE).get("loss_sum", 0.0)


def finish(folder: Path, step: int, best_step: int | None, loss_sum: float) -> None:
    """Mark a step's checkpoint as complete; only then delete older ones except the newest two and the best.

    The Trainer rotates before a mark could be written: a kill in between would leave an incomplete checkpoint and
    another one without its best.
    """
    checkpoint = of_step(folder, step)
    (checkpoint / _COMPLETE).unlink(missing_ok=True)
    sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir()}
    with atomic_file(checkpoint / _COMPLETE) as path:
        path.write_text(json.dumps({"files": sizes, "loss_sum": loss_sum}), encoding="utf-8")
    for checkpoint in _checkpoints(folder)[:-2]:
        if _step(checkpoint) != best_step:
            drop(checkpoint)


def drop(checkpoint: Path) -> None:
    """Delete a checkpoint, its mark first: half a checkpoint must not look complete."""
    (checkpoint / _COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _drop_unusable(folder: Path) -> Path | None:
    """Delete incomplete checkpoints, and those whose best checkpoint is missing; returns the newest of the others."""
    for checkpoint in _checkpoints(folder):
        if not _is_complete(checkpoint):
            drop(checkpoint)
    for checkpoint in reversed(_checkpoints(folder)):
        best_step = _read(checkpoint / "trainer_state.json").get("best_global_step")
        if best_step and not of_step(folder, best_step).is_dir():
            drop(checkpoint)
    return newest(folder)


def _report_unfinished(folder: Path) -> None:
    """Print where each other training that was cut short is, and what differs; running ones are left out."""
    identity = _read(folder / _IDENTITY)
    for path in sorted(folder.parent.glob(f"*/{_IDENTITY}")):
        other, before, last = path.parent, _read(path), newest(path.parent)
        if other == folder or not before or last is None or _is_running(other):
            continue
        values = {name: (before.get(name), identity.get(name)) for name in sorted(before.keys() | identity.keys())}
        differences = [f"{name} ({old!s:.16}, now {new!s:.16})" for name, (old, new) in values.items() if old != new]
        say(
            f"an unfinished training with other {', '.join(differences)} stopped at step {_step(last)}; this one starts"
            f" at step 0, so delete {other} unless you return to those settings"
        )


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / _LOCK, fallback_to_soft=False)


def _is_running(folder: Path) -> bool:
    try:
        with _lock(folder).acquire(timeout=0):
            return False
    except OSError as error:
        return isinstance(error, Timeout)


def _is_complete(checkpoint: Path) -> bool:
    sizes = _read(checkpoint / _COMPLETE).get("files", {})
    files = {name: checkpoint / name for name in sizes}
    return bool(sizes) and all(file.is_file() and file.stat().st_size == sizes[name] for name, file in files.items())


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
