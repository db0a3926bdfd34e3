"""The project that a stage works for, and the names of its data."""

import os
from pathlib import Path

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
OVERVIEW = Path("plots/overview.png")
METRICS = Path("metrics")

GET_MUSICNN = "pip install --no-deps --require-hashes -r requirements-musicnn.lock"
"""Installs the package that holds the weights of the backbone of its name."""


def root() -> Path:
    """Root of the project: DVC runs a queued experiment in a copy and names the original in DVC_ROOT."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def cache(name: str) -> Path:
    """A folder of cached work, shared by all experiments; deleting it costs only time."""
    return root() / ".cache" / name


def check_folder(folder: Path, remedy: str) -> None:
    """Raise TarkibError where a folder is something else, or, with the remedy, does not exist."""
    if not folder.is_dir():
        raise TarkibError(f"{folder}: {'is no folder' if folder.exists() else f'no such folder; {remedy}'}")


def model_folder(source: Path | str) -> Path | None:
    """The folder of a classifier, None for an address of MLflow or of the hub; TarkibError where it does not exist."""
    if str(source).startswith(("models:/", "runs:/", "mlflow-artifacts:/", "file:/", "hf://")):
        return None
    folder = Path(source)
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "no such model; run dvc repro (or dvc pull)"
        raise TarkibError(f"{source}: {problem}; name a classifier's folder, such as models/classifier")
    return folder


def code_of(stage: str) -> str:
    """Checksum of the code that dvc.yaml declares for a stage, and of its libraries."""
    from tarkib.runtime import fingerprint, yaml12  # slow to load

    root = Path(__file__).resolve().parents[3]
    declared = yaml12.read((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["deps"]
    return fingerprint.of_code(root / path for path in declared if path.startswith(("src/", "stages/")))
