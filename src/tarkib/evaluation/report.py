"""What is written of scores: figures for `dvc metrics`, points for `dvc plots`, every detail, and a table to read.

Each function writes whole files, beside and renamed; equal scores give equal bytes. Figures are in 0..1; an undefined
one is null in JSON, empty in CSV, and a dash in the table.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tarkib.evaluation import curves, overview
from tarkib.evaluation.scores import CALIBRATION, HEADLINE, ClassScore, Estimate, PolyphonyScore, Scores
from tarkib.evaluation.testset import TestSet
from tarkib.runtime.outputs import atomic_file
from tarkib.tables import Table

FEW_RECORDINGS = 20
"""With fewer recordings a percentile interval is known to be too narrow (Davison and Hinkley, 1997, chapter 5)."""

PREDICTIONS = Table(
    "predictions",
    pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("recording", pa.string(), nullable=False),
            pa.field("instrument", pa.string(), nullable=False),
            pa.field("label", pa.bool_()),
            pa.field("probability", pa.float64(), nullable=False),
            pa.field("predicted", pa.bool_(), nullable=False),
        ]
    ),
)
"""One row for each clip and class; `label` is null where the class is not labelled."""

_AT_HALF = "_at_half"
_COMPARED = (*HEADLINE, f"f1_macro{_AT_HALF}", CALIBRATION)
_CLASS_FIGURES = ("f1", f"f1{_AT_HALF}", "roc_auc", "average_precision")
_POLYPHONY_FIGURES = ("accuracy", "exact_match", "f1_micro")
_TITLES = {
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "f1_macro": "F1 macro",
    "f1_micro": "F1 micro",
    "roc_auc": "ROC-AUC macro",
    "average_precision": "average precision macro",
    CALIBRATION: "calibration error",
}


def write_metrics(path: Path | str, scores: Scores) -> None:
    """Write the headline, macro F1 at 0.5 and the calibration error flat, to four decimals: for `dvc metrics diff`."""
    headline = {name: _rounded(scores.figures[name].value, 4) for name in _COMPARED}
    _write_json(path, {**headline, "clips": scores.clips, "classes": len(scores.averaged)})


def write_details(path: Path | str, scores: Scores, notes: Sequence[str] = ()) -> None:
    """Write all figures with their intervals, by class and by polyphony, what was left out and why, and notes."""
    details = {
        "clips": scores.clips,
        "recordings": scores.recordings,
        "bootstrap_rounds": scores.rounds,
        "figures": {name: asdict(one) for name, one in scores.figures.items()},
        "all_negative_accuracy": scores.all_negative_accuracy,
        "averaged": scores.averaged,
        "left_out": scores.left_out,
        "thresholds": {one.instrument: one.threshold for one in scores.classes},
        "classes": [asdict(one) for one in scores.classes],
        "polyphony": [asdict(one) for one in scores.polyphony],
        "notes": list(notes),
    }
    _write_json(path, _rounded(details, 6))


def write_predictions(path: Path | str, test: TestSet, scores: Scores) -> None:
    """Write what was labelled and what was found, one row for each clip and class: `PREDICTIONS`."""
    rows = []
    for i, (sample, recording) in enumerate(zip(test.ids, test.recordings, strict=True)):
        for k, one in enumerate(scores.classes):
            label, probability = test.targets[i, k], scores.probabilities[i, k]
            rows.append(
                {
                    "sample_id": sample,
                    "recording": recording,
                    "instrument": one.instrument,
                    "label": None if np.isnan(label) else bool(label),
                    "probability": float(probability),
                    "predicted": bool(probability >= one.threshold),
                }
            )
    PREDICTIONS.write(path, rows)


def write_plots(folder: Path | str, scores: Scores) -> None:
    """Write roc.csv, precision_recall.csv, per_class.csv and polyphony.csv into a folder.

    The curves' files hold macro, micro and every averaged class below one another, named in the column `instrument`;
    classes left out of the averages are in none of the files.
    """
    folder = Path(folder)
    _write_curves(folder / "roc.csv", ("false_positive_rate", "true_positive_rate"), curves.roc(scores))
    _write_curves(folder / "precision_recall.csv", ("recall", "precision"), curves.precision_recall(scores))
    _write_csv(
        folder / "per_class.csv",
        ("instrument", "positives", "negatives", "threshold", "precision", "recall", *_with_ends(_CLASS_FIGURES)),
        (_class_row(one) for one in scores.classes if one.left_out is None),
    )
    _write_csv(
        folder / "polyphony.csv",
        ("instruments", "clips", *_with_ends(_POLYPHONY_FIGURES)),
        (_polyphony_row(one) for one in scores.polyphony),
    )


def draw_overview(path: Path | str, scores: Scores) -> None:
    """Draw all figures as one picture, a PNG; it shows the classes that are left out of the averages too."""
    with atomic_file(path) as partial:
        overview.draw(scores, partial)


def summary(scores: Scores) -> str:
    """Return all figures as a plain-text table of several lines, with what was left out and why."""
    headline = [["thresholds", "validation", "", "all 0.5", ""]]
    for name, title in _TITLES.items():
        at_half = scores.figures.get(name + _AT_HALF)
        headline.append([title, *_cells(scores.figures[name]), *(_cells(at_half) if at_half else ("", ""))])
    headline.append(["accuracy of predicting nothing", _shown(scores.all_negative_accuracy), "", "", ""])
    heading = ["instrument", "with", "without", "threshold", "prec.", "recall", "F1", "", "at 0.5"]
    classes = [[*heading, "ROC-AUC", "", "AP", ""]]
    for one in scores.classes:
        numbers = (one.threshold, one.precision, one.recall)
        counts = [str(one.positives), str(one.negatives)]
        f1 = [*_cells(one.f1), _shown(one.f1_at_half.value)]
        areas = [*_cells(one.roc_auc), *_cells(one.average_precision)]
        classes.append([one.instrument, *counts, *map(_shown, numbers), *f1, *areas])
    polyphony = [["instruments", "clips", "accuracy", "", "exact", "", "F1 micro", ""]]
    for group in scores.polyphony:
        figures = (group.accuracy, group.exact_match, group.f1_micro)
        polyphony.append([str(group.instruments), str(group.clips), *(c for f in figures for c in _cells(f))])
    blocks = [_preamble(scores), *("\n".join(_aligned(rows)) for rows in (headline, classes, polyphony))]
    return "\n\n".join(blocks + (["\n".join(_left_out(scores))] if scores.left_out else []))


def _preamble(scores: Scores) -> str:
    if scores.recordings == 1:
        return f"{scores.size}; with no other to resample there are no intervals."
    text = f"{scores.size}; in brackets the 95 % interval from {scores.rounds} resamplings of the recordings."
    if scores.recordings < FEW_RECORDINGS:
        text += f"\nWith fewer than {FEW_RECORDINGS} recordings such intervals are narrower than they should be."
    return text


def _left_out(scores: Scores) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in scores.left_out.items():
        by_reason.setdefault(reason, []).append(name)
    return (f"Left out of the averages ({reason}): {', '.join(names)}" for reason, names in by_reason.items())


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cells(one: Estimate) -> tuple[str, str]:
    return _shown(one.value), "" if one.low is None else f"[{one.low:.3f}, {one.high:.3f}]"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Lay rows out in columns: the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def _rounded(value: Any, digits: int) -> Any:
    """Round every float in nested dicts and lists."""
    if isinstance(value, dict):
        return {key: _rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one, digits) for one in value]
    return round(value, digits) if isinstance(value, float) else value


def _with_ends(names: Iterable[str]) -> list[str]:
    return [name + suffix for name in names for suffix in ("", "_low", "_high")]


def _class_row(one: ClassScore) -> list[Any]:
    counts = [one.instrument, one.positives, one.negatives, one.threshold, one.precision, one.recall]
    return counts + _figures(one, _CLASS_FIGURES)


def _polyphony_row(one: PolyphonyScore) -> list[Any]:
    return [one.instruments, one.clips, *_figures(one, _POLYPHONY_FIGURES)]


def _figures(one: ClassScore | PolyphonyScore, names: Iterable[str]) -> list[float | None]:
    return [value for name in names for value in asdict(getattr(one, name)).values()]


def _write_json(path: Path | str, content: dict[str, Any]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _write_curves(path: Path, axes: tuple[str, str], points: dict[str, np.ndarray]) -> None:
    rows = ([name, *point] for name, curve in points.items() for point in curve.tolist())
    _write_csv(path, ("instrument", *axes), rows)


def _write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(_rounded(row, 6) for row in rows)
