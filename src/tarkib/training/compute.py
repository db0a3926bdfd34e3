"""How a training runs on the machine that is there: devices, loaders of data, memory. Nothing that it learns by."""

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
from tarkib.training import devices
from tarkib.training.devices import Devices

_MOST_LOADERS = 4


@dataclass(frozen=True)
class ComputeConfig:
    """How a training runs, which changes nothing that comes out but rounding.

    Attributes
    ----------
    devices : as `run.devices` is written.
    loaders : processes that load data for each device; None: on the CPU none, since training needs every core, on GPUs
        up to four.
    checkpoint_steps : steps between two checkpoints inside an epoch; 0: none but those at the epochs' ends.
    gradient_checkpointing : compute activations twice instead of keeping them.
    compile : run the network through torch.compile.
    """

    devices: str = "auto"
    loaders: int | None = None
    checkpoint_steps: int = 0
    gradient_checkpointing: bool = False
    compile: bool = False

    def settle(self, batch_size: int) -> tuple["ComputeConfig", Devices]:
        """The same with its number of loaders, and the devices; raises as `devices.choose` does."""
        chosen = devices.choose(self.devices, batch_size)
        if self.loaders is not None:
            return self, chosen
        cores = 0 if chosen.kind == "cpu" else max(1, (os.cpu_count() or 1) // chosen.count)
        return replace(self, loaders=min(_MOST_LOADERS, cores)), chosen

    def prepare(self, model: Any) -> None:
        """Make a network ready to be trained in this way; TarkibError where it cannot be."""
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        if self.compile:
            model.prepare_for_compile()
            # In place: the Trainer's own switch leaves environment variables behind, and its wrapper other names.
            model.compile()

    def arguments(self, folder: Path, chosen: Devices, batch_size: int, **learning: Any) -> TrainingArguments:
        """The Trainer's arguments, with those that say how it learns.

        Parameters
        ----------
        folder : for its checkpoints.
        chosen : the devices, each of which has a process.
        batch_size : clips of all devices together.
        learning : further arguments.
        """
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
            dataloader_num_workers=self.loaders,
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
    """Leave the caller's random numbers as they are; the Trainer seeds every generator that is everyone's."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if chosen.kind == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def enough_memory(what: str, remedies: str) -> Iterator[None]:
    """Tell what to turn where the memory of a GPU is too small: `what` names the batch, `remedies` end the error."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TarkibError(f"the GPU's memory is too small for {what}: {remedies}") from error
