"""The checkpoints of one training: whose they are, which are whole, which may go.

A folder holds `checkpoint-<step>` folders as `transformers.Trainer` writes them, each with a mark once all its files
are there, and a file that says which training they belong to.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback

_IDENTITY = "run.json"
_COMPLETE = "complete"


def identify(model: nn.Module, params: dict[str, Any], sizes: tuple[int, int], data: str) -> dict[str, Any]:
    """What makes two trainings the same: parameters, architecture, weights at the start and which are trained, data."""
    digest = hashlib.sha256(str(model).encode())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {name in trained}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return {"params": params, "model": digest.hexdigest(), "clips": list(sizes), "data": data}


def prepare(folder: Path, identity: dict[str, Any], resume: bool) -> Path | None:
    """Clear a folder of what does not belong to this training or is not whole; return its newest checkpoint, if any."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / _IDENTITY
    try:
        same = resume and json.loads(stamp.read_text(encoding="utf-8")) == identity
    except (OSError, ValueError):
        same = False
    for checkpoint in _sorted(folder):
        if not same or not (checkpoint / _COMPLETE).is_file():
            shutil.rmtree(checkpoint)
    stamp.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    return max(_sorted(folder), key=_step, default=None)


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """The model's weights after a step that has a checkpoint."""
    return load_file(folder / f"checkpoint-{step}" / "model.safetensors")


class Keep(TrainerCallback):
    """Marks a checkpoint once it is written, and only then drops older ones: the newest two and the best stay.

    The Trainer's own rotation comes before any mark could be set; a kill between the two would leave a checkpoint that
    does not count and another whose best one is gone.
    """

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the newest, drop the old."""
        checkpoints = _sorted(Path(args.output_dir))
        (checkpoints[-1] / _COMPLETE).touch()
        for checkpoint in checkpoints[:-2]:
            if _step(checkpoint) != state.best_global_step:
                # The mark first: half a checkpoint must not look like a whole one.
                (checkpoint / _COMPLETE).unlink(missing_ok=True)
                shutil.rmtree(checkpoint)


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
