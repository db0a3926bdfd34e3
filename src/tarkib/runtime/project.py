"""The project that a stage works for."""

import os
from pathlib import Path


def root() -> Path:
    """Root of the project: DVC runs a queued experiment in a copy and names the original in DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def cache(name: str) -> Path:
    """A folder of cached work, shared by all experiments; deleting it costs only time."""
    return root() / ".cache" / name
