"""Outputs that are whole or not there: written beside and renamed, so that a kill leaves the old or the new.

One process at a time writes an output. It writes to a partial of its own, whose name it notes in a lock file beside the
output; both are gone afterwards. The next writer clears away what a killed one left.
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


@contextmanager
def atomic_dir(path: Path | str) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well it takes the place of `path`, else it is gone.

    Where another process is writing the same folder, it is waited for. Of a link the folder is replaced that it leads
    to.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    with _partial(path) as partial:
        partial.mkdir()
        yield partial
        _replace(partial, path)


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Give a path to write to; when the block ends well the file takes the place of `path`, else it is gone."""
    path = Path(path)
    with _partial(path) as partial:
        yield partial
        parent_watch.check()
        os.replace(partial, path)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Give a path beside another one that is this process's alone."""
    # A checksum is short where a name is as long as names may be.
    stem = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}"
    partial = path.with_name(f"{stem}.{secrets.token_hex(4)}.tarkib.partial")
    left = [partial]
    with file_lock(path.with_name(f"{stem}.tarkib.lock"), str(path)) as lock:
        if lock is not None:
            killed = lock.read().partition("\n")[2]
            if killed.startswith(stem) and "/" not in killed:
                left.append(path.with_name(killed))
                _clear(left[1], path)
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n{partial.name}")
            lock.flush()
        try:
            yield partial
        finally:
            # Once more what a killed process left: its workers may have lived a moment longer.
            for one in left:
                _clear(one, path)


def _replace(partial: Path, path: Path) -> None:
    """Put a folder in the place of another one, which is moved aside first: to delete it takes a while."""
    parent_watch.check()
    with suppress(FileNotFoundError):
        path.rename(_aside(partial))
    partial.rename(path)
    _remove(_aside(partial))


def _clear(partial: Path, path: Path) -> None:
    """Delete a partial, and put back what was moved aside for it where nothing has taken its place."""
    if not os.path.lexists(path):
        with suppress(FileNotFoundError):
            _aside(partial).rename(path)
    _remove(_aside(partial))
    _remove(partial)


def _aside(partial: Path) -> Path:
    return partial.with_name(partial.name.replace(".tarkib.", ".old.tarkib."))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
