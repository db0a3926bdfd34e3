"""The leakage stage: a test set that holds a training recording."""

import json
import shutil

import pytest

from tarkib import tables

from .conftest import run_stage

pytestmark = pytest.mark.slow


def test_a_training_recording_in_the_test_set_is_reported(mixed, tmp_path):
    folder = shutil.copytree(mixed, tmp_path / "project")
    assert "warning" not in run_stage(folder, "leakage").stdout
    empty = {"excerpts": 8, "same_bytes": 0, "same_sound": 0, "same_name": 0, "matches": []}
    assert json.loads((folder / "metrics/leakage.json").read_text()) == empty
    recordings = tables.RECORDINGS.read(folder / "data/slices/recordings.parquet")
    row = next(row for row in recordings if row["status"] == "ok")
    shutil.copy2(folder / "data/raw" / row["path"], folder / "data/test/planted.flac")
    with (folder / "data/test/labels.csv").open("a") as file:
        file.write("planted,planted," + ",".join("1" + "0" * 9) + "\n")
    output = run_stage(folder, "leakage").stdout
    assert (
        f"warning: test excerpts that are training recordings, byte for byte (1): planted = {row['path']} (" in output
    )
    written = json.loads((folder / "metrics/leakage.json").read_text())
    assert (written["excerpts"], written["same_bytes"], written["same_sound"]) == (9, 1, 0)
    assert [match["recording"] for match in written["matches"]] == [row["path"]]
