import numpy as np
import pytest

from tarkib.errors import TarkibError
from tarkib.evaluation import calibration, metrics, scores
from tarkib.vocabulary import INSTRUMENTS

NEY, TAR, SANTUR, PIANO, VIOLIN = (INSTRUMENTS.index(name) for name in ("ney", "tar", "santur", "piano", "violin"))


def made(clips=80, seed=0):
    """Targets, probabilities, and groups of four clips."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((clips, 10)) < 0.4).astype(float)
    probabilities = np.clip(rng.normal(0.4 + 0.2 * targets, 0.2), 0, 1)
    return targets, probabilities, [f"r{i // 4}" for i in range(clips)]


def scored(targets, probabilities, groups, thresholds=0.5, rounds=100, **others):
    return scores.score(
        targets, probabilities, thresholds, groups=groups, rng=np.random.default_rng(1), rounds=rounds, **others
    )


def test_headline_is_at_the_given_thresholds_and_once_more_at_half():
    targets, probabilities, groups = made()
    thresholds = metrics.best_thresholds(targets, probabilities)
    figures = scored(targets, probabilities, groups, thresholds).figures
    for suffix, cut in (("", thresholds), ("_at_half", 0.5)):
        predictions = metrics.predict(probabilities, cut)
        assert figures["accuracy" + suffix].value == metrics.accuracy(targets, predictions)
        assert figures["exact_match" + suffix].value == metrics.exact_match(targets, predictions)
        assert figures["f1_macro" + suffix].value == metrics.f1_macro(targets, predictions)
        assert figures["f1_micro" + suffix].value == metrics.f1_micro(targets, predictions)
    assert figures["accuracy"].value != figures["accuracy_at_half"].value
    assert figures["roc_auc"].value == metrics.roc_auc_macro(targets, probabilities)
    assert figures["average_precision"].value == metrics.average_precision_macro(targets, probabilities)
    assert all(one.low < one.value < one.high for name, one in figures.items() if name != scores.CALIBRATION)


def test_the_calibration_error_is_of_all_labelled_cells_and_has_no_interval():
    targets, probabilities, groups = made()
    targets[:, VIOLIN], targets[:9, TAR] = np.nan, np.nan
    error = scored(targets, probabilities, groups, trained_classes=set(INSTRUMENTS) - {"piano"}).figures[
        scores.CALIBRATION
    ]
    kept = ~np.isnan(targets) & (np.arange(10) != PIANO)
    expected = calibration.expected_calibration_error(probabilities[kept], targets[kept])
    assert error == scores.Estimate(pytest.approx(expected, rel=1e-12), None, None)
    untrained = scored(targets, probabilities, groups, trained_classes=()).figures[scores.CALIBRATION]
    assert untrained == scores.Estimate(None, None, None)


def test_each_class_has_its_row():
    targets, probabilities, groups = made()
    thresholds = np.linspace(0.3, 0.6, 10)
    result = scored(targets, probabilities, groups, thresholds)
    assert [one.instrument for one in result.classes] == list(INSTRUMENTS) == result.averaged
    assert result.left_out == {}
    one = result.classes[TAR]
    found = probabilities[:, TAR] >= thresholds[TAR]
    assert (one.positives, one.negatives) == (targets[:, TAR].sum(), (1 - targets[:, TAR]).sum())
    assert (one.predicted, one.threshold) == (found.sum(), thresholds[TAR])
    assert one.precision == pytest.approx(targets[found, TAR].mean())
    assert one.recall == pytest.approx(found[targets[:, TAR] == 1].mean())
    assert one.f1.value == pytest.approx(2 * one.precision * one.recall / (one.precision + one.recall))
    assert one.roc_auc.low < one.roc_auc.value < one.roc_auc.high
    at_half = metrics.f1(targets, metrics.predict(probabilities, 0.5))
    assert [one.f1_at_half.value for one in result.classes] == at_half.tolist()
    assert one.f1_at_half.value != one.f1.value
    assert one.f1_at_half.low < one.f1_at_half.value < one.f1_at_half.high


def test_classes_that_cannot_be_averaged_are_named_with_the_reason():
    targets, probabilities, groups = made()
    targets[:, NEY], targets[:, TAR], targets[:, SANTUR], targets[:, PIANO] = 0, 1, np.nan, np.nan
    result = scored(targets, probabilities, groups, trained_classes=set(INSTRUMENTS) - {"piano", "violin"})
    assert result.left_out == {
        "ney": scores.NO_POSITIVES,
        "tar": scores.NO_NEGATIVES,
        "santur": scores.NOT_LABELLED,
        "piano": scores.NOT_LABELLED,
        "violin": scores.NOT_TRAINED,
    }
    assert len(result.averaged) == 5
    rest = [k for k, name in enumerate(INSTRUMENTS) if name in result.averaged]
    expected = metrics.roc_auc_macro(targets[:, rest], probabilities[:, rest])
    assert result.figures["roc_auc"].value == pytest.approx(expected, rel=1e-12)
    # Pooled figures keep what is labelled and trained: a false alarm for the ney that never plays is an error.
    pooled = sorted([*rest, NEY, TAR])
    predictions = metrics.predict(probabilities, 0.5)
    assert result.figures["accuracy"].value == metrics.accuracy(targets[:, pooled], predictions[:, pooled])
    for k in (NEY, TAR, SANTUR, PIANO, VIOLIN):
        one = result.classes[k]
        assert (one.precision, one.recall, one.f1.value, one.roc_auc.value, one.roc_auc.low) == (None,) * 5
    assert result.classes[VIOLIN].positives == targets[:, VIOLIN].sum()


def test_clips_are_grouped_by_the_number_of_instruments():
    targets, probabilities, groups = made()
    result = scored(targets, probabilities, groups)
    played = targets.sum(axis=1)
    assert {one.instruments: one.clips for one in result.polyphony} == dict(
        zip(*(part.tolist() for part in np.unique(played.astype(int), return_counts=True)), strict=True)
    )
    clips = played == 4
    one = next(one for one in result.polyphony if one.instruments == 4)
    predictions = metrics.predict(probabilities[clips], 0.5)
    assert one.accuracy.value == metrics.accuracy(targets[clips], predictions)
    assert one.exact_match.value == metrics.exact_match(targets[clips], predictions)
    assert one.f1_micro.value == metrics.f1_micro(targets[clips], predictions)
    assert one.accuracy.low < one.accuracy.value < one.accuracy.high


def test_what_stands_on_one_recording_has_no_interval():
    targets, probabilities, groups = made()
    targets[:, 1:4] = 1
    targets[:, 4:] = 0
    targets[:, NEY] = np.arange(len(targets)) < 4
    targets[:, TAR] = np.arange(len(targets)) % 2
    result = scored(targets, probabilities, groups)
    # All clips with a ney come from one recording; so do the only clips with four instruments and an even number.
    assert result.classes[NEY].roc_auc.value is not None
    assert result.classes[NEY].roc_auc.low is None
    assert result.classes[TAR].roc_auc.low is not None
    by_number = {one.instruments: one for one in result.polyphony}
    assert {number: one.clips for number, one in by_number.items()} == {2: 38, 3: 40, 4: 2}
    assert by_number[4].accuracy.value is not None
    assert by_number[4].accuracy.low is None
    assert by_number[3].accuracy.low is not None


def test_silence_has_the_share_of_absent_cells():
    targets, probabilities, groups = made()
    assert scored(targets, probabilities, groups).all_negative_accuracy == pytest.approx(1 - targets.mean())


def test_one_clip_has_figures_without_intervals():
    targets = np.zeros((1, 10))
    targets[0, :3] = 1
    result = scored(targets, np.full((1, 10), 0.4), ["a"])
    assert result.figures["accuracy"] == scores.Estimate(0.7, None, None)
    assert result.figures["roc_auc"] == scores.Estimate(None, None, None)
    assert result.averaged == []
    assert result.size == "1 clip of 1 recording"


def test_a_thousand_clips_of_two_hundred_recordings():
    targets, probabilities, _ = made(1000)
    result = scored(targets, probabilities, [f"r{i // 5}" for i in range(1000)], rounds=1000)
    assert result.size == "1000 clips of 200 recordings"
    assert result.figures["roc_auc"].high - result.figures["roc_auc"].low < 0.05


def test_no_clips_is_an_error_for_the_user():
    with pytest.raises(TarkibError, match="no clips"):
        scored(np.zeros((0, 10)), np.zeros((0, 10)), [])


def test_equal_generators_give_equal_scores():
    first, second = (scored(*made()) for _ in range(2))
    assert first.figures == second.figures
    assert first.classes == second.classes


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"groups": ["a"]}, "groups"), ({"trained_classes": ["oud"]}, "oud"), ({"classes": ["ney"]}, "1 classes")],
)
def test_what_does_not_fit_is_refused(changed, message):
    targets, probabilities, groups = made(8)
    with pytest.raises(ValueError, match=message):
        scored(targets, probabilities, **{"groups": groups, **changed})
