"""DVC and Git, run in the project as a user would."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tarkib.errors import TarkibError


def dvc(*arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float | None = None) -> str:
    """Run this environment's DVC and return what it printed; TarkibError with DVC's message if it fails.

    After `timeout_s` it is killed, which counts as a failure.
    """
    return _run("dvc", [sys.executable, "-m", "dvc"], arguments, environment or {}, timeout_s)


def git(*arguments: str) -> str:
    """Run Git and return what it printed; TarkibError with Git's message if it fails."""
    return _run("git", ["git"], arguments, {})


def _run(
    name: str,
    program: list[str],
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    timeout_s: float | None = None,
) -> str:
    # DVC starts `dvc` and `python` by name: they must be those of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    # Files, not pipes: the workers that DVC leaves behind keep pipes open. A session of its own: Ctrl-C must not reach
    # the workers, nor DVC while it queues, because it has then put the user's changes aside.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        try:
            process = subprocess.Popen(
                [*program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PATH": path, **environment},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise TarkibError(f"{name}: not installed; install it") from error
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        if process.returncode == 0:
            return out.read()
        lines = [line for line in err.read().splitlines() if line.strip()]
    reasons = [line.partition(": ")[2] for line in lines if line.startswith(("ERROR: ", "fatal: "))] or lines[-1:]
    raise TarkibError(f"{' '.join([name, *arguments])}: {' '.join(reasons) or f'ended with {process.returncode}'}")
