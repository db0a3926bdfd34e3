"""One training in several processes, a device each (distributed data parallel), started by torch's own launcher."""

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

_FAILURE = "failure"


def fit(count: int, model: Any, build: Callable[[], Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a model and arguments: here where one process does, else in so many, each of which builds it.

    Returns what the (first) call gave; raises as `run` does.
    """
    if count == 1:
        return function(model, *arguments)
    return run(count, _build_and_call, build, function, *arguments)


def _build_and_call(build: Callable[[], Any], function: Callable[..., Any], *arguments: Any) -> Any:
    return function(build(), *arguments)


def run(count: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in so many processes at once and return what the first one gave.

    The processes find each other by the environment variables that torchrun sets (RANK, WORLD_SIZE, ...). What the
    function, its arguments and its result are made of must be picklable.

    Raises the TarkibError of the process that failed first, or one that names its end where it was killed.
    """
    # The launcher prints thirty lines about a failure, this project one.
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
            # Else the machine's own name, which a container may be unable to look up.
            local_addr="localhost",
            max_restarts=0,
            monitor_interval=0.1,
            # Others are `tarkib.runtime.program`'s: the launcher ends its processes on any exception.
            signals_to_handle="SIGQUIT",
        )
        try:
            return elastic_launch(config, _process)(folder, function, arguments)[0]
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            message = Path(folder) / f"{_FAILURE}-{rank}"
            if message.is_file():
                raise TarkibError(message.read_text(encoding="utf-8")) from None
            raise TarkibError(
                f"process {rank} of {count} ended with exit code {failure.exitcode}; start again to go on from the "
                "last checkpoint, with fewer run.devices if it happens again"
            ) from error


def _process(folder: str, function: Callable[..., Any], arguments: tuple) -> Any:
    """What each process does; how it fails is left where the caller finds it. It ends with the one that started it."""
    parent_watch.follow()
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ["WORLD_SIZE"])))
    try:
        return function(*arguments)
    except Exception as error:
        message = str(error) if isinstance(error, TarkibError) else program.unforeseen(error)
        (Path(folder) / f"{_FAILURE}-{os.environ['RANK']}").write_text(message, encoding="utf-8")
        # At once: the others wait for this one, and what is to be cleaned up may wait for them.
        sys.stderr.flush()
        os._exit(1)
