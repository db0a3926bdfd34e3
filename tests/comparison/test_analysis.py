"""The comparison's numbers, against those of the evaluation and against the given predictions."""

import dataclasses

import numpy as np
import pytest

from tarkib.comparison import analysis
from tarkib.comparison.analysis import BY_CLASS, BY_POLYPHONY, HEADLINE
from tarkib.comparison.predictions import Clips, Predictions
from tarkib.evaluation import metrics, scores
from tarkib.evaluation.scores import CALIBRATION

from .synthetic import clips, predicted, runs

_ROUNDS = 199


def _headline(comparison, mode: str) -> list[analysis.Mean]:
    """A mode's differences in the headline figures."""
    return [comparison.differences[mode, name] for name in HEADLINE]


def _compared(predictions, modes=("random", "bpm", "dastgah", "dastgah+bpm"), rounds: int = _ROUNDS):
    return analysis.compare(predictions, modes, np.random.default_rng(5), rounds)


def test_one_experiment_has_the_figures_of_its_evaluation():
    of = clips()
    one = predicted(of, 0.8, 1)
    scored = scores.score(
        of.targets, one.probabilities, np.full(10, 0.45), groups=of.recordings, rng=np.random.default_rng(0), rounds=9
    )
    compared = _compared({("random", 1): one})
    for name in (*HEADLINE, CALIBRATION):
        assert compared.means["random", name].value == pytest.approx(scored.figures.value[name]), name
    for k, one_class in enumerate(scored.classes.itertuples()):
        assert compared.means["random", "class_f1", of.classes[k]].value == pytest.approx(one_class.f1)
        assert compared.means["random", "class_roc_auc", of.classes[k]].value == pytest.approx(one_class.roc_auc)
    assert list(compared.polyphony) == list(scored.polyphony.index)
    for group in scored.polyphony.itertuples():
        mean = compared.means["random", "polyphony_accuracy", group.Index]
        assert mean.value == pytest.approx(group.accuracy)
        assert compared.polyphony[group.Index] == group.clips
    assert compared.floor == pytest.approx(scored.all_negative_accuracy)
    assert compared.differences == {}
    assert compared.family == 0


def test_means_and_differences_are_over_seeds():
    of = clips()
    predictions = runs(of, {"random": 0.5, "bpm": 0.9}, seeds=(3, 1))
    compared = _compared(predictions)
    accuracy = {run: metrics.accuracy(of.targets, one.decisions) for run, one in predictions.items()}
    difference = compared.differences["bpm", "accuracy"]
    by_seed = {seed: accuracy["bpm", seed] - accuracy["random", seed] for seed in (1, 3)}
    assert difference.by_seed == pytest.approx(by_seed)
    assert difference.value == pytest.approx(np.mean(list(by_seed.values())))
    assert compared.means["bpm", "accuracy"].value == pytest.approx(np.mean([accuracy["bpm", s] for s in (1, 3)]))
    assert difference.seeds is not None
    assert difference.recordings[0] < difference.value < difference.recordings[1]


def test_resamples_are_paired():
    """Two modes that differ by little on the same clips: the difference is far surer than either figure."""
    of = clips()
    compared = _compared(runs(of, {"random": 0.8, "bpm": 0.9}, noise=0.05))
    width = {
        "mean": np.ptp(compared.means["bpm", "roc_auc"].recordings),
        "difference": np.ptp(compared.differences["bpm", "roc_auc"].recordings),
    }
    assert width["difference"] < 0.4 * width["mean"]


def test_the_same_predictions_do_not_differ():
    of = clips()
    same = {("random", seed): predicted(of, 0.8, seed) for seed in (1, 2)}
    same |= {("bpm", seed): same["random", seed] for seed in (1, 2)}
    for difference in _headline(_compared(same), "bpm"):
        assert difference.value == 0.0
        assert difference.recordings == difference.seeds == (0.0, 0.0)
        assert difference.p == difference.corrected == 1.0


def test_an_interval_over_recordings_is_that_of_the_mean_over_seeds():
    """What one seed gains the other loses, in every resample."""
    one, other = (predicted(clips(), 0.8, seed) for seed in (1, 2))
    crossed = {("random", 1): one, ("random", 2): other, ("bpm", 1): other, ("bpm", 2): one}
    for difference in _headline(_compared(crossed), "bpm"):
        assert difference.by_seed[1] != 0
        assert difference.recordings == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_better_mode_is_found_and_corrected_over_the_whole_table():
    compared = _compared(runs(clips(), {"random": 0.3, "bpm": 1.2, "dastgah": 0.3}), rounds=1999)
    assert compared.family == 2 * len(HEADLINE)
    for difference in _headline(compared, "bpm"):
        assert difference.recordings[0] > 0
        assert difference.p < difference.corrected < 0.05
    assert max(difference.corrected for difference in _headline(compared, "dastgah")) > 0.05


def test_equal_seeds_of_the_generator_give_equal_numbers():
    predictions = runs(clips(), {"random": 0.3, "bpm": 0.5})
    assert _compared(predictions) == _compared(predictions)


@pytest.mark.parametrize(("modes", "expected"), [(("bpm", "random"), "random"), (("dastgah", "bpm"), "dastgah")])
def test_the_reference_is_random_or_the_first_mode(modes, expected):
    compared = _compared(runs(clips(), dict.fromkeys(modes, 0.5)), modes=modes, rounds=19)
    assert compared.reference == compared.modes[0] == expected
    assert {key[0] for key in compared.differences} == {"bpm"}


def test_a_seed_of_one_mode_alone_is_in_its_mean_but_in_no_difference():
    predictions = runs(clips(), {"random": 0.5, "bpm": 0.9}, seeds=(1, 2))
    del predictions["random", 2]
    compared = _compared(predictions)
    assert compared.seeds == {"random": (1,), "bpm": (1, 2)}
    assert compared.paired == {"bpm": (1,)}
    assert set(compared.means["bpm", "accuracy"].by_seed) == {1, 2}
    assert set(compared.differences["bpm", "accuracy"].by_seed) == {1}
    assert compared.differences["bpm", "accuracy"].seeds is None
    del predictions["bpm", 1]
    compared = _compared(predictions, rounds=19)
    assert compared.paired == {"bpm": ()}
    assert compared.differences == {}
    assert {key[0] for key in compared.means} == {"random", "bpm"}


def test_one_recording_has_figures_and_no_intervals():
    compared = _compared(runs(clips(recordings=1, each=30), {"random": 0.5, "bpm": 0.9}))
    for difference in _headline(compared, "bpm"):
        assert difference.value is not None
        assert difference.recordings is difference.p is difference.corrected is None
    assert compared.family == 0


def test_few_recordings_have_wider_intervals_than_percentiles():
    of = clips(recordings=5, each=10)
    one = predicted(of, 0.5, 1)
    found = _compared({("random", 1): one}, rounds=999).means["random", "accuracy"].recordings
    rng = np.random.default_rng(5)
    plain = scores.score(
        of.targets, one.probabilities, np.full(10, 0.45), groups=of.recordings, rng=rng, rounds=999
    ).figures.loc["accuracy"]
    assert np.ptp(found) > 1.15 * (plain.value_high - plain.value_low)


def test_a_class_that_never_plays_is_undefined():
    of = clips()
    of.targets[:, 3] = 0
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    for figure in BY_CLASS:
        assert compared.means["bpm", figure, "kamancheh"].value is None
        assert compared.differences["bpm", figure, "kamancheh"].value is None
        assert compared.differences["bpm", figure, "ney"].value is not None


def test_a_class_or_polyphony_of_one_recording_has_no_interval():
    of = clips()
    of.targets[:] = 0
    of.targets[::2, 0] = 1
    of.targets[:3, 1] = 1
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    assert compared.differences["bpm", "class_roc_auc", of.classes[1]].value is not None
    assert compared.differences["bpm", "class_roc_auc", of.classes[1]].recordings is None
    assert compared.differences["bpm", "class_roc_auc", of.classes[0]].recordings is not None
    assert set(compared.polyphony) == {0, 1, 2}
    for figure in BY_POLYPHONY:
        assert compared.means["bpm", figure, 2].recordings is None
        assert compared.means["bpm", figure, 1].recordings is not None


def test_a_class_that_one_mode_could_not_train_is_scored_in_none():
    of = clips()
    predictions = runs(of, {"random": 0.5, "bpm": 0.9})
    predictions["random", 2] = dataclasses.replace(predictions["random", 2], left_out={"ney": scores.NO_POSITIVES})
    predictions["bpm", 2] = dataclasses.replace(predictions["bpm", 2], left_out={"daf": scores.NOT_TRAINED})
    compared = _compared(predictions)
    assert compared.left_out == {"ney": "no positives in the test set", "daf": "no training material in bpm"}
    without = of.targets.copy()
    without[:, of.classes.index("daf")] = np.nan
    expected = metrics.accuracy(without, predictions["random", 1].decisions)
    assert compared.means["random", "accuracy"].by_seed[1] == pytest.approx(expected)


def test_unlabelled_cells_are_left_out():
    of = clips()
    of.targets[:, 2] = np.nan
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    assert compared.means["bpm", "class_f1", "santur"].value is None
    assert sum(one.count for one in compared.reliability["random"]) == 2 * 9 * len(of.ids)


def test_nothing_to_find_leaves_f1_undefined():
    of = clips()
    of.targets[:] = 0
    silent = Predictions(of, np.full(of.targets.shape, 0.1), np.zeros(of.targets.shape, bool), {})
    compared = _compared({("random", 1): silent, ("bpm", 1): silent})
    for name in ("f1_macro", "f1_micro", "roc_auc", "average_precision"):
        assert compared.means["random", name].value is None
        assert compared.differences["bpm", name].p is None
    assert compared.means["random", "accuracy"].value == 1.0
    assert compared.family == 2


def test_other_clips_cannot_be_compared():
    predictions = {("random", 1): predicted(clips(), 0.5, 1), ("bpm", 1): predicted(clips(seed=1), 0.5, 1)}
    with pytest.raises(ValueError, match="same clips"):
        _compared(predictions)


@pytest.mark.parametrize(
    "change", [{"ids": ("x",)}, {"recordings": ("x",)}, {"classes": ("x",)}, {"targets": np.zeros((72, 10))}]
)
def test_a_test_set_with_any_difference_is_another(change):
    of = clips()
    of.targets[0, 0] = np.nan
    assert of.same_as(Clips(of.ids, of.recordings, of.classes, of.targets.copy()))
    assert not dataclasses.replace(of, **change).same_as(of)
