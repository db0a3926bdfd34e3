"""What is stated for every kind of result: never more than the numbers support."""

import dataclasses

import numpy as np
import pytest

from tarkib.comparison import analysis, words
from tarkib.comparison.analysis import HEADLINE, Comparison, Mean
from tarkib.comparison.experiments import DONE, FAILED, MISSING, Experiment
from tarkib.comparison.words import Support, Words

from .synthetic import clips, runs

_UNDEFINED = Mean(None, None, None, {})


def _difference(recordings=(0.01, 0.05), seeds=(0.02, 0.04), corrected=0.01, value=0.03, steady=0.01) -> Mean:
    return Mean(value, recordings, seeds, {1: value, 2: value}, corrected, corrected, steady)


def _compared(skills, seeds=(1, 2), rounds=49, **of) -> Comparison:
    return analysis.compare(runs(clips(**of), skills, seeds), tuple(skills), np.random.default_rng(1), rounds)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """random, bpm and dastgah with two seeds each, to be given other differences."""
    return _compared({"random": 0.8, "bpm": 0.8, "dastgah": 0.8})


def _stated(comparison: Comparison, bpm: Mean, dastgah: Mean | None = None) -> Words:
    """The words if all figures of a mode have one difference."""
    none = _difference((-0.02, 0.015), (-0.1, 0.1), 0.7, -0.002)
    modes = {"bpm": bpm, "dastgah": dastgah or none}
    differences = {(mode, name): mean for mode, mean in modes.items() for name in HEADLINE}
    changed = dataclasses.replace(comparison, differences=differences)
    return words.write(changed, [Experiment("bpm", 1, DONE, "x")], True)


def _caveat(comparison: Comparison, part: str, experiments=(), demo=False) -> str:
    """The first caveat with a part."""
    return next((one for one in words.write(comparison, experiments, demo).caveats if part in one), "")


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (_difference(), Support.BOTH),
        (_difference((-0.05, -0.01), (-0.04, -0.02), value=-0.03), Support.BOTH),
        (_difference(seeds=(-0.01, 0.07)), Support.RECORDINGS),
        (_difference(seeds=None), Support.RECORDINGS),
        # The interval over seeds excludes 0, but not after correction.
        (_difference(steady=0.2), Support.RECORDINGS),
        (_difference(steady=None), Support.RECORDINGS),
        # Both exclude 0, on different sides.
        (_difference(seeds=(-0.04, -0.02)), Support.RECORDINGS),
        (_difference(corrected=0.05), Support.NONE),
        (_difference((-0.01, 0.05), corrected=0.01), Support.NONE),
        (_difference(None, corrected=None), Support.UNKNOWN),
        (_UNDEFINED, Support.UNKNOWN),
        # Steady over seeds, but not beyond these recordings.
        (_difference((-0.01, 0.05), corrected=0.3), Support.NONE),
    ],
)
def test_how_far_a_difference_is_supported(difference, expected):
    assert words.support(difference) == expected


def test_better_on_another_draw_too(comparison):
    stated = _stated(comparison, _difference())
    assert stated.headline.startswith("bpm scores better than random in accuracy, accuracy at 0.5,")
    assert stated.headline.endswith(" with these models and with another draw of mixtures and training.")
    assert "cannot show" not in stated.headline
    assert stated.findings["bpm"].startswith("Better in accuracy (+0.030), ")


def test_worse_is_called_worse(comparison):
    stated = _stated(comparison, _difference((-0.05, -0.01), (-0.04, -0.02), value=-0.03))
    assert stated.headline.startswith("bpm scores worse than random in ")
    assert stated.findings["bpm"].startswith("Worse in accuracy (−0.030), ")
    assert "etter" not in stated.headline + stated.findings["bpm"]


def test_better_on_these_models_alone(comparison):
    stated = _stated(comparison, _difference(seeds=(-0.1, 0.16)))
    for text in (stated.headline, stated.findings["bpm"]):
        assert text.endswith("with these models; 2 seeds cannot show it for another draw of mixtures and training.")
        assert "and with another draw" not in text


def test_one_better_one_worse(comparison):
    stated = _stated(comparison, _difference(), _difference((-0.05, -0.01), None, value=-0.03))
    assert "bpm scores better than random" in stated.headline
    assert "dastgah scores worse than random" in stated.headline


def test_no_difference_is_stated_with_its_interval(comparison):
    stated = _stated(comparison, _difference((-0.02, 0.015), (-0.1, 0.1), 0.7, -0.002))
    assert stated.headline == "No mode is shown to differ from random."
    assert "No difference is shown in accuracy [−0.020, +0.015]" in stated.findings["bpm"]


def test_an_interval_without_0_is_a_hint_if_correction_refutes_it(comparison):
    stated = _stated(comparison, _difference(corrected=0.2))
    assert stated.headline == "No mode is shown to differ from random."
    assert stated.findings["bpm"].startswith("Only a hint in accuracy [+0.010, +0.050]")
    assert "etter" not in stated.findings["bpm"]


def test_undefined_figures_are_not_judged(comparison):
    stated = _stated(comparison, _UNDEFINED, _UNDEFINED)
    assert stated.headline == "24 recordings cannot show whether a mode differs from random."
    assert stated.findings["bpm"].startswith("Undefined, or without an interval: accuracy, ")


def test_one_recording_shows_nothing():
    alone = _compared({"random": 0.1, "bpm": 2.0}, recordings=1, each=40)
    assert words.write(alone, [], False).headline == "1 recording cannot show whether a mode differs from random."
    assert "nothing is shown" in _caveat(alone, "1 recording")
    assert not _caveat(alone, "By instrument")


def test_few_recordings_are_a_caveat(comparison):
    few = dataclasses.replace(comparison, recordings=16, rounds=9_999)
    assert "narrower" in _caveat(few, "16 recordings")
    few = dataclasses.replace(comparison, recordings=8)
    assert "So few cannot show a difference, however large" in _caveat(few, "8 recordings")
    assert "narrower" not in _caveat(comparison, "24 recordings")


def test_seeds_are_a_caveat():
    skills = {"random": 0.5, "bpm": 0.5}
    # t(0.975, 1) / √2 = 8.98 against t(0.975, 4) / √5 = 1.24
    assert "about 7 times narrower" in _caveat(_compared(skills), "2 seeds give")
    assert "another result" in _caveat(_compared(skills, (1,)), "With one seed (random and bpm)")
    assert not _caveat(_compared(skills, (1, 2, 3, 4, 5), 9), "interval over seeds")


def test_modes_with_other_seeds_are_a_caveat():
    predictions = runs(clips(), {"random": 0.5, "bpm": 0.5})
    rng = np.random.default_rng(1)
    del predictions["random", 2]
    compared = analysis.compare(predictions, ("random", "bpm"), rng, 9)
    assert _caveat(compared, "by seed 1; seed 2, which only one of them has, is left out.")
    del predictions["bpm", 1]
    compared = analysis.compare(predictions, ("random", "bpm"), rng, 9)
    assert _caveat(compared, "no seed in common")
    stated = words.write(compared, [], False)
    assert stated.headline == "No mode has a seed in common with random: nothing can be compared."
    del predictions["random", 1]
    stated = words.write(analysis.compare(predictions, ("bpm",), rng, 9), [], False)
    assert stated.headline == "Only bpm was scored: there is nothing to compare it with."


def test_the_demo_is_a_caveat(comparison):
    assert _caveat(comparison, "synthesised", demo=True)
    assert not _caveat(comparison, "synthesised")


def test_failed_and_missing_experiments_are_named(comparison):
    lacking = [Experiment("bpm", 3, FAILED, "x", reason="no"), Experiment("dastgah", 3, MISSING, "y")]
    expected = "Not in the numbers: bpm, seed 3 (failed), dastgah, seed 3 (missing). The same command tries the failed"
    assert _caveat(comparison, expected, lacking)
    assert "failed" not in _caveat(comparison, "Not in the numbers", lacking[1:])


def test_accuracy_has_a_floor(comparison):
    low = dataclasses.replace(comparison, floor=0.3)
    assert "read accuracy from there up" in _caveat(low, "nothing ever plays")
    high = dataclasses.replace(comparison, floor=0.99)
    assert "random, bpm and dastgah score no better" in _caveat(high, "nothing ever plays")


def test_instruments_are_hints_and_chance_is_named():
    different = _compared({"random": 0.3, "bpm": 1.5}, rounds=199)
    assert "of 20 intervals of differences exclude 0, and about 1 would do so by chance" in _caveat(different, "hints")
    assert not _caveat(different, "corrected: 0 of 20")


def test_left_out_classes_are_named(comparison):
    lacking = dataclasses.replace(comparison, left_out={"daf": "no positives", "tar": "no positives", "ney": "other"})
    assert _caveat(lacking, "Left out of the macro averages (no positives): daf and tar.")
    assert _caveat(lacking, "Left out of the macro averages (other): ney.")
