"""How a training runs on this machine: devices, processes, memory. Results depend on it only by rounding."""

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from tqdm import tqdm
from transformers import TrainingArguments

from tarkib.errors import TarkibError
from tarkib.params import Run
from tarkib.runtime import parent_watch, program
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

    `loaders` are those per device; None: up to four on GPUs, none on the CPU, which training needs.
    """

    devices: str = "auto"
    loaders: int | None = None
    checkpoint_steps: int = 0
    gradient_checkpointing: bool = False

    @classmethod
    def of(cls, run: Run) -> "ComputeConfig":
        """The configuration in the section `run` of the parameters."""
        return cls(run.devices, None, run.checkpoint_steps, run.gradient_checkpointing)

    def settle(self, batch_size: int) -> tuple["ComputeConfig", Devices]:
        """Resolve the devices and the number of loaders; raises as `devices.choose` does."""
        chosen = devices.choose(self.devices, batch_size)
        cores = 0 if chosen.kind == "cpu" else max(1, (os.cpu_count() or 1) // chosen.count)
        return replace(self, loaders=min(_MAX_LOADERS, cores) if self.loaders is None else self.loaders), chosen

    def prepare(self, model: Any) -> None:
        """Set up a network for gradient checkpointing; TarkibError where it does not support it."""
        if self.gradient_checkpointing:
            model.gradient_checkpointing_enable()

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


def fit(count: int, model: Any, build: Callable[[], Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(model, *arguments)` here if `count` is 1, else in as many processes, each with a model of `build`.

    Function, arguments and result, that of the first process, must be picklable. The processes find each other by the
    environment variables of torchrun (RANK, WORLD_SIZE, ...). Raises the TarkibError of the process that failed first,
    or one with its exit code where it was killed.
    """
    if count == 1:
        return function(model, *arguments)
    # The launcher prints thirty lines about a failure; one is enough.
    for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",  # the machine's own name, the default, may be unknown in a container
            max_restarts=0,
            monitor_interval=0.1,
            # `tarkib.runtime.program` handles the others: the launcher ends its processes on any exception.
            signals_to_handle="SIGQUIT",
        )
        try:
            return elastic_launch(config, _process)(Path(folder), build, function, arguments)[0]
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            # An error in one process makes the others fail too, at nearly the same time, by a lost connection.
            files = [Path(folder, f"{rank}.error"), *Path(folder).glob("*.error"), Path(folder, f"{rank}.unforeseen")]
            if message := next(filter(Path.is_file, files), None):
                raise TarkibError(message.read_text(encoding="utf-8")) from None
            raise TarkibError(
                f"process {rank} of {count} ended with exit code {failure.exitcode}; start again to resume from the "
                "last checkpoint, with fewer run.devices if it happens again"
            ) from error


def _process(folder: Path, build: Callable[[], Any], function: Callable[..., Any], arguments: tuple) -> Any:
    """Run one process, which ends with its parent; an error's message goes to a file named by its rank."""
    parent_watch.follow()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["WORLD_SIZE"])))
    try:
        return function(build(), *arguments)
    except Exception as error:
        known = isinstance(error, TarkibError)
        file = Path(folder, f"{os.environ['RANK']}.{'error' if known else 'unforeseen'}")
        file.write_text(str(error) if known else program.unforeseen(error), encoding="utf-8")
        # At once: cleaning up may wait for the other processes, and these wait for this one.
        sys.stderr.flush()
        os._exit(1)
