"""The stages of dvc.yaml, in the order of the pipeline: demo, slice, annotate, mix, train, evaluate.

Each is run as ``python -m stages.<name>`` from the project's root and reads params.yaml there. Importing this package
puts this checkout's ``src/`` first on the path, so that a queued experiment runs the code it was queued with and not
what is installed.
"""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tarkib import fingerprint, yaml12
from tarkib.errors import TarkibError
from tarkib.text import escaped_output

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

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def code_of(stage: str) -> str:
    """Checksum of the code that dvc.yaml declares for a stage, and of what it computes with."""
    root = Path(__file__).resolve().parents[1]
    declared = yaml12.read((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    return fingerprint.of_code(root / one for one in declared if one.startswith(("src/", "stages/")))


def run(stage: Callable[[], None]) -> None:
    """Run a stage; what the user can put right is told in a few lines, without a traceback."""
    with escaped_output():
        error = _error(stage)
        if error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)


def _error(stage: Callable[[], None]) -> str:
    """Run a stage; what went wrong that the user can put right, nothing where it did not."""
    try:
        stage()
    except TarkibError as error:
        return str(error)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        # A file that was opened before the disk was full is not named in the error.
        where = f"{error.filename}: " if error.filename else ""
        return (
            f"{where}{error.strerror}; make room (or raise the limit) and run dvc repro again; nothing was half-written"
        )
    return ""
