"""No orphans: workers and stages end with the process that started them, even if that was killed."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from tarkib.errors import Interrupted

_POLL_S = 0.5
_CLEANUP_S = 5.0

_dvc: int | None = None
"""PID of the parent of a stage that DVC started."""


def is_worker() -> bool:
    """Whether `multiprocessing` started this process."""
    # parent_process is set only after the import of the parent's main module.
    return multiprocessing.parent_process() is not None or "--multiprocessing-fork" in sys.orig_argv


def follow() -> None:
    """End this worker process with its parent; the parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def follow_loader(number: int, then: Callable[[int], None] | None = None) -> None:
    """`follow` as a DataLoader's `worker_init_fn`; calls `then`, another such function."""
    follow()
    if then:
        then(number)


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def watch_dvc() -> None:
    """If DVC started this stage, interrupt it when DVC dies: another `dvc repro` may write the same outputs."""
    global _dvc
    # DVC sets the variable for a stage's command, in place of whose shell the stage runs.
    if "DVC_STAGE" in os.environ:
        _dvc = os.getppid()
        threading.Thread(target=_interrupt_without_dvc, daemon=True).start()


def check() -> None:
    """Raise Interrupted if DVC started this stage and has died."""
    if abandoned():
        raise Interrupted(signal.SIGTERM)


def abandoned() -> bool:
    """Whether DVC started this stage and has died: it got another parent."""
    return _dvc not in (None, os.getppid())


def _interrupt_without_dvc() -> None:
    while not abandoned():
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_CLEANUP_S)
    os._exit(128 + signal.SIGTERM)
