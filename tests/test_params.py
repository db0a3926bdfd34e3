import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from dvc.utils.serialize import YAMLFileCorruptedError, load_yaml

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
    ("name", "value", "message"),
    [
        ("augment.mode", "nonsense", "must be 'random', 'bpm', 'dastgah' or 'dastgah+bpm', not 'nonsense'"),
        ("augment.train_mixtures", 0, "must be greater than or equal to 1, not 0"),
        ("augment.train_mixtures", 10**12, "must be less than or equal to 10000000, not 1000000000000"),
        ("augment.align_tonic", 1, "must be a valid boolean, not 1"),
        ("augment.modus", "bpm", "unknown key; did you mean augment.mode?"),
        ("augment.min_instruments", 6, "greater than augment.max_instruments"),
        ("train.epochs", "ten", "must be a valid integer, not 'ten'"),
        ("train.epochs", 2.5, "must be a valid integer, not 2.5"),
        ("train.epochs", True, "must be a valid integer, not True"),
        ("train.learning_rate", float("nan"), "must be less than or equal to 1, not nan"),
        ("train.learning_rate", 10**400, "must be a valid number, not 1000"),
        ("train.augmentation", "weak", "must be 'none', 'light' or 'strong', not 'weak'"),
        ("train.seed", 2**32, "must be less than or equal to 4294967295, not 4294967296"),
        ("data.raw", None, "must be a valid string, not None"),
        ("data.raw", "", "String should have at least 1 character"),
        ("data.fill", "yes", "must be a valid boolean, not 'yes'"),
        ("annotate.max_bpm", 60.0, "must be at least twice annotate.min_bpm"),
    ],
)
def test_a_wrong_value_is_named(content, name, value, message):
    section, key = name.split(".")
    content[section][key] = value
    with pytest.raises(TarkibError) as error:
        params.parse(content)
    assert f"{name}: {message}" in str(error.value)


def test_all_that_is_wrong_is_told_at_once(content):
    del content["train"]["seed"]
    content["run"] = None
    content["extra"] = {}
    with pytest.raises(TarkibError) as error:
        params.parse(content, "my.yaml")
    assert str(error.value).startswith("my.yaml: 3 value(s) to put right:")
    for message in ("train.seed: missing", "run: must hold keys and values, not None", "extra: unknown key"):
        assert message in str(error.value)


def changed(folder: Path, old: str, new: str) -> Path:
    """The shipped params.yaml with some text changed."""
    text = (REPOSITORY / "params.yaml").read_text()
    assert old in text
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("section", "key", "old", "new", "value"),
    [
        ("train", "epochs", "4", "010", 10),
        ("train", "epochs", "4", "0o10", 8),
        ("data", "raw", "data/demo/raw", "1:30", "1:30"),
        ("data", "raw", "data/demo/raw", "yes", "yes"),
        ("train", "learning_rate", "1.5e-3", "2e-4", 2e-4),
        ("annotate", "min_bpm", "50.0", "40", 40.0),
    ],
)
def test_the_file_is_read_as_dvc_reads_it(tmp_path, section, key, old, new, value):
    path = changed(tmp_path, f"{key}: {old}", f"{key}: {new}")
    parsed = getattr(getattr(params.load(path), section), key)
    assert (type(parsed), parsed) == (type(value), value)
    assert load_yaml(str(path))[section][key] == value


@pytest.mark.parametrize("more", ["  epochs: 4", "train: {}", "\tseed: 1"])
def test_what_dvc_refuses_is_refused(tmp_path, more):
    path = changed(tmp_path, "  epochs: 4", f"  epochs: 4\n{more}")
    with pytest.raises(YAMLFileCorruptedError):
        load_yaml(str(path))
    with pytest.raises(TarkibError, match=r"params\.yaml: not valid YAML: line \d+: ") as error:
        params.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file: must hold keys and values, not None"),
        (b"a: [", "not valid YAML"),
        ("train: {}".encode("utf-16"), "not UTF-8 (byte 0); save it as UTF-8 text"),
        (b"a: " + b"[" * 50_000, "not valid YAML: values are nested too deeply"),
        (b"a: 2020-13-45", "not valid YAML: month must be in 1..12"),
        (b"a: " + b"9" * 5_000, "not valid YAML: Exceeds the limit (4300 digits)"),
        (b"a: !!int x", "not valid YAML: invalid literal for int()"),
        (b"train: [" + b"a, " * 2_000 + b"a]", "train: must hold keys and values, not ['a', 'a', 'a', 'a', 'a'"),
        (b"? " + b"k" * 100_000 + b"\n: 1", "unknown key"),
    ],
    ids=lambda value: value[:12].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_file_that_is_no_parameters(tmp_path, content, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(TarkibError) as error:
        params.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("path", "message"), [(".", "cannot be read (Is a directory)"), ("absent.yaml", "run from the project's root")]
)
def test_what_is_no_file_of_text(path, message):
    with pytest.raises(TarkibError, match=re.escape(message)):
        params.load(path)


def test_parameters_are_frozen(defaults):
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults.train.epochs = 3
