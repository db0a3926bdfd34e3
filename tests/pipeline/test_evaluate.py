"""The evaluate stage on test sets as people have them: HamNava's layout, one clip."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write
from scipy.special import expit
from small_classifier import write_classifier

from tarkib import models
from tarkib.evaluation import metrics, report, scores
from tarkib.training.datasets import MixtureSet
from tarkib.training.prediction import predict
from tarkib.vocabulary import INSTRUMENTS

from .conftest import run_stage, set_parameters

pytestmark = pytest.mark.slow

HAMNAVA = "sample_id, difficulty, singer, tar, ney, setar, santour, kamancheh, tonbak, oud, daf\n"
TABLE = Path("data/test/ground_truth.csv")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A classifier that knows nothing, pulled without the data that it was trained on, and an empty test set."""
    set_parameters(tmp_path)
    write_classifier(tmp_path / "models/classifier")
    (tmp_path / "data/test").mkdir(parents=True)
    return tmp_path


def details(folder: Path) -> dict:
    return json.loads((folder / "metrics/details.json").read_text())


def test_hamnava_is_scored_as_it_is(project):
    labels = np.random.default_rng(0).integers(0, 2, (12, 9))
    rows = "".join(f"{k}, {k % 3}, {', '.join(map(str, row))}\n" for k, row in enumerate(labels, start=1))
    (project / TABLE).write_text(HAMNAVA + rows)
    for k in range(1, 13):
        stereo = np.stack([noise(5.1, k, 44_100)] * 2, axis=1)
        write(project / f"data/test/audio/{k}.mp3", stereo, 44_100, format="MP3")
    printed = run_stage(project, "evaluate").stdout
    predictions = report.PREDICTIONS.read(project / "data/predictions.parquet")
    assert len(predictions) == 120
    by_cell = {(row["sample_id"], row["instrument"]): row["label"] for row in predictions}
    columns = ("avaz", "tar", "ney", "setar", "santur", "kamancheh", "tonbak", None, "daf")
    for k, row in enumerate(labels, start=1):
        assert [by_cell[str(k), name] for name in columns if name] == [bool(x) for x in np.delete(row, 7)]
    written = details(project)
    assert written["left_out"] == dict.fromkeys(("piano", "violin"), scores.NOT_LABELLED)
    assert written["averaged"] == [name for name in INSTRUMENTS if name not in ("piano", "violin")]
    assert written["notes"] == [
        f"{TABLE}: columns that are none of the ten instruments, left out: difficulty, oud",
        f"{TABLE}: instruments without a column, not labelled and so not scored: piano, violin",
    ]
    assert all(note in printed for note in written["notes"])


def test_thresholds_are_the_best_of_the_validation_mixtures(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "project")
    for stage in ("train", "evaluate"):
        # As if one recording were enough.
        run_stage(folder, stage, "import stages; from tarkib.evaluation import metrics; metrics.FEWEST_RECORDINGS = 1")
    model = models.load(folder / "models/classifier")
    validation = MixtureSet(folder / "data/mixtures", "validation")
    probabilities = expit(predict(model, validation, 8, "cpu"))
    best = dict(zip(INSTRUMENTS, metrics.best_thresholds(validation.targets, probabilities), strict=True))
    written = details(folder)
    shown = {name: best[name] if name in model.trained_classes else None for name in INSTRUMENTS}
    assert written["thresholds"] == pytest.approx(shown, abs=1e-5)
    assert set(model.chosen_thresholds) == set(np.array(INSTRUMENTS)[metrics.defined(validation.targets)].tolist())
    assert any(best[name] != metrics.DEFAULT_THRESHOLD for name in model.trained_classes)
