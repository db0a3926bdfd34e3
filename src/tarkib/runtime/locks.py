"""Keeping other processes out for a while, by locks that the system releases when a process ends, however it ends."""

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


def take(file: IO, *, wait: bool = False) -> bool | None:
    """Lock an open file: True once it is ours, False where another has it, None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return None
    return True


@contextmanager
def file_lock(path: Path, what: str = "") -> Iterator[IO[str] | None]:
    """Wait until no other process or thread is in such a block with the same file, and keep others waiting meanwhile.

    Gives the file, which is gone after the block; what it holds was left by a process that was killed inside. Gives
    None where the file system has no locks: then nobody is kept out.

    Parameters
    ----------
    path : the file.
    what : what is written inside the block, for a line to whoever has to wait; none is printed without it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, what) as (file, ours):
        try:
            yield file if ours else None
        finally:
            if ours is not False:
                path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path, what: str) -> Iterator[tuple[IO[str], bool | None]]:
    waits = False
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8") as file:
            ours = take(file)
            if ours is False:
                if what and not waits:
                    pid = file.readline().strip()
                    print(
                        f"{what}: another process{f' (pid {pid})' if pid.isdigit() else ''} is writing it; waiting",
                        file=sys.stderr,
                        flush=True,
                    )
                waits = True
                ours = take(file, wait=True)
            # Whoever had it has deleted it: a lock on a file that is gone keeps nobody out.
            if ours and not _is_at(file, path):
                continue
            file.seek(0)
            yield file, ours
            return


def _is_at(file: IO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
