"""Arrays cached under a checksum of all that they depend on (`fingerprint`), so that an entry is never out of date.

Any number of processes may read and write; deleting the folder costs only time.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tarkib.runtime.outputs import atomic_file


class Cache:
    """A folder of entries, each a few named arrays; may be pickled.

    `problem` says why the latest entry could not be written (disk full, say), or is None; `put` does not raise.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem: str | None = None

    def path(self, key: str) -> Path:
        """File of an entry."""
        return self.folder / key[:2] / f"{key}.npz"

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """Arrays of an entry; None if it is absent or damaged, which the checksums of the format show."""
        try:
            with np.load(self.path(key), allow_pickle=False) as entry:
                return dict(entry)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
            return None

    def put(self, key: str, arrays: Mapping[str, Any]) -> None:
        """Write an entry; sets `problem` if the disk refuses."""
        try:
            with atomic_file(self.path(key)) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
        except OSError as error:
            self.problem = f"{self.folder}: {error.strerror or error}"

    def get_or_make(self, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Arrays of an entry, made and written if it is absent."""
        entry = self.get(key)
        if entry is None:
            entry = make()
            self.put(key, entry)
        return entry
