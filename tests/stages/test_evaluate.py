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
from tarkib.tracking import card
from tarkib.training.datasets import MixtureSet
from tarkib.training.prediction import predict_logits
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION

from .conftest import run_python, run_stage, set_parameters

pytestmark = pytest.mark.slow

HAMNAVA = "sample_id, difficulty, singer, tar, ney, setar, santour, kamancheh, tonbak, oud, daf\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that knows nothing, pulled without the data that it was trained on."""
    folder = tmp_path_factory.mktemp("pulled")
    set_parameters(folder)
    write_classifier(folder / "models/classifier")
    return folder


def with_test_set(project: Path, folder: Path, rows: str) -> Path:
    """A copy of the project with a table of labels in HamNava's layout."""
    shutil.copytree(project, folder)
    (folder / "data/test").mkdir(parents=True)
    (folder / "data/test/ground_truth.csv").write_text(HAMNAVA + rows)
    return folder


def details(folder: Path) -> dict:
    return json.loads((folder / "metrics/details.json").read_text())


def test_hamnava_is_scored_as_it_is(project, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (12, 9))
    rows = "".join(f"{k}, {k % 3}, {', '.join(map(str, row))}\n" for k, row in enumerate(labels, start=1))
    folder = with_test_set(project, tmp_path / "hamnava", rows)
    for k in range(1, 13):
        write(folder / f"data/test/audio/{k}.mp3", np.stack([noise(5.1, k, 44_100)] * 2, axis=1), 44_100, format="MP3")
    output = run_stage(folder, "evaluate").stdout
    predictions = report.PREDICTIONS.read(folder / "data/predictions.parquet")
    assert len(predictions) == 120
    by_cell = {(row["sample_id"], row["instrument"]): row["label"] for row in predictions}
    columns = ("avaz", "tar", "ney", "setar", "santur", "kamancheh", "tonbak", None, "daf")
    for k, row in enumerate(labels, start=1):
        assert [by_cell[str(k), name] for name in columns if name] == [bool(x) for x in np.delete(row, 7)]
    assert {by_cell["1", name] for name in ("piano", "violin")} == {None}
    written = details(folder)
    assert written["left_out"] == dict.fromkeys(("piano", "violin"), scores.NOT_LABELLED)
    assert written["averaged"] == [name for name in INSTRUMENTS if name not in ("piano", "violin")]
    table = Path("data/test/ground_truth.csv")
    assert written["notes"] == [
        f"{table}: columns that are none of the ten instruments, left out: difficulty, oud",
        f"{table}: instruments without a column, not labelled and so not scored: piano, violin",
    ]
    assert all(note in output for note in written["notes"])


def test_one_clip_has_figures_without_intervals(project, tmp_path):
    folder = with_test_set(project, tmp_path / "one", "1, easy, 1, 0, 0, 0, 0, 0, 0, 0, 1\n")
    write(folder / "data/test/1.mp3", noise(5, 1), format="MP3")
    output = run_stage(folder, "evaluate").stdout
    assert (
        "1 clip of 1 recording; with one recording there is nothing to resample, so there are no intervals." in output
    )
    figures = details(folder)["figures"]
    assert 0 <= figures["accuracy"]["value"] <= 1
    assert {figure[end] for figure in figures.values() for end in ("low", "high")} == {None}
    written = json.loads((folder / "metrics/metrics.json").read_text())
    assert (written["clips"], written["classes"], written["roc_auc"]) == (1, 0, None)


def test_thresholds_of_instruments_with_few_recordings_are_not_chosen(finished):
    """Of two players each one is for validation: two recordings of a pitched instrument, four of a drum."""
    model = models.load(finished / "models/classifier")
    assert set(model.chosen_thresholds) <= set(PERCUSSION)
    unchosen = [name for name in INSTRUMENTS if name not in model.chosen_thresholds]
    assert {model.thresholds[name] for name in unchosen} == {metrics.DEFAULT_THRESHOLD}
    about = card.read(finished / "models/classifier")
    assert [one["instrument"] for one in about.classes if not one["threshold_chosen"]] == unchosen
    assert {one["validation_recordings"] for one in about.classes if one["instrument"] not in PERCUSSION} <= {0, 1, 2}
    assert f"The threshold of {', '.join(name for name in unchosen if name in model.trained_classes)} is 0.5" in (
        about.body()
    )


def test_thresholds_are_the_best_of_the_validation_mixtures(finished, tmp_path):
    finished = shutil.copytree(finished, tmp_path / "project")
    for stage in ("train", "evaluate"):
        # As if one recording were enough.
        done = run_python(
            finished,
            "import runpy, stages; from tarkib.evaluation import metrics; metrics.FEWEST_RECORDINGS = 1; "
            f"runpy.run_module('stages.{stage}', run_name='__main__')",
        )
        assert done.returncode == 0, done.stderr
        assert "to choose one, validation must have" not in done.stdout
    model = models.load(finished / "models/classifier")
    validation = MixtureSet(finished / "data/mixtures", "validation")
    probabilities = expit(predict_logits(model, validation, 8, "cpu"))
    best = dict(zip(INSTRUMENTS, metrics.best_thresholds(validation.targets, probabilities), strict=True))
    assert details(finished)["thresholds"] == pytest.approx(best, abs=1e-5)
    assert set(model.chosen_thresholds) == set(np.array(INSTRUMENTS)[metrics.defined(validation.targets)].tolist())
    assert any(best[name] != metrics.DEFAULT_THRESHOLD for name in model.trained_classes)
    by_name = {one["instrument"]: one for one in details(finished)["classes"]}
    test = report.PREDICTIONS.read(finished / "data/predictions.parquet")
    for name in details(finished)["averaged"]:
        labels, probability = (
            np.array([[row[key]] for row in test if row["instrument"] == name], float)
            for key in ("label", "probability")
        )
        for figure, threshold in (("f1", best[name]), ("f1_at_half", metrics.DEFAULT_THRESHOLD)):
            (expected,) = metrics.f1(labels, metrics.predict(probability, threshold))
            assert by_name[name][figure]["value"] == pytest.approx(expected, abs=1e-6)
