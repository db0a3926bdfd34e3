"""The model card: what a classifier was made from, how well it validated, what it is for and what not."""

from collections.abc import Mapping, Sequence
from typing import Any


def write(
    *,
    source: Mapping[str, Any],
    mode: str,
    mixtures: int,
    trained_classes: Sequence[str],
    best_epoch: int,
    validation_roc_auc: float | None,
) -> str:
    """Text of the card in Markdown, of what the train stage knows."""
    licence = source.get("weights_licence")
    licence_line = (
        f"The backbone's published weights are under {licence}: no commercial use of what is made from them."
        if licence
        else "The backbone's weights are the trainer's own, or under the licence of the directory they came from."
    )
    pinned = f" at {source['revision']}" if source.get("revision") else ""
    auc = "not defined" if validation_roc_auc is None else f"{validation_roc_auc:.3f}"
    return f"""# Instruments of Persian music, several at once

Gives for five seconds of mono sound at 24 kHz the probability of each of: {", ".join(trained_classes)}.

- **Made from**: {source["name"]}{pinned}, fine-tuned ({source["finetune"]}) on {mixtures} mixtures of solo \
recordings, mixed in mode `{mode}`.
- **Validation**: macro ROC-AUC {auc} on mixtures of other recordings, epoch {best_epoch}. This figure chose the \
epoch; scores on music that was never mixed stand in `metrics/`.
- **Licence**: {licence_line}
- **For**: research and archives, finding which instruments play in a recording.
- **Not for**: deciding anything about people, or music whose instruments are none of the above; what it was not \
trained on it cannot tell apart. Synthetic demo material makes a demonstration, not a recogniser of real recordings.

`config.json` holds the order of the classes and their decision thresholds, found on validation; `model.safetensors` \
the weights. Load both with `tarkib.models.load(folder)`.
"""
