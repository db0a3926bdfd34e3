"""Files and text made of scores; equal scores give equal bytes.

An undefined figure is null in JSON, empty in CSV, and a dash in text.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tarkib.evaluation import plots
from tarkib.evaluation.scores import CALIBRATION, HEADLINE, Scores, figure_text
from tarkib.evaluation.testset import TestSet
from tarkib.runtime.outputs import atomic_file
from tarkib.tables import PREDICTIONS

FEW_RECORDINGS = 20
"""With fewer recordings a percentile interval is too narrow (Davison and Hinkley, 1997, chapter 5)."""


def write_metrics(path: Path, scores: Scores) -> None:
    """Write metrics.json for `dvc metrics`: the headline, macro F1 at 0.5 and the calibration error, four decimals."""
    figures = scores.figures.value[[*HEADLINE, "f1_macro_at_half", CALIBRATION]]
    content = {name: _number(value, 4) for name, value in figures.items()}
    _write_json(path, {**content, "clips": scores.clips, "classes": len(scores.averaged)})


def write_details(path: Path, scores: Scores, notes: Sequence[str] = ()) -> None:
    """Write details.json: all figures with their intervals, by class and by polyphony, classes left out, and notes."""
    details = {
        "clips": scores.clips,
        "recordings": scores.recordings,
        "bootstrap_rounds": scores.rounds,
        "figures": {name: _interval(row, "value") for name, row in scores.figures.iterrows()},
        "all_negative_accuracy": _number(scores.all_negative_accuracy),
        "averaged": scores.averaged,
        "left_out": scores.left_out,
        "thresholds": {name: _number(value) for name, value in scores.classes.threshold.items()},
        "classes": _nested(scores.classes),
        "polyphony": _nested(scores.polyphony),
        "notes": list(notes),
    }
    _write_json(path, details)


def _nested(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, `f1`, `f1_low` and `f1_high` being one entry `f1`."""
    names = [name for name in frame.reset_index() if not name.endswith(("_low", "_high"))]
    return [
        {name: _interval(row, name) if f"{name}_low" in row else _number(row[name]) for name in names}
        for row in frame.reset_index().to_dict("records")
    ]


def _interval(row: Mapping[str, Any], name: str) -> dict[str, float | None]:
    return {"value": _number(row[name]), "low": _number(row[f"{name}_low"]), "high": _number(row[f"{name}_high"])}


def _number(value: Any, digits: int = 6) -> Any:
    """A value for JSON: floats rounded, None for NaN."""
    if not isinstance(value, float):
        return value
    return None if np.isnan(value) else round(float(value), digits)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_predictions(path: Path, test: TestSet, scores: Scores) -> None:
    """Write `tables.PREDICTIONS`."""
    rows = [
        {
            "sample_id": test.ids[i],
            "recording": test.recordings[i],
            "instrument": instrument,
            "label": None if np.isnan(test.targets[i, k]) else bool(test.targets[i, k]),
            "probability": float(scores.probabilities[i, k]),
            "predicted": bool(scores.probabilities[i, k] >= threshold),
        }
        for i in range(len(test.ids))
        for k, (instrument, threshold) in enumerate(scores.classes.threshold.items())
    ]
    PREDICTIONS.write(path, rows)


def write_plots(folder: Path, scores: Scores) -> None:
    """Write roc.csv, precision_recall.csv, per_class.csv and polyphony.csv, without classes that are left out.

    The files of curves hold macro, micro and every averaged class one after another, named in the column `instrument`.
    """
    tables = {
        "roc": _points(plots.roc(scores), "false_positive_rate", "true_positive_rate"),
        "precision_recall": _points(plots.precision_recall(scores), "recall", "precision"),
        "per_class": scores.classes.loc[scores.averaged].drop(columns=["predicted", "left_out"]).reset_index(),
        "polyphony": scores.polyphony.reset_index(),
    }
    for name, table in tables.items():
        with atomic_file(folder / f"{name}.csv") as partial:
            table.map(_number).to_csv(partial, index=False, lineterminator="\n")


def _points(curves: Mapping[str, np.ndarray], x: str, y: str) -> pd.DataFrame:
    rows = [(name, *point) for name, curve in curves.items() for point in curve.tolist()]
    return pd.DataFrame(rows, columns=["instrument", x, y])


def summary(scores: Scores) -> str:
    """All figures as plain text of several lines, with the classes left out and why, and where they are explained."""
    preamble = f"{scores.size}; in brackets the 95 % interval from {scores.rounds} resamplings of the recordings."
    if scores.recordings == 1:
        preamble = f"{scores.size}; with one recording there is nothing to resample, so there are no intervals."
    elif scores.recordings < FEW_RECORDINGS:
        preamble += f"\nWith fewer than {FEW_RECORDINGS} recordings such intervals are narrower than they should be."
    figures = scores.figures.copy()
    figures.loc["accuracy of predicting nothing", "value"] = scores.all_negative_accuracy
    classes = scores.classes[["positives", "negatives", "threshold", "precision", "recall"]]
    areas = scores.classes.loc[:, "f1":].drop(columns=["f1_at_half", "f1_at_half_low", "f1_at_half_high"])
    reasons = scores.classes.left_out.dropna()
    left_out = [
        f"Left out of the averages ({reason}): {', '.join(part.index)}"
        for reason, part in reasons.groupby(reasons, sort=False)
    ]
    tables = [_texts(figures).to_string(header=False), _texts(classes.join(areas)).to_string()]
    explained = 'What these figures mean: docs/reference.md, section "Scores".'
    blocks = [preamble, *tables, _texts(scores.polyphony).to_string(), "\n".join(left_out), explained]
    return "\n\n".join(filter(None, blocks))


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns as text, each estimate with its interval."""
    columns = {}
    for name in frame:
        if f"{name}_low" in frame:
            columns[name] = list(map(figure_text, frame[name], frame[f"{name}_low"], frame[f"{name}_high"]))
        elif not name.endswith(("_low", "_high")):
            columns[name] = [figure_text(value) if isinstance(value, float) else str(value) for value in frame[name]]
    return pd.DataFrame(columns, index=frame.index).rename_axis(index=None, columns=frame.index.name)
