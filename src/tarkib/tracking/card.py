"""The model card: what a classifier was made from, how well it does, what it is for and what not.

A card is README.md beside the weights, its facts in a YAML head that programs read and the text below made of them.
The train stage writes what it knows; in MLflow the card has the scores of the test set as well.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tarkib.errors import TarkibError
from tarkib.evaluation import metrics
from tarkib.models.backbone import PACKAGED
from tarkib.runtime import yaml12

NAME = "README.md"

_TITLES = {
    "roc_auc": "ROC-AUC, macro",
    "average_precision": "average precision, macro",
    "f1_macro": "F1, macro",
    "f1_micro": "F1, micro",
    "accuracy": "accuracy",
    "exact_match": "all ten right",
}
_AT_HALF = "_at_half"
_DIGITS = 6


@dataclass(frozen=True)
class Card:
    """The facts of a card, numbers and text that YAML has.

    Attributes
    ----------
    source : where the backbone came from, as a classifier's `source`.
    mode : how the training data was mixed.
    seed : of the training.
    data_sha256 : checksum of the folder of mixtures.
    train_mixtures, validation_mixtures : how many there were.
    best_epoch : the epoch whose weights these are, from 1.
    classes : of each class a dict of `instrument`; `mixtures`, how many of training it is in (0: not trained);
        `recordings`, how many its parts were cut from; `validation_recordings`, the same of validation; `threshold`;
        `threshold_chosen`, whether validation chose it (else it is 0.5); `validation_roc_auc`, None where undefined.
    validation : figures on the validation mixtures by name; NaN, undefined, becomes None.
    test : figures on the test set, the same way; None before it was heard.
    test_set : the test set in words, such as `240 clips of 60 recordings`; empty where not known.
    """

    source: Mapping[str, Any]
    mode: str
    seed: int
    data_sha256: str
    train_mixtures: int
    validation_mixtures: int
    best_epoch: int
    classes: Sequence[Mapping[str, Any]]
    validation: Mapping[str, float | None]
    test: Mapping[str, float | None] | None = None
    test_set: str = ""

    def __post_init__(self):
        for name in ("validation", "test"):
            figures = getattr(self, name)
            if figures is not None:
                object.__setattr__(self, name, {key: _number(value) for key, value in figures.items()})

    @property
    def licence(self) -> str:
        """What the weights of the backbone allow, a sentence."""
        name, licence = self.source["name"], self.source.get("weights_licence")
        if licence:
            return f"The weights of {name} were published under {licence}: no commercial use of what is made from them."
        if name == PACKAGED:
            return f"The weights of {name} are part of Tarkib, under its MIT licence."
        if self.source.get("revision"):
            return f"The weights of the backbone are under the licence of the directory they came from, {name}."
        return f"{name} started at random, so the weights are the trainer's own."

    @property
    def unchosen(self) -> str:
        """Which thresholds validation did not choose, and why, a sentence; empty where it chose all."""
        named = [one["instrument"] for one in self.classes if one["mixtures"] and not one.get("threshold_chosen", True)]
        if not named:
            return ""
        return (
            f"The threshold of {', '.join(named)} is {metrics.DEFAULT_THRESHOLD}: to choose one, validation must have "
            f"at least {metrics.FEWEST_RECORDINGS} recordings with the instrument and {metrics.FEWEST_RECORDINGS} "
            "without it (more performers, or a greater slice.validation_share)."
        )

    def with_test(self, figures: Mapping[str, float | None], test_set: str = "") -> "Card":
        """The same card with the scores of a test set."""
        return dataclasses.replace(self, test=figures, test_set=test_set)

    def body(self) -> str:
        """The text in Markdown, without the head."""
        trained = [one["instrument"] for one in self.classes if one["mixtures"]]
        untrained = [one["instrument"] for one in self.classes if not one["mixtures"]]
        left_out = (
            f" No training material: {', '.join(untrained)}; the probabilities of these mean nothing."
            if untrained
            else ""
        )
        pinned = f" at {self.source['revision']}" if self.source.get("revision") else ""
        return f"""# Instruments of Persian music, several at once

Gives for five seconds of mono sound at 24 kHz the probability of each of: {", ".join(trained)}.{left_out}

## Made from

- **Backbone**: {self.source["name"]}{pinned}, fine-tuned ({self.source["finetune"]}).
- **Data**: {self.train_mixtures} mixtures of solo recordings, mixed in mode `{self.mode}`, to learn from, and \
{self.validation_mixtures} of other recordings to validate with. SHA-256 of all: `{self.data_sha256}`.
- **Training**: seed {self.seed}; the weights are those of epoch {self.best_epoch}, the best by validation.

An instrument counts as present where its probability is at or above its threshold, that of the greatest F1 on \
validation.{" " * bool(self.unchosen)}{self.unchosen}

{self._class_table()}

## Figures

{self._figures_table()}

The validation mixtures chose the epoch and the thresholds, so figures on them flatter, and they are mixed as the \
training ones are: models compare by them only where mode and recordings are the same. {self._test_words()}

## Licence

{self.licence} What was made from recordings is under their terms as well.

## Use and limits

- **For**: research and archives, finding which instruments play in a recording.
- **Not for**: deciding anything about people, or music whose instruments are none of the above: what it was not \
trained on it cannot tell apart.
- It hears five seconds at a time and says which instruments sound in them, neither how many nor when.
- Synthetic demo material makes a demonstration, not a recogniser of real recordings.

`config.json` holds the order of the classes and their thresholds; `model.safetensors` the weights. Load both with \
`tarkib.Recogniser.load(folder)`.
"""

    def text(self) -> str:
        """The whole card, head and body."""
        facts = {key: value for key, value in dataclasses.asdict(self).items() if value not in (None, "")}
        head = {
            "library_name": "tarkib",
            "pipeline_tag": "audio-classification",
            "license": "other",
            "tags": ["music", "persian-music", "instrument-recognition"],
            "tarkib": facts,
        }
        return f"---\n{yaml12.written(head)}---\n\n{self.body()}"

    def _class_table(self) -> str:
        rows = [
            f"| {one['instrument']} | {one['mixtures']} | {one['recordings']} | {validated} | {one['threshold']:.2f} "
            f"| {_shown(one['validation_roc_auc'])} |"
            for one in self.classes
            for validated in [one.get("validation_recordings", "–")]
        ]
        head = (
            "| instrument | training mixtures | from recordings | validation recordings | threshold "
            "| validation ROC-AUC |\n|---|---|---|---|---|---|"
        )
        return "\n".join([head, *rows])

    def _figures_table(self) -> str:
        test = self.test or {}
        names = [*self.validation, *(name for name in test if name not in self.validation)]
        rows = [
            f"| {_title(name)} | {_shown(self.validation.get(name))} | {_shown(test.get(name))} |" for name in names
        ]
        return "\n".join(["| | validation | test |", "|---|---|---|", *rows])

    def _test_words(self) -> str:
        if self.test is None:
            return "How it does on music that was never mixed the stage `evaluate` finds out: `metrics/`."
        size = f", {self.test_set}," if self.test_set else ""
        return f"The test set{size} is music that was never mixed."


def classes(
    labels: Sequence[str],
    mixtures: np.ndarray,
    recordings: Mapping[str, int],
    thresholds: np.ndarray,
    validation_roc_auc: np.ndarray,
    *,
    validation_recordings: np.ndarray,
    chosen: np.ndarray,
) -> list[dict[str, Any]]:
    """A card's `classes`: arrays have shape (10,), in the order of `labels`; NaN in the last is undefined."""
    return [
        {
            "instrument": label,
            "mixtures": int(count),
            "recordings": recordings.get(label, 0),
            "validation_recordings": int(validated),
            "threshold": round(float(threshold), _DIGITS),
            "threshold_chosen": bool(by_validation),
            "validation_roc_auc": _number(score),
        }
        for label, count, validated, threshold, by_validation, score in zip(
            labels, mixtures, validation_recordings, thresholds, chosen, validation_roc_auc, strict=True
        )
    ]


def write(folder: Path, card: Card) -> None:
    """Write the card of the classifier in a folder."""
    (folder / NAME).write_text(card.text(), encoding="utf-8")


def read(folder: Path) -> Card:
    """Read the card of the classifier in a folder; TarkibError where there is none that `write` wrote."""
    path = folder / NAME
    try:
        _, head, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        card = Card(**yaml12.read(head)["tarkib"])
        card.body()  # what is missing in it, or of another type, is found here and not when it is written again
        return card
    except FileNotFoundError as error:
        raise TarkibError(f"{path}: missing; train or pull the classifier again, its card belongs to it") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TarkibError(f"{path}: not a model card as this version writes it; train or pull it again") from error


def _number(value: float | None) -> float | None:
    """A number that YAML can hold, rounded; None for NaN."""
    return None if value is None or math.isnan(value) else round(float(value), _DIGITS)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _title(name: str) -> str:
    at_half = name.endswith(_AT_HALF)
    stem = name.removesuffix(_AT_HALF)
    return _TITLES.get(stem, stem.replace("_", " ")) + (" (thresholds 0.5)" if at_half else "")
