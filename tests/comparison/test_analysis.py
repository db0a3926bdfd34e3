"""The comparison's numbers, against those of the evaluation and against what was put in."""

import dataclasses

import numpy as np
import pytest

from tarkib.comparison import analysis
from tarkib.comparison.figures import BY_CLASS, BY_POLYPHONY, HEADLINE
from tarkib.comparison.predictions import Clips, Predictions
from tarkib.evaluation import metrics, scores
from tarkib.evaluation.scores import CALIBRATION

from .synthetic import clips, heard, runs

_ROUNDS = 299


def _compared(predictions, modes=("random", "bpm", "dastgah", "dastgah+bpm"), rounds: int = _ROUNDS):
    return analysis.compare(predictions, modes, np.random.default_rng(5), rounds)


def test_one_experiment_has_the_figures_of_its_evaluation():
    of = clips()
    one = heard(of, 0.8, 1)
    scored = scores.score(
        of.targets, one.probabilities, np.full(10, 0.45), groups=of.recordings, rng=np.random.default_rng(0), rounds=9
    )
    compared = _compared({("random", 1): one})
    for name in (*HEADLINE, CALIBRATION):
        assert compared.means["random"][name].value == pytest.approx(scored.figures.value[name]), name
    for k, one_class in enumerate(scored.classes.itertuples()):
        found = compared.class_means["random"][of.classes[k]]
        assert found["class_f1"].value == pytest.approx(one_class.f1)
        assert found["class_roc_auc"].value == pytest.approx(one_class.roc_auc)
    assert list(compared.polyphony) == list(scored.polyphony.index)
    for group in scored.polyphony.itertuples():
        found = compared.polyphony_means["random"][group.Index]
        assert found["polyphony_accuracy"].value == pytest.approx(group.accuracy)
        assert compared.polyphony[group.Index] == group.clips
    assert compared.floor == pytest.approx(scored.all_negative_accuracy)
    assert compared.differences == {}
    assert compared.family == 0


def test_means_and_differences_are_over_seeds():
    of = clips()
    predictions = runs(of, {"random": 0.5, "bpm": 0.9}, seeds=(3, 1))
    compared = _compared(predictions)
    accuracy = {run: metrics.accuracy(of.targets, one.decisions) for run, one in predictions.items()}
    found = compared.differences["bpm"]["accuracy"].mean
    by_seed = {seed: accuracy["bpm", seed] - accuracy["random", seed] for seed in (1, 3)}
    assert found.by_seed == pytest.approx(by_seed)
    assert found.value == pytest.approx(np.mean(list(by_seed.values())))
    assert compared.means["bpm"]["accuracy"].value == pytest.approx(np.mean([accuracy["bpm", s] for s in (1, 3)]))
    assert found.seeds is not None
    assert found.recordings[0] < found.value < found.recordings[1]


def test_resamples_are_paired():
    """Two modes that differ by little on the same clips: the difference is far surer than either figure."""
    of = clips()
    compared = _compared(runs(of, {"random": 0.8, "bpm": 0.9}, noise=0.05))
    width = {
        "mean": np.ptp(compared.means["bpm"]["roc_auc"].recordings),
        "difference": np.ptp(compared.differences["bpm"]["roc_auc"].mean.recordings),
    }
    assert width["difference"] < 0.4 * width["mean"]


def test_the_same_predictions_do_not_differ():
    of = clips()
    same = {("random", seed): heard(of, 0.8, seed) for seed in (1, 2)}
    same |= {("bpm", seed): same["random", seed] for seed in (1, 2)}
    for one in _compared(same).differences["bpm"].values():
        assert one.mean.value == 0.0
        assert one.mean.recordings == one.mean.seeds == (0.0, 0.0)
        assert one.p == one.corrected == 1.0


def test_an_interval_over_recordings_is_that_of_the_mean_over_seeds():
    """What one seed gains the other loses, in every resample."""
    one, other = (heard(clips(), 0.8, seed) for seed in (1, 2))
    crossed = {("random", 1): one, ("random", 2): other, ("bpm", 1): other, ("bpm", 2): one}
    for found in _compared(crossed).differences["bpm"].values():
        assert found.mean.by_seed[1] != 0
        assert found.mean.recordings == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_better_mode_is_found_and_corrected_over_the_whole_table():
    compared = _compared(runs(clips(), {"random": 0.3, "bpm": 1.2, "dastgah": 0.3}), rounds=1999)
    assert compared.family == 2 * len(HEADLINE)
    for one in compared.differences["bpm"].values():
        assert one.mean.recordings[0] > 0
        assert one.p < one.corrected < 0.05
    assert max(one.corrected for one in compared.differences["dastgah"].values()) > 0.05


def test_equal_seeds_of_the_generator_give_equal_numbers():
    predictions = runs(clips(), {"random": 0.3, "bpm": 0.5})
    assert _compared(predictions) == _compared(predictions)


def test_random_is_the_reference_wherever_it_stands():
    predictions = runs(clips(), {"bpm": 0.5, "random": 0.5})
    compared = _compared(predictions, modes=("bpm", "random"))
    assert compared.reference == "random"
    assert compared.modes == ("random", "bpm")


def test_without_random_the_first_mode_is_the_reference():
    compared = _compared(runs(clips(), {"dastgah": 0.5, "bpm": 0.5}), modes=("dastgah", "bpm"))
    assert compared.reference == "dastgah"
    assert set(compared.differences) == {"bpm"}


def test_a_seed_of_one_mode_alone_is_in_its_mean_but_in_no_difference():
    predictions = runs(clips(), {"random": 0.5, "bpm": 0.9}, seeds=(1, 2))
    del predictions["random", 2]
    compared = _compared(predictions)
    assert compared.seeds == {"random": (1,), "bpm": (1, 2)}
    assert compared.paired == {"bpm": (1,)}
    assert set(compared.means["bpm"]["accuracy"].by_seed) == {1, 2}
    assert set(compared.differences["bpm"]["accuracy"].mean.by_seed) == {1}
    assert compared.differences["bpm"]["accuracy"].mean.seeds is None


def test_no_seed_in_common_gives_no_difference():
    predictions = runs(clips(), {"random": 0.5}, seeds=(1,)) | runs(clips(), {"bpm": 0.5}, seeds=(2,))
    compared = _compared(predictions)
    assert compared.paired == {"bpm": ()}
    assert compared.differences == {}
    assert set(compared.means) == {"random", "bpm"}


def test_one_recording_has_figures_and_no_intervals():
    compared = _compared(runs(clips(recordings=1, each=30), {"random": 0.5, "bpm": 0.9}))
    for one in compared.differences["bpm"].values():
        assert one.mean.value is not None
        assert one.mean.recordings is None
        assert one.p is None
        assert one.corrected is None
    assert compared.family == 0


def test_few_recordings_have_wider_intervals_than_percentiles():
    of = clips(recordings=5, each=10)
    one = heard(of, 0.5, 1)
    found = _compared({("random", 1): one}, rounds=999).means["random"]["accuracy"].recordings
    rng = np.random.default_rng(5)
    plain = scores.score(
        of.targets, one.probabilities, np.full(10, 0.45), groups=of.recordings, rng=rng, rounds=999
    ).figures.loc["accuracy"]
    assert np.ptp(found) > 1.15 * (plain.value_high - plain.value_low)


def test_a_class_that_never_plays_is_undefined_and_named():
    of = clips()
    of.targets[:, 3] = 0
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    assert compared.left_out == {"kamancheh": "no positives in the test set"}
    for figure in BY_CLASS:
        assert compared.class_means["bpm"]["kamancheh"][figure].value is None
        assert compared.class_differences["bpm"]["kamancheh"][figure].value is None
        assert compared.class_differences["bpm"]["ney"][figure].value is not None


def test_a_class_of_one_recording_has_no_interval():
    of = clips()
    of.targets[:, 0] = 0
    of.targets[0, 0] = 1
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    assert compared.class_differences["bpm"]["ney"]["class_roc_auc"].value is not None
    assert compared.class_differences["bpm"]["ney"]["class_roc_auc"].recordings is None
    assert compared.class_differences["bpm"]["tar"]["class_roc_auc"].recordings is not None


def test_a_polyphony_of_one_recording_has_no_interval():
    of = clips()
    of.targets[:] = 0
    of.targets[:, 0] = 1
    of.targets[:3, 1] = 1
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    assert set(compared.polyphony) == {1, 2}
    for figure in BY_POLYPHONY:
        assert compared.polyphony_means["bpm"][2][figure].recordings is None
        assert compared.polyphony_means["bpm"][1][figure].recordings is not None


def test_a_class_that_one_mode_could_not_train_is_scored_in_none():
    of = clips()
    predictions = runs(of, {"random": 0.5, "bpm": 0.9})
    predictions["bpm", 2] = dataclasses.replace(predictions["bpm", 2], untrained=frozenset({"daf"}))
    compared = _compared(predictions)
    assert compared.left_out == {"daf": "no training material in bpm"}
    without = of.targets.copy()
    without[:, of.classes.index("daf")] = np.nan
    expected = metrics.accuracy(without, predictions["random", 1].decisions)
    assert compared.means["random"]["accuracy"].by_seed[1] == pytest.approx(expected)


def test_unlabelled_cells_are_left_out():
    of = clips()
    of.targets[:, 2] = np.nan
    compared = _compared(runs(of, {"random": 0.5, "bpm": 0.9}))
    assert compared.left_out == {"santur": "not labelled in the test set"}
    assert sum(one.count for one in compared.reliability["random"]) == 2 * 9 * len(of.ids)


def test_nothing_to_find_leaves_f1_undefined():
    of = clips()
    of.targets[:] = 0
    silent = Predictions(of, np.full(of.targets.shape, 0.1), np.zeros(of.targets.shape, bool), frozenset())
    compared = _compared({("random", 1): silent, ("bpm", 1): silent})
    for name in ("f1_macro", "f1_micro", "roc_auc", "average_precision"):
        assert compared.means["random"][name].value is None
        assert compared.differences["bpm"][name].p is None
    assert compared.means["random"]["accuracy"].value == 1.0
    assert compared.family == 2


def test_other_clips_cannot_be_compared():
    predictions = {("random", 1): heard(clips(), 0.5, 1), ("bpm", 1): heard(clips(seed=1), 0.5, 1)}
    with pytest.raises(ValueError, match="same clips"):
        _compared(predictions)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": ("x",)}, "1 clips that are not the 72 of the others"),
        ({"recordings": ("x",)}, "clips cut from other recordings"),
        ({"classes": ("x",)}, "other classes"),
        ({"targets": np.zeros((72, 10))}, "other labels"),
    ],
)
def test_what_makes_a_test_set_another(change, said):
    of = clips()
    assert of.differs_from(Clips(of.ids, of.recordings, of.classes, of.targets.copy())) is None
    assert dataclasses.replace(of, **change).differs_from(of) == said
