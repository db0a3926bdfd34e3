"""Running DVC and Git in the project, as a user would."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tarkib.errors import TarkibError


def dvc(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run this environment's DVC here and return what it printed.

    `environment` is added to this process's own. Raises TarkibError with DVC's own words where it fails.
    """
    return _run([sys.executable, "-m", "dvc", *arguments], environment or {})


def git(*arguments: str) -> str:
    """Run Git here and return what it printed; raises TarkibError with Git's own words where it fails."""
    return _run(["git", *arguments], {})


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    # What DVC starts in its turn is `dvc` and `python` by name: those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Files, not pipes: workers that DVC leaves behind hold their ends open. A session of its own: Ctrl-C is for this
    # process alone, since DVC puts the workspace aside while it queues and workers are to live on.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PATH": path, **environment},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise TarkibError(f"{command[0]}: not found; install it") from error
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        if process.returncode:
            told = [line for line in err.read().splitlines() if line.strip()]
            reasons = [line.partition(": ")[2] for line in told if line.startswith(("ERROR: ", "fatal: "))] or told[-1:]
            name = " ".join(
                ["dvc" if command[0] == sys.executable else "git", *command[3 if "dvc" in command else 1 :]]
            )
            raise TarkibError(f"{name}: {' '.join(reasons) or f'ended with {process.returncode}'}")
        return out.read()
