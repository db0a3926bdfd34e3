"""Which model answers, from the files beside its weights."""

import re
from pathlib import Path

import pytest
from small_classifier import write_classifier

from tarkib.recognition import Recogniser, origin
from tarkib.runtime import yaml12


def told(folder: Path, synthetic: dict[str, int], **facts: object) -> origin.Origin:
    """The origin of a classifier whose card counts 3 recordings of each class, some of them synthetic."""
    path = write_classifier(folder, untrained=("daf",)) / "README.md"
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    content = yaml12.read(head)
    for row in content["tarkib"]["classes"]:
        row["synthetic_recordings"] = synthetic.get(row["instrument"], synthetic["others"]) * bool(row["mixtures"])
    content["tarkib"].update(facts)
    path.write_text(f"---\n{yaml12.dump(content)}---\n{body}", encoding="utf-8")
    return origin.read(folder)


def test_what_was_learnt_from_the_orchestra_alone_carries_a_warning(tmp_path):
    found = told(tmp_path, {"others": 3})
    assert found.warning == origin.SYNTHETIC
    line = "mel-cnn (full), trained on 100 mixtures (mode bpm) of synthetic recordings, ROC-AUC 0.750 on 50 validation"
    assert str(found) == f"{line} mixtures, weights {found.weights_sha256[:8]}; {origin.SYNTHETIC}"
    assert repr(Recogniser.load(tmp_path)) == f"Recogniser({found})"


def test_own_recordings_are_named_and_the_test_set_counts(tmp_path):
    found = told(tmp_path, {"others": 3, "ney": 0, "tar": 2}, test={"roc_auc": 0.5}, test_set="9 clips of 3 recordings")
    assert (found.own, "daf" in found.demo, found.warning) == (("ney", "tar"), False, "")
    assert "of own recordings (ney, tar) and synthetic ones (santur, kamancheh, tonbak" in str(found)
    assert "ROC-AUC 0.500 on 9 clips of 3 recordings, weights" in str(found)
    assert "mixtures (mode bpm) of own recordings, ROC" in str(told(tmp_path / "own", {"others": 0}))


@pytest.mark.parametrize("card", [None, "by hand", "---\ntarkib: 1\n---\n", "---\ntarkib: {classes: [{}]}\n---\n"])
def test_a_card_that_does_not_say_is_no_error(tmp_path, card):
    write_classifier(tmp_path)
    (tmp_path / "README.md").unlink()
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert re.fullmatch(r"mel-cnn \(full\), weights [0-9a-f]{8}", str(origin.read(tmp_path)))


def test_figures_that_are_no_numbers_are_left_out(tmp_path):
    assert told(tmp_path / "one", {"others": 3}, validation={"roc_auc": float("nan")}).roc_auc is None
    assert told(tmp_path / "two", {"others": 3}, train_mixtures=float("inf")).mixtures == 0


def test_a_card_of_an_earlier_version_does_not_name_the_material(tmp_path):
    assert "mixtures (mode bpm), ROC-AUC 0.750" in str(origin.read(write_classifier(tmp_path)))
