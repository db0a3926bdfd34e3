"""Locks between processes, which the system releases when their holder ends, however it ends."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def file_lock(path: Path, what: str = "") -> Iterator[bool]:
    """Hold a lock file, which is deleted after the block; excludes other threads, too.

    Yields False, and prints it once, where the file system has no locks: then nobody is kept out. `what` is the output
    that the lock protects, printed where another process holds it; "" prints nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            with suppress(FileNotFoundError):  # released meanwhile
                holder = path.read_text() or "unknown"  # taken a moment ago
                if what:
                    _print(f"{what}: another process (pid {holder}) is writing it; waiting until it has ended")
            lock.acquire()
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        _print_once(f"{path.parent}: the file system has no locks; run one process at a time there")
    try:
        if lock.is_locked:
            path.write_text(str(os.getpid()))
        yield lock.is_locked
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
            lock.release()


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


_print_once = cache(_print)
