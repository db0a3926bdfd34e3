"""What the experiments predicted for one test set."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarkib.errors import TarkibError
from tarkib.tables import PREDICTIONS

FILE = "data/predictions.parquet"

Run = tuple[str, int]
"""Mode and seed."""


@dataclass(frozen=True)
class Clips:
    """A labelled test set: `targets` has shape (n, c), 1 plays, 0 does not, NaN not labelled."""

    ids: tuple[str, ...]
    recordings: tuple[str, ...]
    classes: tuple[str, ...]
    targets: np.ndarray

    def same_as(self, other: "Clips") -> bool:
        """Whether all is equal, labels included."""
        named = (self.ids, self.recordings, self.classes) == (other.ids, other.recordings, other.classes)
        return named and np.array_equal(self.targets, other.targets, equal_nan=True)


@dataclass(frozen=True)
class Predictions:
    """One experiment's predictions.

    `probabilities` and `decisions` (bool, at the thresholds from validation) have shape (n, c); `left_out` holds the
    classes that its macro figures leave out, with reasons as in `tarkib.evaluation.scores`.
    """

    clips: Clips
    probabilities: np.ndarray
    decisions: np.ndarray
    left_out: Mapping[str, str]


def read(revision: str) -> Predictions:
    """Read the predictions of a commit; TarkibError where they are not in the cache or the table is damaged."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    files = DVCFileSystem(rev=revision)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / Path(FILE).name
        try:
            files.get_file(FILE, str(local))
            details = json.loads(files.read_text("metrics/details.json"))
        except (DvcException, OSError, ValueError) as error:
            raise TarkibError(f"{FILE}: cannot be read; dvc pull it, or dvc exp remove the experiment") from error
        rows = PREDICTIONS.read(local)
    classes = tuple(dict.fromkeys(row["instrument"] for row in rows))
    clips = rows[:: max(1, len(classes))]
    expected = [(clip["sample_id"], name) for clip in clips for name in classes]
    if not rows or [(row["sample_id"], row["instrument"]) for row in rows] != expected:
        raise TarkibError(f"{FILE}: does not hold every class of every clip once; make it again with dvc repro")
    labels, probabilities, decisions = (
        np.reshape([row[name] for row in rows], (len(clips), len(classes)))
        for name in ("label", "probability", "predicted")
    )
    ids, recordings = (tuple(clip[name] for clip in clips) for name in ("sample_id", "recording"))
    # A label that is not there becomes NaN.
    test_set = Clips(ids, recordings, classes, labels.astype(float))
    return Predictions(test_set, probabilities, decisions, details.get("left_out", {}))
