import json

import matplotlib
import numpy as np
import pandas as pd
import pytest
from single_clip import one_clip

from tarkib.evaluation import plots, report, scores
from tarkib.evaluation.testset import TestSet
from tarkib.vocabulary import INSTRUMENTS

PIANO, VIOLIN, SETAR = (INSTRUMENTS.index(name) for name in ("piano", "violin", "setar"))
GROUPS = [f"r{i // 2}" for i in range(60)]


@pytest.fixture(scope="module")
def labels():
    targets = (np.random.default_rng(3).random((60, 10)) < 0.4).astype(float)
    targets[:, PIANO], targets[:, VIOLIN] = 0, np.nan
    return targets


@pytest.fixture(scope="module")
def result(labels):
    rng = np.random.default_rng(4)
    probabilities = np.clip(rng.normal(0.4 + 0.2 * np.nan_to_num(labels), 0.2), 0, 1)
    thresholds, trained = np.linspace(0.3, 0.6, 10), set(INSTRUMENTS) - {"setar"}
    return scores.score(labels, probabilities, thresholds, groups=GROUPS, rng=rng, rounds=50, trained_classes=trained)


def test_metrics_are_flat_and_rounded(result, tmp_path):
    report.write_metrics(tmp_path / "metrics.json", result)
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert list(written) == [*scores.HEADLINE, "f1_macro_at_half", "calibration_error", "clips", "classes"]
    assert (written.pop("clips"), written.pop("classes")) == (60, 7)
    assert written == {name: round(result.figures.value[name], 4) for name in written}


def test_undefined_figures_are_null_and_their_tables_have_headings(tmp_path):
    report.write_metrics(tmp_path / "metrics.json", one_clip())
    report.write_details(tmp_path / "details.json", one_clip())
    assert json.loads((tmp_path / "metrics.json").read_text())["roc_auc"] is None
    details = json.loads((tmp_path / "details.json").read_text())
    assert details["figures"]["accuracy"] == {"value": 0.9, "low": None, "high": None}
    assert details["classes"][0]["recall"] is None
    report.write_plots(tmp_path, one_clip())
    assert (tmp_path / "roc.csv").read_text() == "instrument,false_positive_rate,true_positive_rate\n"
    assert (tmp_path / "per_class.csv").read_text().startswith("instrument,positives,negatives,threshold,precision,")


def test_details_hold_everything(result, tmp_path):
    report.write_details(tmp_path / "details.json", result, ["columns left out: oud"])
    written = json.loads((tmp_path / "details.json").read_text())
    assert written["left_out"] == {
        "piano": scores.NO_POSITIVES,
        "violin": scores.NOT_LABELLED,
        "setar": scores.NOT_TRAINED,
    }
    assert written["notes"] == ["columns left out: oud"]
    assert written["thresholds"]["avaz"] == 0.6
    assert written["figures"]["f1_macro_at_half"]["value"] == round(result.figures.value["f1_macro_at_half"], 6)
    assert [row["instrument"] for row in written["classes"]] == list(INSTRUMENTS)
    row, first = written["classes"][0], result.classes.iloc[0]
    assert (row["left_out"], row["positives"]) == (None, first.positives)
    assert list(row["f1"].values()) == [round(x, 6) for x in (first.f1, first.f1_low, first.f1_high)]
    assert sum(row["clips"] for row in written["polyphony"]) == 60


def test_plot_data(result, tmp_path):
    report.write_plots(tmp_path, result)
    tables = {path.stem: pd.read_csv(path) for path in tmp_path.iterdir()}
    assert sorted(tables) == ["per_class", "polyphony", "precision_recall", "roc"]
    assert list(tables["roc"]) == ["instrument", "false_positive_rate", "true_positive_rate"]
    assert list(tables["precision_recall"]) == ["instrument", "recall", "precision"]
    for name in ("roc", "precision_recall"):
        assert list(tables[name].instrument.unique()) == ["macro", "micro", *result.averaged]
    expected = result.classes.loc[result.averaged].drop(columns=["predicted", "left_out"])
    pd.testing.assert_frame_equal(tables["per_class"].set_index("instrument"), expected, atol=1e-6)
    pd.testing.assert_frame_equal(tables["polyphony"].set_index("instruments"), result.polyphony, atol=1e-6)


def test_equal_scores_give_equal_bytes_with_any_matplotlib_settings(result, tmp_path):
    for name, settings in (("one", {}), ("two", {"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30})):
        with matplotlib.rc_context(settings):
            report.write_plots(tmp_path / name, result)
            plots.draw_overview(tmp_path / name / "overview.png", result)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert b"Matplotlib" not in (tmp_path / "one" / "overview.png").read_bytes()


def test_predictions_are_a_table(result, labels, tmp_path):
    ids = [f"clip{i}" for i in range(60)]
    report.write_predictions(tmp_path / "predictions.parquet", TestSet(ids, [], GROUPS, labels, []), result)
    table = report.PREDICTIONS.read(tmp_path / "predictions.parquet")
    assert len(table) == 600
    row = table[10 * 7 + SETAR]
    assert (row["sample_id"], row["recording"], row["instrument"]) == ("clip7", "r3", "setar")
    assert row["label"] is bool(labels[7, SETAR])
    assert row["probability"] == result.probabilities[7, SETAR]
    expected = result.probabilities >= result.classes.threshold.to_numpy()
    assert [row["predicted"] for row in table] == expected.ravel().tolist()
    assert table[VIOLIN]["label"] is None


def test_summary_is_a_table_to_read(result):
    lines = report.summary(result).splitlines()
    assert lines[0] == "60 clips of 30 recordings; in brackets the 95 % interval from 50 resamplings of the recordings."
    row = {line.split()[0]: line.split()[1:] for line in lines if line}
    for name in ("f1_macro", "f1_macro_at_half"):
        value, low, high = result.figures.loc[name]
        assert row[name] == [f"{value:.3f}", f"[{low:.3f},", f"{high:.3f}]"]
    assert row["calibration_error"] == [f"{result.figures.value['calibration_error']:.3f}"]
    assert row["tar"][2:4] == [f"{result.classes.threshold['tar']:.3f}", f"{result.classes.precision['tar']:.3f}"]
    assert row["violin"] == ["0", "0", "0.533", *"-----"]
    assert "Left out of the averages (no training material): setar" in lines
    assert max(map(len, lines)) <= 132
    assert report.summary(one_clip()).startswith(
        "1 clip of 1 recording; with one recording there is nothing to resample"
    )
