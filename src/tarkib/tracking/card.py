"""The model card: what a classifier was made from, how well it does, what it is for and what not.

A card is README.md beside the weights: a YAML head for programs, and a text made of the same facts (card.md.j2). The
train stage writes it; in MLflow it also has the scores of the test set.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from tarkib.errors import TarkibError
from tarkib.evaluation import metrics
from tarkib.models.backbone import MUSICNN, PACKAGED
from tarkib.models.musicnn import NOTICE
from tarkib.runtime import pages, yaml12
from tarkib.runtime.project import DEMO

NAME = "README.md"

_TITLES = {
    "roc_auc": "ROC-AUC, macro",
    "average_precision": "average precision, macro",
    "f1_macro": "F1, macro",
    "f1_micro": "F1, micro",
    "accuracy": "accuracy",
    "exact_match": "all ten right",
}


@dataclass(frozen=True)
class Card:
    """The facts of a card: numbers and text that YAML can hold; floats are rounded, NaN becomes None.

    `source` is that of the classifier. `classes` has a row per class, with the columns of
    `training.selection.class_table`. `validation` and `test` hold figures by name; `test` is None before the evaluate
    stage. `test_set` is the test set's size, such as `240 clips of 60 recordings`, or empty.
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

    def __post_init__(self) -> None:
        for name in ("validation", "test", "classes"):
            object.__setattr__(self, name, _rounded(getattr(self, name)))

    @property
    def licence(self) -> str:
        """What the licence of the backbone's weights allows, a sentence."""
        name, licence = self.source["name"], self.source.get("weights_licence")
        if name == MUSICNN:
            return f"The weights of {name} were published under {licence}, which allow no commercial use."
        if licence:
            return f"The weights of {name} were published under {licence}: no commercial use of what is made from them."
        if name == PACKAGED:
            return f"The weights of {name} are part of Tarkib, under its MIT licence."
        if self.source.get("revision"):
            return f"The weights of the backbone are under the licence of the directory they came from, {name}."
        return f"{name} started at random, so the weights are the trainer's own."

    @property
    def notice(self) -> str:
        """The licence's text where it must go with copies of the backbone's weights, else empty."""
        return NOTICE if self.source["name"] == MUSICNN else ""

    @property
    def unchosen(self) -> str:
        """Which thresholds validation could not choose, and why, a sentence; empty where it chose all."""
        names = [row["instrument"] for row in self.classes if row["mixtures"] and not row.get("threshold_chosen", True)]
        if not names:
            return ""
        return (
            f"The threshold of {', '.join(names)} is {metrics.DEFAULT_THRESHOLD}: to choose one, validation must have "
            f"at least {metrics.FEWEST_RECORDINGS} recordings with the instrument and {metrics.FEWEST_RECORDINGS} "
            "without it (more performers, or a greater slice.validation_share)."
        )

    @property
    def synthetic(self) -> list[str]:
        """The classes that were learnt from the built-in orchestra alone; cards of earlier versions do not say."""
        rows = [row for row in self.classes if row["mixtures"]]
        return [row["instrument"] for row in rows if row.get("synthetic_recordings") == row["recordings"]]

    def remarks_on(self, test: Path) -> list[str]:
        """A remark if the orchestra's test set is used for a classifier that learnt from the user's own recordings."""
        known = [row for row in self.classes if row["mixtures"] and "synthetic_recordings" in row]
        own = [row["instrument"] for row in known if row["synthetic_recordings"] < row["recordings"]]
        if not own or test.resolve() != (DEMO / "test").resolve():
            return []
        return [
            f"{test} is the synthetic orchestra's: scores on it say little of real music, and of what was learnt from "
            f"recordings of your own ({', '.join(own)}); label a test set: tarkib app --label data/test"
        ]

    def with_test(self, figures: Mapping[str, float | None], test_set: str = "") -> "Card":
        """The same card with the scores of a test set."""
        return dataclasses.replace(self, test=figures, test_set=test_set)

    def body(self) -> str:
        """The text in Markdown, without the head."""
        return _template().render(card=self, figures=dict.fromkeys([*self.validation, *(self.test or {})]))

    def text(self) -> str:
        """The whole card, head and body."""
        head = {
            "library_name": "tarkib",
            "pipeline_tag": "audio-classification",
            "license": "other",
            "tags": ["music", "persian-music", "instrument-recognition"],
            "tarkib": {key: value for key, value in dataclasses.asdict(self).items() if value not in (None, "")},
        }
        return f"---\n{yaml12.dump(head)}---\n\n{self.body()}"


def write(folder: Path, card: Card) -> None:
    """Write the card of the classifier in a folder."""
    (folder / NAME).write_text(card.text(), encoding="utf-8")


def read(folder: Path) -> Card:
    """Read the card of the classifier in a folder; TarkibError where it is missing or was not written by `write`."""
    path = folder / NAME
    try:
        _, head, _ = path.read_text(encoding="utf-8").split("---\n", 2)
        card = Card(**yaml12.read(head)["tarkib"])
        card.body()  # raises for missing keys and wrong types
        return card
    except FileNotFoundError as error:
        raise TarkibError(f"{path}: missing; train or pull the classifier again, its card belongs to it") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, jinja2.UndefinedError) as error:
        raise TarkibError(f"{path}: not a model card of this version; train or pull it again") from error


@cache
def _template() -> jinja2.Template:
    environment = pages.environment("tarkib.tracking", is_html=False)
    environment.filters.update(title_of=_title, figure=lambda value: "–" if value is None else f"{value:.3f}")
    return environment.get_template("card.md.j2")


def _rounded(value: Any) -> Any:
    """A JSON value with its floats rounded to what YAML shall hold, and None for NaN."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 6), parse_constant=lambda _: None)


def _title(name: str) -> str:
    stem = name.removesuffix("_at_half")
    return _TITLES.get(stem, stem.replace("_", " ")) + (" (thresholds 0.5)" if stem != name else "")
