"""Real recordings, where a folder of them lies beside the checkout, mixed in all modes: the checker finds nothing."""

import shutil

import pytest
from conftest import REPOSITORY

from tarkib import tables
from tarkib.params import MODES

from .conftest import run_stage, set_parameters

pytestmark = pytest.mark.slow

REAL = REPOSITORY.parent / "shared/audio/raw"


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real recordings beside this checkout")
def test_every_mode_keeps_its_promises_on_real_recordings(tmp_path):
    shutil.copytree(REAL, tmp_path / "data/raw")
    counts = {"train_mixtures": 60, "validation_mixtures": 12}
    set_parameters(tmp_path, augment=counts, run={"workers": 2})
    run_stage(tmp_path, "slice")
    run_stage(tmp_path, "annotate")
    for mode in MODES:
        set_parameters(tmp_path, augment={"mode": mode, **counts}, run={"workers": 2})
        # It fails where a promise is broken.
        assert "measured the sound of 32 mixtures" in run_stage(tmp_path, "mix").stdout
        rows = tables.MIXTURES.read(tmp_path / "data/mixtures/mixtures.parquet")
        assert {row["mode"] for row in rows} == {mode}
        assert len({name for row in rows for name in row["instruments"]}) >= 3
