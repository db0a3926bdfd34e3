"""One training in several processes, one per device (distributed data parallel), started by torch's launcher."""

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tarkib.errors import TarkibError
from tarkib.runtime import parent_watch, program


def fit(count: int, model: Any, build: Callable[[], Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(model, *arguments)`, in this process if `count` is 1, else in `count` processes, each with
    the model that `build` gives there.

    Function, arguments and result must be picklable. The processes find each other by the environment variables of
    torchrun (RANK, WORLD_SIZE, ...). Returns the result of the first process. Raises the TarkibError of the process
    that failed first, or one with its exit code where it was killed.
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
            # By default the machine's own name, which a container may be unable to resolve.
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=0.1,
            # `tarkib.runtime.program` handles the others: the launcher ends its processes on any exception.
            signals_to_handle="SIGQUIT",
        )
        try:
            return elastic_launch(config, _process)(Path(folder), build, function, arguments)[0]
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            message = Path(folder, str(rank))
            if message.is_file():
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
        message = str(error) if isinstance(error, TarkibError) else program.unforeseen(error)
        Path(folder, os.environ["RANK"]).write_text(message, encoding="utf-8")
        # At once: cleaning up may wait for the other processes, and these wait for this one.
        sys.stderr.flush()
        os._exit(1)
