"""A classifier's folder as the train stage leaves it, made in a moment."""

from pathlib import Path

import numpy as np
from models.small_mert import model_params

from tarkib.models import build
from tarkib.tracking import card
from tarkib.vocabulary import INSTRUMENTS


def write_classifier(
    folder: Path,
    *,
    seed: int = 0,
    validation_roc_auc: float | None = 0.75,
    untrained: tuple[str, ...] = (),
) -> Path:
    """Write weights that start at random, thresholds around 0.5, and a card."""
    classifier = build(model_params(backbone="mel-cnn"), seed=seed)
    trained = [name for name in INSTRUMENTS if name not in untrained]
    thresholds = np.linspace(0.45, 0.55, len(INSTRUMENTS))
    classifier.save(folder, trained_classes=trained, thresholds=dict(zip(INSTRUMENTS, thresholds, strict=True)))
    classes = [
        {
            "instrument": name,
            "mixtures": 0 if name in untrained else 20,
            "recordings": 0 if name in untrained else 3,
            "validation_recordings": 4,
            "threshold": threshold,
            "threshold_chosen": True,
            "validation_roc_auc": 0.7,
        }
        for name, threshold in zip(INSTRUMENTS, thresholds.tolist(), strict=True)
    ]
    about = card.Card(
        source=classifier.source,
        mode="bpm",
        seed=seed,
        data_sha256="cd" * 32,
        train_mixtures=100,
        validation_mixtures=50,
        best_epoch=3,
        classes=classes,
        validation={"roc_auc": validation_roc_auc, "f1_macro": 0.5},
    )
    card.write(folder, about)
    return folder
