import dataclasses

import pytest
import yaml
from conftest import REPOSITORY

from tarkib import params
from tarkib.errors import TarkibError


def test_the_shipped_files_are_valid_and_have_the_same_keys():
    demo, paper = (yaml.safe_load((REPOSITORY / name).read_text()) for name in ("params.yaml", "params/paper.yaml"))
    assert {s: list(v) for s, v in demo.items()} == {s: list(v) for s, v in paper.items()}
    params.load(REPOSITORY / "params/paper.yaml")


def test_what_python_assumes_is_what_the_file_says(defaults):
    assert params.Annotate() == defaults.annotate


def test_the_papers_setting():
    paper = params.load(REPOSITORY / "params/paper.yaml")
    assert paper.model.backbone == "m-a-p/MERT-v1-330M"
    assert (paper.train.batch_size, paper.train.learning_rate, paper.train.epochs) == (16, 1e-4, 10)
    assert (paper.train.pos_weight, paper.train.seed) == (0.8, 42)
    assert (paper.augment.train_mixtures, paper.augment.mode) == (50_000, "dastgah+bpm")


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("augment", "mode", "nonsense", "'nonsense' is unknown; choose one of random, bpm, dastgah, dastgah+bpm"),
        ("augment", "train_mixtures", 0, "augment.train_mixtures: 0 is out of range; it must be at least 1"),
        ("train", "epochs", "ten", "train.epochs: expected a whole number, found 'ten'"),
        ("train", "epochs", 2.5, "train.epochs: expected a whole number, found 2.5"),
        ("train", "epochs", True, "train.epochs: expected a whole number, found True"),
        ("train", "learning_rate", float("nan"), "train.learning_rate: nan is out of range"),
        ("augment", "align_tonic", 1, "augment.align_tonic: expected true or false, found 1"),
        ("data", "raw", None, "data.raw: expected text, found None"),
        ("data", "raw", " ", "data.raw: must not be empty"),
        ("augment", "modus", "bpm", "augment.modus: unknown key; did you mean augment.mode?"),
        ("annotate", "max_bpm", 60.0, "annotate.max_bpm: must be at least twice annotate.min_bpm"),
        ("augment", "min_instruments", 6, "augment.min_instruments: greater than augment.max_instruments"),
    ],
)
def test_a_wrong_value_is_named(content, section, key, value, message):
    content[section][key] = value
    with pytest.raises(TarkibError) as error:
        params.parse(content)
    assert message in str(error.value)


def test_all_that_is_wrong_is_told_at_once(content):
    del content["train"]["seed"]
    content["run"] = None
    content["extra"] = {}
    with pytest.raises(TarkibError) as error:
        params.parse(content, "my.yaml")
    assert str(error.value).startswith("my.yaml: 3 value(s) to put right:")
    for message in ("train.seed: missing", "run: expected keys and values, found None", "extra: unknown key"):
        assert message in str(error.value)


def test_numbers_may_be_written_as_people_write_them(content):
    content["train"]["learning_rate"] = "1e-4"  # YAML 1.1 reads this as text
    content["annotate"]["min_bpm"] = 40
    parsed = params.parse(content)
    assert parsed.train.learning_rate == 1e-4
    assert isinstance(parsed.annotate.min_bpm, float)
    assert params.parse(content).model.revision is None


@pytest.mark.parametrize("text", ["", "a: [", "- 1"])
def test_a_file_that_is_no_parameters(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(TarkibError, match=r"params\.yaml"):
        params.load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(TarkibError, match="run from the project's root"):
        params.load(tmp_path / "params.yaml")


def test_parameters_are_frozen(defaults):
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults.train.epochs = 3
