"""The project that a stage works for: where its caches and its tracking store are."""

import os
from pathlib import Path


def root() -> Path:
    """Root of the project that experiments belong to.

    DVC gives a queued experiment a copy of the project to run in and names the original in DVC_ROOT.
    """
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def cache(name: str) -> Path:
    """Folder for what may be deleted at the price of time alone; all experiments of a project share it."""
    return root() / ".cache" / name
