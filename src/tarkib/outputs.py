"""Outputs that are whole or not there: written beside and renamed, so that a kill leaves the old or the new."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Where an output is written to first: a name that no one else gives, since what is there is cleared away."""
    # A checksum is short where a name is as long as names may be.
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tarkib.partial")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well it takes the place of `path`, else it is gone.

    What an earlier, killed run left half-written is cleared away first.
    """
    path = Path(path)
    partial = partial_of(path)
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        _remove(path)
        os.replace(partial, path)
    finally:
        _remove(partial)


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a path to write to; when the block ends well the file takes the place of `path`, else it is gone."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        _remove(partial)
