"""Outputs that are whole or absent: written beside and renamed, so that a kill leaves the old or the new.

One process at a time writes an output, under a lock file beside it. The next writer deletes what a killed one left.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tarkib.runtime import parent_watch
from tarkib.runtime.locks import file_lock

_OLD = ".old.tarkib.partial"


@contextmanager
def atomic_dir(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces `path` when the block ends well, else it is deleted.

    Waits while another process writes the same folder. If `path` is a link, its target is replaced.
    """
    path = Path(path).resolve() if os.path.islink(path) else Path(path)
    with _partial(path) as partial:
        partial.mkdir()
        yield partial
        parent_watch.check()
        # Moved aside: deleting it takes a while.
        with suppress(FileNotFoundError):
            path.rename(partial.with_name(partial.name.replace(".tarkib.partial", _OLD)))
        partial.rename(path)


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a path to write to; the file replaces `path` when the block ends well, else it is deleted."""
    path = Path(path)
    with _partial(path) as partial:
        yield partial
        parent_watch.check()
        os.replace(partial, path)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    # A checksum, since the name itself may already be NAME_MAX long.
    stem, token = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}", secrets.token_hex(4)
    with file_lock(path.with_name(f"{stem}.tarkib.lock"), str(path)) as locked:
        # Without a lock, other processes may be writing theirs.
        pattern = f"{stem}.{'' if locked else token}*.partial"
        _clear(path, pattern)
        try:
            yield path.with_name(f"{stem}.{token}.tarkib.partial")
        finally:
            # Again: workers of a killed process may have lived a moment longer.
            _clear(path, pattern)


def _clear(path: Path, pattern: str) -> None:
    """Delete partials; put back the old folder where nothing has taken its place."""
    for partial in path.parent.glob(pattern):
        if partial.name.endswith(_OLD) and not os.path.lexists(path):
            partial.rename(path)
        elif partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
