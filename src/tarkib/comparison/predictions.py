"""What the experiments predicted for one test set."""

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tarkib.errors import TarkibError
from tarkib.evaluation.report import PREDICTIONS
from tarkib.evaluation.scores import NOT_TRAINED

FILE = "data/predictions.parquet"
DETAILS = "metrics/details.json"

Run = tuple[str, int]
"""Mode and seed."""


@dataclass(frozen=True)
class Clips:
    """A test set as it was labelled: `targets` has shape (n, c), 1 plays, 0 does not, NaN not labelled."""

    ids: tuple[str, ...]
    recordings: tuple[str, ...]
    classes: tuple[str, ...]
    targets: np.ndarray

    def differs_from(self, other: "Clips") -> str | None:
        """In what the test set is another than `other`, in a few words; None where it is the same."""
        if self.ids != other.ids:
            return f"{len(self.ids)} clips that are not the {len(other.ids)} of the others"
        if self.recordings != other.recordings:
            return "clips cut from other recordings"
        if self.classes != other.classes:
            return "other classes"
        return None if np.array_equal(self.targets, other.targets, equal_nan=True) else "other labels"


@dataclass(frozen=True)
class Predictions:
    """What one experiment predicted for clips.

    `probabilities` and `decisions` (bool, at the thresholds from validation) have shape (n, c); `untrained` names the
    classes for which it had no training material.
    """

    clips: Clips
    probabilities: np.ndarray
    decisions: np.ndarray
    untrained: frozenset[str]


def read(revision: str) -> Predictions:
    """The predictions of a revision of this project.

    Raises TarkibError where they are not in the cache or not such a table.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    files = DVCFileSystem(rev=revision)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / Path(FILE).name
        try:
            files.get_file(FILE, str(local))
            details = json.loads(files.read_text(DETAILS))
        except (DvcException, OSError, ValueError) as error:
            what = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
            raise TarkibError(
                f"{FILE}: cannot be had{what}; dvc pull it, or remove the experiment and run it anew"
            ) from error
        rows = PREDICTIONS.read(local)
    left_out = details.get("left_out", {})
    return from_rows(rows, {name for name, reason in left_out.items() if reason == NOT_TRAINED})


def from_rows(rows: list[dict], untrained: Collection[str] = ()) -> Predictions:
    """Rows of `PREDICTIONS` as arrays.

    Raises TarkibError where a clip's classes do not follow one another, every clip's the same.
    """
    classes = tuple(dict.fromkeys(row["instrument"] for row in rows))
    heads = rows[:: max(1, len(classes))]
    ids = tuple(row["sample_id"] for row in heads)
    expected = [(one, name) for one in ids for name in classes]
    if not rows or [(row["sample_id"], row["instrument"]) for row in rows] != expected:
        raise TarkibError(f"{FILE}: does not hold every class of every clip once; run dvc repro to have it made anew")
    shape = (len(ids), len(classes))
    labels = [np.nan if row["label"] is None else float(row["label"]) for row in rows]
    return Predictions(
        Clips(ids, tuple(row["recording"] for row in heads), classes, np.array(labels).reshape(shape)),
        np.array([row["probability"] for row in rows]).reshape(shape),
        np.array([row["predicted"] for row in rows], dtype=bool).reshape(shape),
        frozenset(untrained),
    )


def without_untrained(predictions: Mapping[Run, Predictions]) -> tuple[np.ndarray, dict[str, list[Run]]]:
    """Targets to score all of them by, shape (n, c), and the classes that some had no training material for.

    A class is scored where all have trained it, so that all are scored on the same; its targets are NaN otherwise, and
    the second value says by class which experiments lack it.
    """
    first = next(iter(predictions.values())).clips
    lacking = {name: [key for key, one in predictions.items() if name in one.untrained] for name in first.classes}
    lacking = {name: keys for name, keys in lacking.items() if keys}
    return np.where(np.isin(first.classes, list(lacking)), np.nan, first.targets), lacking
