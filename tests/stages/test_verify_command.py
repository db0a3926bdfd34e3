"""``tarkib verify`` on the small project's mixtures, whole and spoilt."""

import shutil

import pytest

from tarkib import tables
from tarkib.cli import main

from .conftest import set_parameters

pytestmark = pytest.mark.slow


def verify(folder, *options) -> int:
    return main(["verify", str(folder / "data/mixtures"), "--params", str(folder / "params.yaml"), *options])


def test_what_the_stage_made_is_right(mixed, capsys):
    assert verify(mixed) == 0
    said = capsys.readouterr()
    assert "36 mixtures of mode dastgah+bpm by their tables: 0 broken promises" in said.out
    assert "measured the sound of 36 mixtures and the speed of " in said.out
    assert said.err == ""


def test_tables_alone(mixed, capsys):
    assert verify(mixed, "--listen", "0") == 0
    assert "measured" not in capsys.readouterr().out


def test_a_broken_promise_is_printed(mixed, tmp_path, capsys):
    copied = copy(mixed, tmp_path)
    table = copied / "data/mixtures/components.parquet"
    rows = tables.COMPONENTS.read(table)
    rows[0]["gain_db"] = 17.0
    tables.COMPONENTS.write(table, rows)
    assert verify(copied) == 1
    printed = capsys.readouterr()
    assert "1 broken promises" in printed.out
    assert printed.err.startswith("train-000000: gain: ")
    assert "gain 17.0 dB, augment.gain_range_db is 6.0" in printed.err


def test_other_sound_is_printed(mixed, tmp_path, capsys):
    copied = copy(mixed, tmp_path)
    table = copied / "data/mixtures/mixtures.parquet"
    rows = tables.MIXTURES.read(table)
    place = ("shard", "offset", "size")
    rows[0], rows[1] = ({**row, **{name: other[name] for name in place}} for row, other in (rows[:2], rows[1::-1]))
    tables.MIXTURES.write(table, rows)
    assert verify(copied) == 1
    said = capsys.readouterr().err
    assert "train-000000: sound: is not the sound rendered from its rows" in said
    assert "train-000001: sound: is not the sound rendered from its rows" in said


def test_other_parameters_than_they_were_made_with(mixed, tmp_path, capsys):
    copied = copy(mixed, tmp_path)
    set_parameters(copied, augment={"mode": "bpm"})
    assert verify(copied) == 1
    assert "mode dastgah+bpm, augment.mode is bpm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["verify", "nowhere"], "nowhere: no such folder; run dvc repro"),
        (["verify", "DATA/slices"], "slices/mixtures.parquet: not there"),
    ],
)
def test_what_is_no_data_set_of_mixtures(mixed, capsys, options, message):
    options = [option.replace("DATA", str(mixed / "data")) for option in options]
    assert main([*options, "--params", str(mixed / "params.yaml")]) == 1
    assert message in capsys.readouterr().err


def copy(project, tmp_path):
    """The data and parameters of a project, to be spoilt."""
    shutil.copytree(project / "data", tmp_path / "data")
    shutil.copy(project / "params.yaml", tmp_path)
    return tmp_path
