"""The processes of a training: one, several of this machine, or those that a launcher such as torchrun has started.

All of them train; only the first reads parameters, logs and writes outputs.
"""

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tarkib.errors import TarkibError
from tarkib.runtime import parent_watch, program
from tarkib.training import devices

_PATIENCE = timedelta(minutes=30)
"""How long launched processes wait for each other, as the Trainer's do."""

_CPU = torch.device("cpu")


def run(count: int, model: Any, build: Callable[[], Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(model, *arguments)` here if `count` is 1, else in as many processes, each with a model of `build`.

    Function, arguments and result, that of the first process, must be picklable. The processes find each other by the
    environment variables of torchrun (RANK, WORLD_SIZE, ...): those that a launcher has set, else new ones. Raises the
    TarkibError of the process that failed first, or one with its exit code where it was killed.
    """
    if count == 1:
        return function(model, *arguments)
    if devices.launched():
        with _group():
            distributed.broadcast_object_list([(build, function, arguments)], device=_CPU)
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


def work_for_first() -> bool:
    """In all processes of a launcher but the first: call what the first one passes to `run`, then return True.

    In the first, and without a launcher, return False at once. TarkibError if another process is lost.
    """
    if not devices.launched() or os.environ["RANK"] == "0":
        return False
    with _group():
        job: list[Any] = [None]
        distributed.broadcast_object_list(job, device=_CPU)
        build, function, arguments = job[0]
        function(build(), *arguments)
    return True


@contextmanager
def _group() -> Iterator[None]:
    """Let the processes of a launcher find each other; the Trainer uses the group that it finds."""
    try:
        # Python objects go between processors, gradients between GPUs.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
        yield
        distributed.destroy_process_group()
    except RuntimeError as error:
        # Gloo's errors have no class of their own.
        message = str(error).lower()
        if isinstance(error, distributed.DistError) or "connection" in message or "timed out" in message:
            raise TarkibError(
                f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} lost another one, whose message says why; "
                "start all again to resume from the last checkpoint"
            ) from error
        raise


def _process(folder: Path, build: Callable[[], Any], function: Callable[..., Any], arguments: tuple) -> Any:
    """Run one process, which ends with its parent; an error's message goes to a file named by its rank."""
    parent_watch.end_with_parent()
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
