"""Workers and stages end with the process that started them, even if that was killed."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import psutil

from tarkib.errors import Interrupted

_POLL_S = 0.5
_CLEANUP_S = 5.0

_links: list[tuple[psutil.Process, int]] = []
"""(process, PID of its parent) from this process up to DVC; empty where DVC did not start it."""


def is_worker() -> bool:
    """Whether `multiprocessing` started this process."""
    # parent_process is set only after the import of the parent's main module.
    return multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv


def end_with_parent() -> None:
    """End this worker process with its parent; the parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def end_loader_with_parent(number: int, then: Callable[[int], None] | None = None) -> None:
    """`end_with_parent` as a DataLoader's `worker_init_fn`; calls `then`, another such function."""
    end_with_parent()
    if then:
        then(number)


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def watch_dvc() -> None:
    """If DVC started this stage, interrupt it when DVC dies: another `dvc repro` may write the same outputs."""
    # DVC sets the variable for a stage's command, so all processes between DVC and this one have it.
    if "DVC_STAGE" not in os.environ:
        return
    process = psutil.Process()
    for parent in process.parents():
        _links.append((process, parent.pid))
        try:
            if "DVC_STAGE" not in parent.environ():
                break
        except psutil.Error:
            break
        process = parent
    if len(_links) == 1 and _adopts_orphans(parent):
        # DVC died before this process could look for it.
        _links[0] = (psutil.Process(), -1)
    threading.Thread(target=_interrupt_without_dvc, daemon=True).start()


def _adopts_orphans(process: psutil.Process) -> bool:
    """Whether it is an init process; in a container, PID 1 of this process's own group may be DVC itself."""
    try:
        return (process.pid == 1 or process.name() == "systemd") and os.getpgid(process.pid) != os.getpgrp()
    except (psutil.Error, OSError):
        return True


def check() -> None:
    """Raise Interrupted if DVC started this stage and has died."""
    if abandoned():
        raise Interrupted(signal.SIGTERM)


def abandoned() -> bool:
    """Whether DVC started this stage and has died: a process on the way to it got another parent, or is gone."""
    try:
        return any(process.ppid() != parent for process, parent in _links)
    except psutil.NoSuchProcess:
        return True


def _interrupt_without_dvc() -> None:
    while not abandoned():
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_CLEANUP_S)
    os._exit(128 + signal.SIGTERM)
