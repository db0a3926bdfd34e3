"""Processes that end with the one that started them, also where that one was killed and could say nothing."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import connection

from tarkib.errors import Interrupted

_POLL_S = 0.5
_PATIENCE_S = 5.0  # for a stage to clear away what is half-written, once it is asked to end

_ancestors: tuple[int, ...] = ()
"""This process, its parent and so on up to the one that started it on behalf of DVC; empty where DVC did not."""


def is_worker() -> bool:
    """Whether this process was started by `multiprocessing` to work for another one."""
    # parent_process is set only once the parent's main module has been imported.
    return multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv


def follow() -> None:
    """End this worker process with its parent, whatever it is doing; interrupts are the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def follow_loader(number: int, then: Callable[[int], None] | None = None) -> None:
    """As `follow`, for a DataLoader's `worker_init_fn`; `then` is another such function, called afterwards."""
    follow()
    if then is not None:
        then(number)


def _end_with(sentinel: int) -> None:
    # A pipe whose other end the parent holds: the system closes it.
    connection.wait([sentinel])
    os._exit(1)


def watch_dvc() -> None:
    """Where DVC started this stage, interrupt it when DVC is gone: another `dvc repro` may be at the same outputs."""
    global _ancestors
    # Set for a stage's command, and so for all that lies between DVC and this process: a shell, say.
    if "DVC_STAGE" in os.environ:
        _ancestors = _up_to_dvc()
        threading.Thread(target=_interrupt_without_dvc, daemon=True).start()


def check() -> None:
    """Raise Interrupted where DVC started this stage and is gone."""
    if abandoned():
        raise Interrupted(signal.SIGTERM)


def abandoned() -> bool:
    """Whether DVC started this stage and is gone."""
    # What loses its parent gets another one.
    return any(_parent(child) != parent for child, parent in itertools.pairwise(_ancestors))


def _interrupt_without_dvc() -> None:
    while not abandoned():
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_S)
    os._exit(128 + signal.SIGTERM)


def _up_to_dvc() -> tuple[int, ...]:
    import psutil  # comes with DVC

    found = [os.getpid()]
    while (parent := _parent(found[-1])) and len(found) < 50:
        found.append(parent)
        try:
            if "DVC_STAGE" not in psutil.Process(parent).environ():
                break
        except psutil.Error:
            break
    if len(found) == 2 and _is_heir(found[1]):
        # DVC was killed before this process could look for it.
        found[1] = 0
    return tuple(found)


def _parent(pid: int) -> int:
    """Process id of a process's parent; 0 where there is none."""
    if pid == os.getpid():
        return os.getppid()
    import psutil

    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return 0


def _is_heir(pid: int) -> bool:
    """Whether a process is one that the system gives orphans to; in a container it may have started us itself."""
    import psutil

    try:
        return os.getpgid(pid) != os.getpgrp() and (pid == 1 or psutil.Process(pid).name() == "systemd")
    except (psutil.Error, OSError):
        return True
