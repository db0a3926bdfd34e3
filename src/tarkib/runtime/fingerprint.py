"""Checksums of what a result depends on."""

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


def of_files(paths: Iterable[Path]) -> str:
    """Sha256 of names and contents, in the order of paths; folders count with all files in them but __pycache__."""
    files = {
        file.as_posix(): file
        for path in paths
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.is_file() and "__pycache__" not in file.parts
    }
    digest = hashlib.sha256()
    for _, file in sorted(files.items()):
        with file.open("rb") as content:
            digest.update(f"{file.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def of_code(paths: Iterable[Path]) -> str:
    """Sha256 of code, and of the versions of the libraries that compute a training."""
    libraries = ("accelerate", "numpy", "peft", "torch", "transformers")
    return of(of_files(paths), *map(metadata.version, libraries))


def of(*parts: object) -> str:
    """Sha256 of values' repr."""
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()
