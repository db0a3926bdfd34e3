"""Checksums that tell whether something would come out the same again."""

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


def of_files(paths: Iterable[Path]) -> str:
    """Sha256 of files' names and contents, in the order of their names; a folder stands for all that is in it.

    Python's own caches of compiled code are left out.
    """
    files = sorted(
        (
            file
            for path in paths
            for file in (path.rglob("*") if path.is_dir() else [path])
            if file.is_file() and "__pycache__" not in file.parts
        ),
        key=lambda file: file.as_posix(),
    )
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def of_code(paths: Iterable[Path]) -> str:
    """Sha256 of code, as `of_files`, and of the versions of what it computes with."""
    libraries = ("accelerate", "numpy", "peft", "torch", "transformers")
    return of(of_files(paths), *(metadata.version(name) for name in libraries))


def of(*parts: object) -> str:
    """Sha256 of values as Python writes them."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()
