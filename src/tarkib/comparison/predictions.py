"""What the experiments predicted for one test set."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tarkib.errors import TarkibError
from tarkib.tables import PREDICTIONS

FILE = "data/predictions.parquet"
DETAILS = "metrics/details.json"

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
            details = json.loads(files.read_text(DETAILS))
        except (DvcException, OSError, ValueError) as error:
            why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
            raise TarkibError(f"{FILE}: cannot be read{why}; dvc pull it, or dvc exp remove the experiment") from error
        rows = PREDICTIONS.read(local)
    return from_rows(rows, details.get("left_out", {}))


def from_rows(rows: Sequence[Mapping[str, Any]], left_out: Mapping[str, str]) -> Predictions:
    """Turn rows of `PREDICTIONS` into arrays; TarkibError unless they hold every class of every clip in order."""
    classes = tuple(dict.fromkeys(row["instrument"] for row in rows))
    heads = rows[:: max(1, len(classes))]
    ids = tuple(row["sample_id"] for row in heads)
    expected = [(clip, name) for clip in ids for name in classes]
    if not rows or [(row["sample_id"], row["instrument"]) for row in rows] != expected:
        raise TarkibError(f"{FILE}: does not hold every class of every clip once; make it again with dvc repro")
    shape = (len(ids), len(classes))
    labels = [np.nan if row["label"] is None else float(row["label"]) for row in rows]
    return Predictions(
        Clips(ids, tuple(row["recording"] for row in heads), classes, np.reshape(labels, shape)),
        np.reshape([row["probability"] for row in rows], shape),
        np.reshape([row["predicted"] for row in rows], shape),
        left_out,
    )
