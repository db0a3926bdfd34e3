"""Keeping other processes out for a while."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with the same file, and keep others waiting meanwhile.

    The file stays, empty: to delete it would let one that waits on the old file and one that makes a new file in
    together.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # The system lets go of it when the process ends, however it ends.
        yield
