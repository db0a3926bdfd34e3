"""Facts of the model that recognises: backbone, training data, scores, checksum of the weights.

They are read from the files beside the weights; facts that the model card lacks are left out.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tarkib.models.files import read_json
from tarkib.runtime import yaml12

SYNTHETIC = "learnt from a synthetic orchestra alone, it is often wrong about real recordings"


@dataclass(frozen=True)
class Origin:
    """Facts of a classifier.

    `mode` and `mixtures` are of the training data; `own` and `demo` the instruments learnt from one's own recordings
    and from the orchestra's alone. `roc_auc` is macro, on the test set where the card has it (MLflow's), else on the
    validation mixtures. No date is stored, so that equal trainings give equal files.
    """

    backbone: str
    finetune: str
    weights_sha256: str
    mode: str = ""
    mixtures: int = 0
    own: tuple[str, ...] = ()
    demo: tuple[str, ...] = ()
    roc_auc: float | None = None
    scored_on: str = ""

    @property
    def warning(self) -> str:
        """A warning against relying on the model; usually empty."""
        return SYNTHETIC if self.demo and not self.own else ""

    def __str__(self) -> str:
        """One line: backbone, training, score, first digits of the weights' checksum; and the warning."""
        parts = [f"{self.backbone} ({self.finetune})"]
        if self.mixtures:
            parts.append(f"trained on {self.mixtures:,} mixtures (mode {self.mode}){self._material()}")
        if self.roc_auc is not None:
            parts.append(f"ROC-AUC {self.roc_auc:.3f} on {self.scored_on}")
        parts.append(f"weights {self.weights_sha256[:8]}")
        return ", ".join(parts) + (f"; {self.warning}" if self.warning else "")

    def _material(self) -> str:
        if self.own and self.demo:
            return f" of own recordings ({', '.join(self.own)}) and synthetic ones ({', '.join(self.demo)})"
        return " of synthetic recordings" if self.demo else " of own recordings" if self.own else ""


def read(folder: Path) -> Origin:
    """The facts of a classifier's folder that `models.load` has read."""
    config = read_json(folder / "config.json")
    source = config["backbone"]["source"]
    backbone, finetune = str(source.get("name", "unknown backbone")), str(source.get("finetune", "unknown"))
    return Origin(backbone, finetune, config["weights_sha256"], **_trained(folder / "README.md"))


def _trained(card: Path) -> dict[str, Any]:
    try:
        facts = yaml12.read(card.read_text(encoding="utf-8").split("---\n", 2)[1])["tarkib"]
        rows = [row for row in facts["classes"] if row["mixtures"] and "synthetic_recordings" in row]
        scores, scored_on = facts.get("test"), str(facts.get("test_set") or "the test set")
        if not scores:
            scores, scored_on = facts["validation"], f"{int(facts['validation_mixtures']):,} validation mixtures"
        roc_auc = float(scores["roc_auc"]) if scores.get("roc_auc") is not None else math.nan
        return {
            "mode": str(facts["mode"]),
            "mixtures": int(facts["train_mixtures"]),
            "own": tuple(row["instrument"] for row in rows if row["synthetic_recordings"] < row["recordings"]),
            "demo": tuple(row["instrument"] for row in rows if row["synthetic_recordings"] == row["recordings"]),
            "roc_auc": roc_auc if math.isfinite(roc_auc) else None,
            "scored_on": scored_on,
        }
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        return {}
