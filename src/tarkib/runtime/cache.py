"""Arrays kept by the content that they were computed from, so that nothing is computed twice.

A key is a checksum of all that a result depends on (`fingerprint`), so an entry is never out of date, and any
number of processes may read and write at once: an entry is written beside and renamed, and two that write the same
write the same. What a kill, a full disk or a damaged file leaves behind counts as absent. Deleting the folder, even
while it is in use, costs time and nothing else.
"""

import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

_PARTIAL = ".partial"
_ABANDONED_SECONDS = 86_400.0


class Cache:
    """A folder of entries, each a few named arrays. Cheap to make; may be copied to other processes.

    Parameters
    ----------
    folder : where entries lie; made when the first is written.

    Attributes
    ----------
    problem : why an entry could not be kept (a full disk, say), or None; the results are not affected.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem: str | None = None

    def path(self, key: str) -> Path:
        """File of a key's entry."""
        return self.folder / key[:2] / f"{key}.npz"

    def get(self, key: str) -> Arrays | None:
        """The arrays kept under a key, or None where there is no whole entry."""
        try:
            with np.load(self.path(key), allow_pickle=False) as entry:
                return {name: entry[name] for name in entry.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
            # The format has a checksum of each array: a damaged entry cannot pass for a whole one.
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> bool:
        """Keep arrays under a key; False, with `problem` set, where the disk does not let us."""
        path = self.path(key)
        partial = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A name of its own for each writer: another process may be writing the same entry.
            descriptor, partial = tempfile.mkstemp(prefix=f"{key[:12]}-", suffix=_PARTIAL, dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)
            os.replace(partial, path)
        except OSError as error:
            self.problem = f"{self.folder}: {error.strerror or error}"
            if partial is not None:
                Path(partial).unlink(missing_ok=True)
            return False
        return True

    def get_or_make(self, key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The arrays kept under a key; made, and kept if possible, where they are not there."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def sweep(self) -> None:
        """Clear away what killed writers left a day ago or earlier."""
        for partial in self.folder.glob(f"*/*{_PARTIAL}"):
            try:
                if time.time() - partial.stat().st_mtime > _ABANDONED_SECONDS:
                    partial.unlink()
            except FileNotFoundError:
                continue  # its writer has just finished, or another sweep was here
