"""The comparison's numbers, against those of the evaluation and against the given predictions."""

import dataclasses

import numpy as np
import pytest

from tarkib.comparison import analysis
from tarkib.comparison.analysis import BY_POLYPHONY, HEADLINE
from tarkib.comparison.predictions import Clips, Predictions
from tarkib.evaluation import metrics, scores
from tarkib.evaluation.scores import CALIBRATION

from .synthetic import clips, predicted, runs


def _headline(comparison, mode: str) -> list[analysis.Mean]:
    """A mode's differences in the headline figures."""
    return [comparison.differences[mode, name] for name in HEADLINE]


def _compared(predictions, rounds: int = 199):
    return analysis.compare(predictions, ("bpm", "random", "dastgah"), np.random.default_rng(5), rounds)


def _scored(one: Predictions, rounds: int = 9) -> scores.Scores:
    """What the evaluation says of the same predictions."""
    thresholds, rng = np.full(10, 0.45), np.random.default_rng(5)
    of = one.clips
    return scores.score(of.targets, one.probabilities, thresholds, groups=of.recordings, rng=rng, rounds=rounds)


def test_one_experiment_has_the_figures_of_its_evaluation():
    one = predicted(clips(), 0.8, 1)
    scored, compared = _scored(one), _compared({("random", 1): one})
    for name in (*HEADLINE, CALIBRATION):
        assert compared.means["random", name].value == pytest.approx(scored.figures.value[name]), name
    for name, one_class in zip(one.clips.classes, scored.classes.itertuples(), strict=True):
        assert compared.means["random", "class_f1", name].value == pytest.approx(one_class.f1)
        assert compared.means["random", "class_roc_auc", name].value == pytest.approx(one_class.roc_auc)
    assert compared.polyphony == scored.polyphony.clips.to_dict()
    for group in scored.polyphony.itertuples():
        mean = compared.means["random", "polyphony_accuracy", group.Index]
        assert mean.value == pytest.approx(group.accuracy)
    assert compared.all_negative_accuracy == pytest.approx(scored.all_negative_accuracy)
    assert (compared.differences, compared.family) == ({}, 0)


def test_means_and_differences_are_over_seeds_that_both_modes_have():
    of = clips()
    predictions = runs(of, {"random": 0.5, "bpm": 0.9}, seeds=(3, 1))
    accuracy = {run: metrics.accuracy(of.targets, one.decisions) for run, one in predictions.items()}
    by_seed = {seed: accuracy["bpm", seed] - accuracy["random", seed] for seed in (1, 3)}
    compared = _compared(predictions)
    assert (compared.reference, list(compared.seeds)) == ("random", ["random", "bpm"])
    difference = compared.differences["bpm", "accuracy"]
    assert difference.value == pytest.approx(np.mean(list(by_seed.values())))
    assert difference.recordings[0] < difference.value < difference.recordings[1]
    assert np.mean(difference.seeds) == pytest.approx(difference.value)
    assert compared == _compared(predictions)
    del predictions["random", 3]
    compared = _compared(predictions)
    assert (compared.seeds, compared.paired) == ({"random": [1], "bpm": [1, 3]}, {"bpm": [1]})
    assert compared.means["bpm", "accuracy"].value == pytest.approx(np.mean([accuracy["bpm", s] for s in (1, 3)]))
    assert compared.differences["bpm", "accuracy"].value == pytest.approx(by_seed[1])
    assert compared.differences["bpm", "accuracy"].seeds is None
    del predictions["bpm", 1]
    compared = _compared(predictions, rounds=19)
    assert (compared.paired, compared.differences) == ({"bpm": []}, {})
    del predictions["random", 1]
    assert _compared(predictions, rounds=19).reference == "bpm"


def test_resamples_are_paired():
    """Two modes that differ by little on the same clips: the difference is far surer than either figure."""
    compared = _compared(runs(clips(), {"random": 0.8, "bpm": 0.9}, noise=0.05))
    means, differences = (figures["bpm", "roc_auc"].recordings for figures in (compared.means, compared.differences))
    assert np.ptp(differences) < 0.4 * np.ptp(means)


def test_equal_predictions_do_not_differ():
    one, other = (predicted(clips(), 0.8, seed) for seed in (1, 2))
    same = {("random", 1): one, ("random", 2): other, ("bpm", 1): one, ("bpm", 2): other}
    for difference in _headline(_compared(same), "bpm"):
        assert difference.value == 0.0
        assert difference.recordings == difference.seeds == (0.0, 0.0)
        assert difference.p == difference.corrected == 1.0
    # What one seed gains the other loses, in every resample: the interval is that of the mean over seeds.
    crossed = same | {("bpm", 1): other, ("bpm", 2): one}
    for difference in _headline(_compared(crossed), "bpm"):
        assert difference.seeds[0] < 0 < difference.seeds[1]
        assert difference.recordings == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_better_mode_is_found_and_corrected_over_the_whole_table():
    compared = _compared(runs(clips(), {"random": 0.3, "bpm": 1.2, "dastgah": 0.3}), rounds=1999)
    assert compared.family == 2 * len(HEADLINE)
    for difference in _headline(compared, "bpm"):
        assert difference.recordings[0] > 0
        assert difference.p < difference.corrected < 0.05
    assert max(difference.corrected for difference in _headline(compared, "dastgah")) > 0.05


def test_one_recording_has_no_intervals_and_few_have_wider_ones_than_percentiles():
    compared = _compared(runs(clips(recordings=1, each=30), {"random": 0.5, "bpm": 0.9}))
    for difference in _headline(compared, "bpm"):
        assert difference.value is not None
        assert difference.recordings is difference.p is difference.corrected is None
    assert compared.family == 0
    one = predicted(clips(recordings=5, each=10), 0.5, 1)
    found = _compared({("random", 1): one}, rounds=999).means["random", "accuracy"].recordings
    plain = _scored(one, rounds=999).figures.loc["accuracy"]
    assert np.ptp(found) > 1.15 * (plain.value_high - plain.value_low)


def test_what_is_undefined_has_no_figures_and_what_one_recording_decides_no_interval():
    of = clips()
    of.targets[:] = 0
    of.targets[::2, 0] = 1
    of.targets[:3, 1] = 1
    of.targets[:, 2] = np.nan
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    # Classes that play often, in one recording, unlabelled and never: figure and interval.
    for k, expected in enumerate([(True, True), (True, False), (False, False), (False, False)]):
        difference = compared.differences["bpm", "class_roc_auc", of.classes[k]]
        assert (difference.value is not None, difference.recordings is not None) == expected
    assert sum(one.count for one in compared.reliability["random"]) == 2 * 9 * len(of.ids)
    assert set(compared.polyphony) == {0, 1, 2}
    for figure in BY_POLYPHONY:
        assert compared.means["bpm", figure, 2].recordings is None
        assert compared.means["bpm", figure, 1].recordings is not None
    of.targets[:] = 0
    silent = Predictions(of, np.full(of.targets.shape, 0.1), np.zeros(of.targets.shape, bool), {})
    compared = _compared({("random", 1): silent, ("bpm", 1): silent})
    for name in ("f1_macro", "f1_micro", "roc_auc", "average_precision"):
        assert compared.means["random", name].value is compared.differences["bpm", name].p is None
    assert compared.means["random", "accuracy"].value == 1.0
    assert compared.family == 2


def test_a_class_that_one_mode_could_not_train_is_scored_in_none():
    of = clips()
    predictions = runs(of, {"random": 0.5, "bpm": 0.9}, seeds=(1,))
    predictions["random", 1] = dataclasses.replace(predictions["random", 1], left_out={"ney": scores.NO_POSITIVES})
    predictions["bpm", 1] = dataclasses.replace(predictions["bpm", 1], left_out={"daf": scores.NOT_TRAINED})
    compared = _compared(predictions)
    assert compared.left_out == {"ney": "no positives in the test set", "daf": "no training material"}
    without = of.targets.copy()
    without[:, of.classes.index("daf")] = np.nan
    expected = metrics.accuracy(without, predictions["random", 1].decisions)
    assert compared.means["random", "accuracy"].value == pytest.approx(expected)


@pytest.mark.parametrize(
    "change", [{"ids": ("x",)}, {"recordings": ("x",)}, {"classes": ("x",)}, {"targets": np.zeros((72, 10))}]
)
def test_only_equal_clips_are_the_same(change):
    of = clips()
    of.targets[0, 0] = np.nan
    assert of.same_as(Clips(of.ids, of.recordings, of.classes, of.targets.copy()))
    assert not of.same_as(dataclasses.replace(of, **change))
