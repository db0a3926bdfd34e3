"""How a training runs on this machine: devices, loader processes, memory. Results depend on it only by rounding."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainingArguments

from tarkib.errors import TarkibError
from tarkib.params import Run
from tarkib.training import devices
from tarkib.training.devices import Devices

_MAX_LOADERS = 4


@dataclass(frozen=True)
class ComputeConfig:
    """How a training runs.

    Attributes
    ----------
    devices : as in `run.devices`.
    loaders : processes per device that load data; None: up to four on GPUs, none on the CPU, which training needs.
    checkpoint_steps : steps between checkpoints within an epoch; 0: only at the end of each epoch.
    gradient_checkpointing : recompute activations instead of storing them.
    compile : run the network through torch.compile.
    """

    devices: str = "auto"
    loaders: int | None = None
    checkpoint_steps: int = 0
    gradient_checkpointing: bool = False
    compile: bool = False

    @classmethod
    def of(cls, run: Run) -> "ComputeConfig":
        """The configuration in the section `run` of the parameters."""
        return cls(run.devices, None, run.checkpoint_steps, run.gradient_checkpointing, run.compile)

    def settle(self, batch_size: int) -> tuple["ComputeConfig", Devices]:
        """Resolve the devices and the number of loaders; raises as `devices.choose` does."""
        chosen = devices.choose(self.devices, batch_size)
        cores = 0 if chosen.kind == "cpu" else max(1, (os.cpu_count() or 1) // chosen.count)
        return replace(self, loaders=min(_MAX_LOADERS, cores) if self.loaders is None else self.loaders), chosen

    def prepare(self, model: Any) -> None:
        """Set up a network for gradient checkpointing and torch.compile; TarkibError where it supports neither."""
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        if self.compile:
            model.prepare_for_compile()
            # In place: the Trainer's own switch leaves environment variables behind, and its wrapper renames weights.
            model.compile()

    def arguments(self, folder: Path, chosen: Devices, batch_size: int, **learning: Any) -> TrainingArguments:
        """The Trainer's arguments: checkpoints in `folder`, a batch shared by all devices, and what it learns by."""
        on_gpu = chosen.kind == "cuda"
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=batch_size // chosen.count,
            per_device_eval_batch_size=batch_size // chosen.count,
            optim="adamw_torch_fused" if on_gpu else "adamw_torch",
            bf16=devices.has_bfloat16(torch.device(chosen.kind)),
            use_cpu=not on_gpu,
            ddp_backend=None if chosen.count == 1 else "nccl" if on_gpu else "gloo",
            ddp_find_unused_parameters=False,
            save_strategy="epoch",
            dataloader_num_workers=self.loaders or 0,
            dataloader_pin_memory=on_gpu,
            accelerator_config={"non_blocking": on_gpu},
            remove_unused_columns=False,
            logging_nan_inf_filter=False,
            log_level="error",
            report_to=[],
            disable_tqdm=True,
            **learning,
        )
        if arguments.n_gpu > 1:
            # Several GPUs in one process would multiply the batch, and their threads record no hidden states.
            arguments._n_gpu = 1
        return arguments


@contextmanager
def own_generators(chosen: Devices) -> Iterator[None]:
    """Restore the global random states afterwards: the Trainer seeds all of them."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if chosen.kind == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def enough_memory(what: str, remedies: str) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into a TarkibError; `what` names the batch."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TarkibError(f"the GPU's memory is too small for {what}: {remedies}") from error
