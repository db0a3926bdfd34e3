"""After a training: thresholds and figures from the validation set, and the files of the train stage."""

from pathlib import Path
from typing import Any

import pandas as pd
from scipy.special import expit, softmax

from tarkib.evaluation import metrics
from tarkib.training.datasets import MixtureSet
from tarkib.training.fitting import TrainingResult
from tarkib.vocabulary import INSTRUMENTS


def class_table(train_set: MixtureSet, validation_set: MixtureSet, result: TrainingResult) -> pd.DataFrame:
    """A row per class: its training material and its threshold (0.5 if validation has too little to choose one by).

    Columns: `instrument`, training `mixtures` and `recordings`, `synthetic_recordings` among these,
    `validation_recordings`, `threshold`, `threshold_chosen`, `validation_roc_auc` (NaN where undefined).
    """
    targets, probabilities = validation_set.targets, expit(result.validation_logits)
    observed, recordings, synthetic = validation_set.observed(), train_set.recordings(), train_set.recordings("demo")
    return pd.DataFrame(
        {
            "instrument": INSTRUMENTS,
            "mixtures": train_set.targets.sum(axis=0).astype(int),
            "recordings": [recordings.get(name, 0) for name in INSTRUMENTS],
            "synthetic_recordings": [synthetic.get(name, 0) for name in INSTRUMENTS],
            "validation_recordings": observed[0],
            "threshold": metrics.best_thresholds(targets, probabilities, observed),
            "threshold_chosen": metrics.choosable(targets, observed),
            "validation_roc_auc": metrics.roc_auc(targets, probabilities),
        }
    )


def figures(validation_set: MixtureSet, result: TrainingResult, classes: pd.DataFrame) -> dict[str, float | None]:
    """Figures on the validation set by name; None or NaN where undefined."""
    targets, probabilities = validation_set.targets, expit(result.validation_logits)
    predictions = metrics.predict(probabilities, classes["threshold"].to_numpy())
    return {
        "roc_auc": result.best_roc_auc,
        "average_precision": float(metrics.macro(metrics.average_precision(targets, probabilities))),
        "f1_macro": float(metrics.macro(metrics.f1(targets, predictions))),
        "f1_micro": float(metrics.f1_micro(targets, predictions)),
        "accuracy": float(metrics.accuracy(targets, predictions)),
    }


def save(result: TrainingResult, classes: pd.DataFrame, folder: Path, plots: Path) -> None:
    """Write the classifier, the learning curves (history.csv) and the layers' shares (layers.csv)."""
    names = classes.set_index("instrument")
    result.model.save(
        folder,
        trained_classes=names.index[names["mixtures"] > 0],
        thresholds=names["threshold"].to_dict(),
        chosen_thresholds=list(names.index[names["threshold_chosen"]]),
    )
    shares: Any = softmax(result.model.layer_weights.detach().cpu().numpy())
    for name, table in (
        ("history", pd.DataFrame(result.history)),
        ("layers", pd.DataFrame({"layer": range(len(shares)), "share": shares})),
    ):
        table.to_csv(plots / f"{name}.csv", index=False, float_format="%.6f")
