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

DEMO = Path("data/demo")
SLICES = Path("data/slices")
ANNOTATIONS = Path("data/annotations.parquet")
SUSPECTS = Path("data/suspects.csv")
MIXTURES = Path("data/mixtures")
CLASSIFIER = Path("models/classifier")
PREDICTIONS = Path("data/predictions.parquet")
TRAINING_PLOTS = Path("plots/training")
EVALUATION_PLOTS = Path("plots/evaluation")
OVERVIEW = Path("plots/overview.png")
METRICS = Path("metrics")

# Before a stage imports its libraries, which takes seconds.
program.start()


def code_of(stage: str) -> str:
    """Checksum of the code that dvc.yaml declares for a stage, and of its libraries."""
    from tarkib.runtime import fingerprint, yaml12

    root = Path(__file__).resolve().parents[1]
    declared = yaml12.read((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    return fingerprint.of_code(root / path for path in declared if path.startswith(("src/", "stages/")))


def run(stage: Callable[[], None]) -> None:
    """Run a stage; an error is printed in a line, with its remedy."""
    if code := program.guard(stage):
        sys.exit(code)
