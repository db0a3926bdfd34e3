"""Run Python in forks of one process that has imported the large libraries: that takes longer than the tests' work.

The process runs this file's text with ``python -c``, so that a fork's ``__main__`` has no file, as that of its code.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARIES = (
    "tarkib.annotation.jobs",
    "tarkib.comparison.experiments",
    "tarkib.evaluation.report",
    "tarkib.leakage.matches",
    "tarkib.mixing.measurement",
    "tarkib.recordings.slicing",
    "tarkib.tracking.runs",
    "tarkib.training.fitting",
)


def run(code: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run code as ``python -c`` does, in a folder; returns its exit code and what it printed."""
    server = _server()
    with tempfile.TemporaryDirectory() as kept:
        printed = [Path(kept, name) for name in ("stdout", "stderr")]
        files = [os.devnull, *map(str, printed)]
        print(json.dumps([code, str(folder), environment, files]), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        assert answer, "the process that forks has ended; its error is above"
        return subprocess.CompletedProcess(code, int(answer), *(file.read_text() for file in printed))


@functools.cache
def _server() -> subprocess.Popen:
    root = Path(__file__).resolve().parents[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",  # else pyarrow's allocator starts a thread
    }
    command = [sys.executable, "-c", Path(__file__).read_text()]
    server = subprocess.Popen(
        command, cwd=root, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.communicate)
    return server


def _serve() -> str:
    """Fork for each request; returns in each fork, with its code, and at last in the process itself, without any."""
    import psutil

    atexit.register(_leave)  # before the libraries' handlers, and so called after them
    for library in LIBRARIES:
        importlib.import_module(library)
    # Of several threads a fork has but one, and the locks that the others held.
    assert psutil.Process().num_threads() == 1
    gc.freeze()
    for line in sys.stdin:
        code, folder, environment, files = json.loads(line)
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        for number, file in enumerate(files):
            opened = os.open(file, os.O_RDWR | os.O_CREAT)
            os.dup2(opened, number)
            os.close(opened)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        return code
    return ""


def _leave() -> None:
    """End a process whose code has succeeded, without freeing each of the libraries' objects: that takes a second."""
    if succeeded:
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    succeeded = False
    exec(_serve())
    succeeded = True
