import numpy as np
import pytest
from single_clip import one_clip

from tarkib.evaluation import metrics, scores
from tarkib.vocabulary import INSTRUMENTS

NEY, TAR, SANTUR, PIANO, VIOLIN = (INSTRUMENTS.index(name) for name in ("ney", "tar", "santur", "piano", "violin"))


@pytest.fixture
def made():
    """Targets and probabilities of 80 clips."""
    rng = np.random.default_rng(0)
    targets = (rng.random((80, 10)) < 0.4).astype(float)
    return targets, np.clip(rng.normal(0.4 + 0.2 * targets, 0.2), 0, 1)


def scored(targets, probabilities, thresholds=0.5, **others):
    """Scores where four clips are of one recording."""
    rng, groups = np.random.default_rng(1), [f"r{i // 4}" for i in range(len(targets))]
    return scores.score(targets, probabilities, thresholds, groups=groups, rng=rng, rounds=100, **others)


def test_headline_is_at_the_given_thresholds_and_at_half(made):
    targets, probabilities = made
    thresholds = metrics.best_thresholds(targets, probabilities)
    result = scored(targets, probabilities, thresholds)
    figures = result.figures
    for suffix, cut in (("", thresholds), ("_at_half", 0.5)):
        predictions = metrics.predict(probabilities, cut)
        for name in ("accuracy", "exact_match", "f1_micro"):
            assert figures.value[name + suffix] == getattr(metrics, name)(targets, predictions)
        assert figures.value["f1_macro" + suffix] == metrics.f1(targets, predictions).mean()
    assert figures.value["accuracy"] != figures.value["accuracy_at_half"]
    assert figures.value["roc_auc"] == metrics.roc_auc_macro(targets, probabilities)
    assert figures.value["average_precision"] == metrics.average_precision(targets, probabilities).mean()
    assert result.all_negative_accuracy == pytest.approx(1 - targets.mean())
    ends = figures.drop(index=scores.CALIBRATION)
    assert (ends.value_low < ends.value).all()
    assert (ends.value < ends.value_high).all()


def test_the_calibration_error_is_of_all_labelled_cells_and_has_no_interval(made):
    targets, probabilities = made
    targets[:, VIOLIN], targets[:9, TAR] = np.nan, np.nan
    figures = scored(targets, probabilities, trained_classes=set(INSTRUMENTS) - {"piano"}).figures
    kept = ~np.isnan(targets) & (np.arange(10) != PIANO)
    expected = metrics.expected_calibration_error(probabilities[kept], targets[kept])
    assert figures.loc[scores.CALIBRATION].tolist() == pytest.approx([expected, np.nan, np.nan], nan_ok=True)
    assert scored(targets, probabilities, trained_classes=()).figures.loc[scores.CALIBRATION].isna().all()


def test_each_class_has_its_row(made):
    targets, probabilities = made
    thresholds = np.linspace(0.3, 0.6, 10)
    result = scored(targets, probabilities, thresholds)
    assert list(result.classes.index) == list(INSTRUMENTS) == result.averaged
    row, target = result.classes.loc["tar"], targets[:, TAR] == 1
    predicted = probabilities[:, TAR] >= thresholds[TAR]
    assert row[["positives", "negatives", "predicted"]].tolist() == [target.sum(), (~target).sum(), predicted.sum()]
    assert (row.threshold, row.precision, row.recall) == (
        thresholds[TAR],
        pytest.approx(target[predicted].mean()),
        pytest.approx(predicted[target].mean()),
    )
    assert row.f1 == pytest.approx(2 * row.precision * row.recall / (row.precision + row.recall))
    assert row.f1_at_half == metrics.f1(targets, metrics.predict(probabilities, 0.5))[TAR] != row.f1
    for name in ("f1", "f1_at_half", "roc_auc", "average_precision"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]


def test_classes_that_cannot_be_averaged_are_named_with_the_reason(made):
    targets, probabilities = made
    targets[:, NEY], targets[:, TAR], targets[:, SANTUR], targets[:, PIANO] = 0, 1, np.nan, np.nan
    result = scored(targets, probabilities, trained_classes=set(INSTRUMENTS) - {"piano", "violin"})
    assert result.left_out == {
        "ney": scores.NO_POSITIVES,
        "tar": scores.NO_NEGATIVES,
        "santur": scores.NOT_LABELLED,
        "piano": scores.NOT_LABELLED,
        "violin": scores.NOT_TRAINED,
    }
    rest = [k for k, name in enumerate(INSTRUMENTS) if name in result.averaged]
    assert len(rest) == 5
    expected = metrics.roc_auc_macro(targets[:, rest], probabilities[:, rest])
    assert result.figures.value["roc_auc"] == pytest.approx(expected, rel=1e-12)
    # Pooled figures keep what is labelled and trained: a false alarm for the ney that never plays is an error.
    pooled = sorted([*rest, NEY, TAR])
    predictions = metrics.predict(probabilities, 0.5)
    assert result.figures.value["accuracy"] == metrics.accuracy(targets[:, pooled], predictions[:, pooled])
    left_out = result.classes.loc[list(result.left_out)]
    assert left_out[["precision", "recall", "f1", "roc_auc", "roc_auc_low"]].isna().all(axis=None)
    assert left_out.positives["violin"] == targets[:, VIOLIN].sum()


def test_clips_are_grouped_by_the_number_of_instruments(made):
    targets, probabilities = made
    polyphony = scored(targets, probabilities).polyphony
    played = targets.sum(axis=1)
    assert polyphony.clips.to_dict() == dict(zip(*np.unique(played, return_counts=True), strict=True))
    row, clips = polyphony.loc[4], played == 4
    predictions = metrics.predict(probabilities[clips], 0.5)
    for name in ("accuracy", "exact_match", "f1_micro"):
        assert row[name] == getattr(metrics, name)(targets[clips], predictions)
    assert row.accuracy_low < row.accuracy < row.accuracy_high


def test_figures_of_one_recording_have_no_interval(made):
    targets, probabilities = made
    targets[:, 1:4], targets[:, 4:] = 1, 0
    targets[:, NEY] = np.arange(80) < 4
    targets[:, TAR] = np.arange(80) % 2
    result = scored(targets, probabilities)
    # All clips with a ney come from one recording; so do the only clips with four instruments.
    assert result.classes.roc_auc.notna()[["ney", "tar"]].tolist() == [True, True]
    assert result.classes.roc_auc_low.notna()[["ney", "tar"]].tolist() == [False, True]
    assert result.polyphony.clips.to_dict() == {2: 38, 3: 40, 4: 2}
    assert result.polyphony.accuracy.notna()[[3, 4]].tolist() == [True, True]
    assert result.polyphony.accuracy_low.notna()[[3, 4]].tolist() == [True, False]


def test_one_clip_has_figures_without_intervals():
    assert one_clip().figures.loc["accuracy"].tolist() == pytest.approx([0.9, np.nan, np.nan], nan_ok=True)
    assert one_clip().figures.loc["roc_auc"].isna().all()
    assert one_clip().averaged == []
