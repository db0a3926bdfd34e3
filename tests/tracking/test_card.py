import dataclasses
from pathlib import Path

import pytest
import yaml
from models.small_mert import model_params, published

from tarkib.errors import TarkibError
from tarkib.models import build
from tarkib.tracking import card


def about(source: dict[str, object], **changed: object) -> card.Card:
    """A card of a classifier that was trained on two of three classes."""
    columns = ("instrument", "mixtures", "recordings", "validation_recordings", "threshold", "threshold_chosen")
    rows = [("tar", 7, 3, 5, 0.25, True), ("ney", 4, 1, 1, 0.75, False), ("daf", 0, 0, 0, 0.5, False)]
    classes = [
        {**dict(zip(columns, row, strict=True)), "validation_roc_auc": area}
        for row, area in zip(rows, (0.9, 0.8, float("nan")), strict=True)
    ]
    figures = {"roc_auc": 0.85, "f1_macro": float("nan")}
    return dataclasses.replace(card.Card(source, "bpm", 42, "ab" * 32, 10, 5, 2, classes, figures), **changed)


RANDOM = {"name": "mel-cnn", "revision": None, "finetune": "full"}


def test_the_card_names_the_weights_that_were_fine_tuned(tmp_path):
    published(tmp_path / "checkpoint")
    source = build(model_params(backbone=str(tmp_path / "checkpoint")), seed=0).source
    text = about(source).text()
    assert f"{tmp_path / 'checkpoint'} at {source['revision']}, fine-tuned (full)" in text
    assert f"under the licence of the directory they came from, {tmp_path / 'checkpoint'}." in text
    source = {"name": "m-a-p/MERT-v1-95M", "revision": "ab" * 20, "finetune": "lora", "weights_licence": "CC X"}
    text = about(source).text()
    assert f"m-a-p/MERT-v1-95M at {'ab' * 20}, fine-tuned (lora)" in text
    assert "under CC X: no commercial use" in text


@pytest.mark.parametrize(
    ("name", "licence"), [("mert-tiny", "part of Tarkib, under its MIT licence"), ("mel-cnn", "started at random")]
)
def test_a_built_in_backbone_has_no_revision(name, licence):
    text = about(build(model_params(backbone=name), seed=0).source).text()
    assert f"**Backbone**: {name}, fine-tuned (full)" in text
    assert licence in text


def test_the_text_holds_every_class_and_every_figure():
    body = about(RANDOM).body()
    assert "the probability of each of: tar, ney. No training material: daf;" in body
    assert "10 mixtures of solo recordings, mixed in mode `bpm`, to learn from, and 5 of other" in body
    assert "| tar | 7 | 3 | 5 | 0.25 | 0.900 |" in body
    assert "| daf | 0 | 0 | 0 | – | – |" in body
    assert "| ROC-AUC, macro | 0.850 | – |" in body
    assert "The stage `evaluate` scores it on music that was never mixed" in body
    assert "validation. The threshold of ney is 0.5: to choose one, validation must have at least 4 recordings" in body
    chosen = about(RANDOM, classes=[{**row, "threshold_chosen": True} for row in about(RANDOM).classes])
    assert "greatest F1 on validation.\n" in chosen.body()


def test_what_was_learnt_from_synthetic_recordings_alone_is_named():
    rows = about(RANDOM).classes
    assert "**Synthetic**" not in about(RANDOM).body()  # a card of an earlier version
    some = {"tar": 2, "ney": 1, "daf": 0}
    classes = [{**row, "synthetic_recordings": some[row["instrument"]]} for row in rows]
    (remark,) = about(RANDOM, classes=classes).remarks_on(Path("data/demo/test"))
    assert "data/demo/test is the synthetic orchestra's" in remark
    assert "recordings of your own (tar); label a test set" in remark
    assert about(RANDOM, classes=classes).remarks_on(Path("data/test")) == []
    assert about(RANDOM).remarks_on(Path("data/demo/test")) == []
    body = about(RANDOM, classes=classes).body()
    assert "- **Synthetic**: ney: learnt from recordings of Tarkib's built-in orchestra alone, and from no real" in body
    assert "\n\n- **Synthetic**" not in body
    own = [{**row, "synthetic_recordings": 0} for row in rows]
    assert "**Synthetic**" not in about(RANDOM, classes=own).body()


def test_a_card_is_read_as_it_was_written_and_gains_the_test(tmp_path):
    card.write(tmp_path, about(RANDOM))
    again = card.read(tmp_path)
    assert again == about(RANDOM, validation={"roc_auc": 0.85, "f1_macro": None})
    head = next(yaml.safe_load_all((tmp_path / "README.md").read_text().split("\n---\n")[0]))
    assert (head["pipeline_tag"], "test" in head["tarkib"]) == ("audio-classification", False)
    tested = again.with_test({"accuracy": 0.8, "accuracy_at_half": 0.7, "roc_auc": None}, "240 clips of 60 recordings")
    body = tested.body()
    assert "| accuracy | – | 0.800 |" in body
    assert "| accuracy (thresholds 0.5) | – | 0.700 |" in body
    assert "| ROC-AUC, macro | 0.850 | – |" in body
    assert "The test set, 240 clips of 60 recordings, is music that was never mixed." in body
    card.write(tmp_path, tested)
    assert card.read(tmp_path) == tested


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"README\.md: missing; train or pull"),
        ("# Another card", r"README\.md: not a model card"),
        ("---\ntarkib: {mode: bpm}\n---\n", r"README\.md: not a model card"),
        (about(RANDOM).text().replace("instrument: tar", "instruments: tar"), r"README\.md: not a model card"),
        ("---\ntarkib: &a [*a]\n---\n", r"README\.md: not a model card"),
    ],
)
def test_a_file_that_is_not_a_card_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    with pytest.raises(TarkibError, match=message):
        card.read(tmp_path)
