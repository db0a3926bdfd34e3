import csv
import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import image

from tarkib.evaluation import curves, report, scores, testset
from tarkib.evaluation.testset import TestSet
from tarkib.vocabulary import INSTRUMENTS

PIANO, VIOLIN, SETAR = (INSTRUMENTS.index(name) for name in ("piano", "violin", "setar"))


@pytest.fixture(scope="module")
def labels():
    rng = np.random.default_rng(3)
    targets = (rng.random((60, 10)) < 0.4).astype(float)
    targets[:, PIANO], targets[:, VIOLIN] = 0, np.nan
    return targets


@pytest.fixture(scope="module")
def result(labels):
    probabilities = np.clip(np.random.default_rng(4).normal(0.4 + 0.2 * np.nan_to_num(labels), 0.2), 0, 1)
    return scores.score(
        labels,
        probabilities,
        np.linspace(0.3, 0.6, 10),
        groups=[f"r{i // 2}" for i in range(60)],
        rng=np.random.default_rng(5),
        rounds=50,
        trained_classes=set(INSTRUMENTS) - {"setar"},
    )


@pytest.fixture(scope="module")
def one_clip():
    return scores.score(np.eye(1, 10), np.full((1, 10), 0.4), 0.5, groups=["a"], rng=np.random.default_rng(1), rounds=5)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_are_flat_and_rounded(result, tmp_path):
    report.write_metrics(tmp_path / "deep" / "metrics.json", result)
    written = json.loads((tmp_path / "deep" / "metrics.json").read_text())
    assert list(written) == [*scores.HEADLINE, "f1_macro_at_half", "calibration_error", "clips", "classes"]
    assert (written["clips"], written["classes"]) == (60, 7)
    for name in (*scores.HEADLINE, "f1_macro_at_half", "calibration_error"):
        assert written[name] == round(result.figures[name].value, 4)


def test_undefined_figures_are_null(one_clip, tmp_path):
    report.write_metrics(tmp_path / "metrics.json", one_clip)
    report.write_details(tmp_path / "details.json", one_clip)
    assert json.loads((tmp_path / "metrics.json").read_text())["roc_auc"] is None
    details = json.loads((tmp_path / "details.json").read_text())
    assert details["figures"]["accuracy"] == {"value": 0.9, "low": None, "high": None}


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
    assert written["figures"]["f1_macro_at_half"]["value"] == round(result.figures["f1_macro_at_half"].value, 6)
    assert [one["instrument"] for one in written["classes"]] == list(INSTRUMENTS)
    assert written["classes"][0]["f1"]["low"] == round(result.classes[0].f1.low, 6)
    assert sum(one["clips"] for one in written["polyphony"]) == 60


def test_plot_data(result, tmp_path):
    report.write_plots(tmp_path, result)
    names = ["per_class.csv", "polyphony.csv", "precision_recall.csv", "roc.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name, columns in (
        ("roc.csv", ["instrument", "false_positive_rate", "true_positive_rate"]),
        ("precision_recall.csv", ["instrument", "recall", "precision"]),
    ):
        points = rows(tmp_path / name)
        assert list(points[0]) == columns
        assert list(dict.fromkeys(point["instrument"] for point in points)) == ["macro", "micro", *result.averaged]
    classes = rows(tmp_path / "per_class.csv")
    assert [row["instrument"] for row in classes] == result.averaged
    assert float(classes[1]["roc_auc_high"]) == pytest.approx(result.classes[1].roc_auc.high, abs=1e-6)
    assert float(classes[1]["recall"]) == pytest.approx(result.classes[1].recall, abs=1e-6)
    polyphony = rows(tmp_path / "polyphony.csv")
    assert [int(row["instruments"]) for row in polyphony] == [one.instruments for one in result.polyphony]
    assert float(polyphony[1]["f1_micro"]) == pytest.approx(result.polyphony[1].f1_micro.value, abs=1e-6)


def test_equal_scores_give_equal_bytes_whatever_the_readers_settings(result, tmp_path):
    report.write_plots(tmp_path / "one", result)
    report.draw_overview(tmp_path / "one" / "overview.png", result)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        report.write_plots(tmp_path / "two", result)
        report.draw_overview(tmp_path / "two" / "overview.png", result)
        assert matplotlib.rcParams["font.size"] == 20
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    assert b"Matplotlib" not in (tmp_path / "one" / "overview.png").read_bytes()


def test_the_picture_shows_what_differs(result, one_clip, tmp_path):
    for name, drawn in (("many", result), ("one", one_clip)):
        report.draw_overview(tmp_path / f"{name}.png", drawn)
    many, one = (image.imread(tmp_path / f"{name}.png") for name in ("many", "one"))
    assert many.shape == one.shape == (750, 1500, 4)
    # Bars and curves cover more of the paper than an empty frame does.
    assert np.mean(many[..., :3] < 0.9) > 2 * np.mean(one[..., :3] < 0.9)


def test_predictions_are_a_table(result, labels, tmp_path):
    ids = [f"clip{i}" for i in range(60)]
    test = TestSet(ids, [Path(name) for name in ids], [f"r{i // 2}" for i in range(60)], labels, [])
    report.write_predictions(tmp_path / "predictions.parquet", test, result)
    table = report.PREDICTIONS.read(tmp_path / "predictions.parquet")
    assert len(table) == 600
    row = table[10 * 7 + SETAR]
    assert (row["sample_id"], row["recording"], row["instrument"]) == ("clip7", "r3", "setar")
    assert row["label"] is bool(labels[7, SETAR])
    assert row["probability"] == result.probabilities[7, SETAR]
    thresholds = [one.threshold for one in result.classes]
    assert [row["predicted"] for row in table] == (result.probabilities >= thresholds).ravel().tolist()
    assert table[VIOLIN]["label"] is None


def test_summary_is_a_table_to_read(result):
    lines = report.summary(result).splitlines()
    assert lines[0].startswith("60 clips of 30 recordings; in brackets the 95 % interval from 50 resamplings")
    both = [result.figures[name] for name in ("f1_macro", "f1_macro_at_half")]
    line = next(line for line in lines if line.startswith("F1 macro "))
    assert line.split()[2:] == [
        part for one in both for part in (f"{one.value:.3f}", f"[{one.low:.3f},", f"{one.high:.3f}]")
    ]
    line = next(line for line in lines if line.startswith("calibration error "))
    assert line.split()[2:] == [f"{result.figures['calibration_error'].value:.3f}"]
    tar = next(line for line in lines if line.startswith("tar ")).split()
    assert tar[9] == f"{result.classes[1].f1_at_half.value:.3f}"
    assert next(line for line in lines if line.startswith("violin")).split()[1:3] == ["0", "0"]
    assert "Left out of the averages (no training material): setar" in lines
    assert max(map(len, lines)) <= 132


def test_summary_warns_of_few_recordings(labels, one_clip):
    assert "no intervals" in report.summary(one_clip)
    few = scores.score(
        labels, np.full((60, 10), 0.5), 0.5, groups=[str(i // 20) for i in range(60)], rng=np.random.default_rng(1)
    )
    assert "narrower than they should be" in report.summary(few)


def test_a_thousand_clips_from_their_table_to_the_report(tmp_path):
    rng = np.random.default_rng(6)
    labels = rng.random((1000, 10)).round(2)
    table = "".join(f"{i}, {', '.join(map(str, row))}\n" for i, row in enumerate(labels, start=1))
    (tmp_path / "soft.csv").write_text(f"sample_id, {', '.join(INSTRUMENTS)}\n{table}")
    for i in range(1, 1001):
        (tmp_path / f"{i:04d}.mp3").touch()
    test = testset.load(tmp_path, label_threshold=0.7)
    assert (test.targets == (labels >= 0.7)).all()
    probabilities = np.clip(rng.normal(0.3 + 0.3 * test.targets, 0.2), 0, 1)
    result = scores.score(test.targets, probabilities, 0.5, groups=test.recordings, rng=rng, rounds=100)
    report.write_plots(tmp_path / "plots", result)
    report.write_predictions(tmp_path / "predictions.parquet", test, result)
    assert report.summary(result).startswith("1000 clips of 1000 recordings")
    assert len(report.PREDICTIONS.read(tmp_path / "predictions.parquet")) == 10_000
    assert len(rows(tmp_path / "plots" / "roc.csv")) <= 12 * curves.POINTS
