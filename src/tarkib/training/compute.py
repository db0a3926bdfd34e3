"""How a training runs on this machine: devices, data loaders, memory. They change only the rounding."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm import tqdm

from tarkib.errors import TarkibError
from tarkib.params import Run
from tarkib.training import devices
from tarkib.training.devices import Devices

_MAX_LOADERS = 4


def say(line: str) -> None:
    """Print a line to stdout without breaking a progress bar; of several training processes only the first prints."""
    if os.environ.get("RANK", "0") == "0":
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


@dataclass(frozen=True)
class ComputeConfig:
    """How a training runs: the section `run` of the parameters, and the number of processes that load data.

    `loaders` is the number of loader processes per device; None: up to four for a GPU, none for a CPU.
    """

    devices: str = "auto"
    loaders: int | None = None
    checkpoint_steps: int = 0
    gradient_checkpointing: bool = False
    cuda_graphs: bool = False

    @classmethod
    def of(cls, run: Run) -> "ComputeConfig":
        """The configuration in the section `run` of the parameters."""
        return cls(run.devices, None, run.checkpoint_steps, run.gradient_checkpointing, run.cuda_graphs)

    def resolve(self, batch_size: int) -> tuple["ComputeConfig", Devices]:
        """Resolve the devices and the number of loaders; raises as `devices.choose` does."""
        chosen = devices.choose(self.devices, batch_size)
        cores = 0 if chosen.kind == "cpu" else max(1, (os.cpu_count() or 1) // chosen.local_count)
        return replace(self, loaders=min(_MAX_LOADERS, cores) if self.loaders is None else self.loaders), chosen

    def set_up_checkpointing(self, model: Any) -> None:
        """Set up a network for gradient checkpointing; TarkibError where it does not support it."""
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable()


@contextmanager
def enough_memory(what: str, remedies: str) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into a TarkibError; `what` names the batch."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TarkibError(f"the GPU's memory is too small for {what}: {remedies}") from error


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch compute with this many threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
