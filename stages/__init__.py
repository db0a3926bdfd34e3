"""The stages of dvc.yaml, in the order of the pipeline: demo, slice, annotate, mix, train, leakage, evaluate.

Each is run as ``python -m stages.<name>`` from the project's root and reads params.yaml there. Importing this package
puts this checkout's ``src/`` first on the path, so that a queued experiment runs the code it was queued with, not
what is installed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tarkib.runtime import program

# Before a stage imports its libraries, which takes seconds.
program.start()


def run(stage: Callable[[], None]) -> None:
    """Run a stage; an error is printed in a line, with its remedy."""
    if code := program.guard(stage):
        sys.exit(code)
