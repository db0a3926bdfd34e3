"""The stages of dvc.yaml, in the order of the pipeline: demo, slice, annotate, mix, train, evaluate.

Each is run as ``python -m stages.<name>`` from the project's root and reads params.yaml there. Importing this package
puts this checkout's ``src/`` first on the path, so that a queued experiment runs the code it was queued with and not
what is installed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tarkib.errors import TarkibError

DEMO = Path("data/demo")
SLICES = Path("data/slices")
ANNOTATIONS = Path("data/annotations.parquet")
SUSPECTS = Path("data/suspects.csv")
MIXTURES = Path("data/mixtures")
CLASSIFIER = Path("models/classifier")
PREDICTIONS = Path("data/predictions.parquet")
TRAINING_PLOTS = Path("plots/training")
EVALUATION_PLOTS = Path("plots/evaluation")
METRICS = Path("metrics")


def run(stage: Callable[[], None]) -> None:
    """Run a stage; what the user can put right is told in a few lines, without a traceback."""
    try:
        stage()
    except TarkibError as error:
        sys.exit(f"error: {error}")
