"""``tarkib verify`` on the small project's mixtures, whole and spoilt."""

import pytest

from tarkib import tables
from tarkib.cli import main

from .conftest import set_parameters

pytestmark = pytest.mark.slow


def verify(folder, *options) -> int:
    return main(["verify", str(folder / "data/mixtures"), "--params", str(folder / "params.yaml"), *options])


def test_what_the_stage_made_is_right(mixed, capsys):
    assert verify(mixed) == 0
    printed = capsys.readouterr()
    assert "24 mixtures of mode dastgah+bpm by their tables: 0 broken promises" in printed.out
    assert "measured the sound of 24 mixtures and the speed of " in printed.out
    assert printed.err == ""
    assert verify(mixed, "--listen", "0") == 0
    assert "measured" not in capsys.readouterr().out


def test_broken_promises_are_printed(copied, capsys):
    sound, gains = (copied / f"data/mixtures/{name}.parquet" for name in ("mixtures", "components"))
    rows = tables.MIXTURES.read(sound)
    first, second = ({name: row[name] for name in ("shard", "offset", "size")} for row in rows[:2])
    tables.MIXTURES.write(sound, [{**rows[0], **second}, {**rows[1], **first}, *rows[2:]])
    assert verify(copied) == 1
    printed = capsys.readouterr().err
    for k in range(2):
        assert f"train-00000{k}: sound: is not the sound rendered from its rows" in printed
    rows = tables.COMPONENTS.read(gains)
    tables.COMPONENTS.write(gains, [{**rows[0], "gain_db": 17.0}, *rows[1:]])
    assert verify(copied) == 1
    assert "train-000000: gain: " in capsys.readouterr().err
    set_parameters(copied, augment={"mode": "bpm"})
    assert verify(copied) == 1
    assert "mode dastgah+bpm, augment.mode is bpm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "nowhere: no such folder; run dvc repro"), ("slices", "slices/mixtures.parquet: not there")],
)
def test_what_is_no_data_set_of_mixtures(mixed, capsys, name, message):
    assert main(["verify", str(mixed / "data" / name), "--params", str(mixed / "params.yaml")]) == 1
    assert message in capsys.readouterr().err
