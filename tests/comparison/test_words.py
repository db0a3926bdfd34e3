"""What is said of every kind of result: never more than the numbers support."""

import dataclasses

import numpy as np
import pytest

from tarkib.comparison import analysis, words
from tarkib.comparison.analysis import Comparison, Difference, Mean
from tarkib.comparison.experiments import DONE, FAILED, MISSING, Experiment
from tarkib.comparison.figures import HEADLINE
from tarkib.comparison.words import Support, Words

from .synthetic import clips, experiments, runs


def _difference(recordings=(0.01, 0.05), seeds=(0.02, 0.04), corrected=0.01, value=0.03, steady=0.01) -> Difference:
    p = None if corrected is None else corrected / 12
    return Difference(Mean(value, recordings, seeds, {1: value, 2: value}), p, corrected, steady)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """random, bpm and dastgah with two seeds each, to be given other differences."""
    predictions = runs(clips(), {"random": 0.8, "bpm": 0.8, "dastgah": 0.8})
    return analysis.compare(predictions, ("random", "bpm", "dastgah"), np.random.default_rng(1), 99)


def _said(comparison: Comparison, bpm: Difference, dastgah: Difference | None = None, demo: bool = True) -> Words:
    """What is said where all figures of a mode have one difference."""
    none = _difference((-0.02, 0.015), (-0.1, 0.1), 0.7, -0.002)
    differences = {mode: dict.fromkeys(HEADLINE, one) for mode, one in (("bpm", bpm), ("dastgah", dastgah or none))}
    changed = dataclasses.replace(comparison, differences=differences)
    return words.write(changed, [Experiment("bpm", 1, DONE, "x")], demo)


def _caveat(said: Words, start: str) -> str:
    return next((one for one in said.caveats if start in one), "")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (_difference(), Support.BOTH),
        (_difference((-0.05, -0.01), (-0.04, -0.02), value=-0.03), Support.BOTH),
        (_difference(seeds=(-0.01, 0.07)), Support.RECORDINGS),
        (_difference(seeds=None), Support.RECORDINGS),
        # By itself the interval over seeds leaves out 0, but of so many differences some do by chance.
        (_difference(steady=0.2), Support.RECORDINGS),
        (_difference(steady=None), Support.RECORDINGS),
        # Both leave out 0, on different sides: no support from the seeds.
        (_difference(seeds=(-0.04, -0.02)), Support.RECORDINGS),
        (_difference(corrected=0.05), Support.NONE),
        (_difference(corrected=0.2), Support.NONE),
        (_difference((-0.01, 0.05), corrected=0.01), Support.NONE),
        (_difference(None, corrected=None), Support.UNKNOWN),
        (_difference(None, None, None, None), Support.UNKNOWN),
        # Steady over seeds, but not beyond these recordings.
        (_difference((-0.01, 0.05), corrected=0.3), Support.NONE),
    ],
)
def test_how_far_a_difference_is_supported(one, expected):
    assert words.support(one) == expected


def test_better_on_another_draw_too(comparison):
    said = _said(comparison, _difference())
    assert said.headline.startswith("bpm scores better than random in accuracy, accuracy at 0.5,")
    assert said.headline.endswith(
        "on recordings like these, with these models and with another draw of mixtures and training."
    )
    assert "cannot tell" not in said.headline
    [(mode, finding), _] = said.findings
    assert mode == "bpm"
    assert finding.startswith("Better in accuracy (+0.030), ")


def test_worse_is_said_to_be_worse(comparison):
    said = _said(comparison, _difference((-0.05, -0.01), (-0.04, -0.02), value=-0.03))
    assert said.headline.startswith("bpm scores worse than random in ")
    assert said.findings[0][1].startswith("Worse in accuracy (−0.030), ")
    assert "etter" not in said.headline + said.findings[0][1]


def test_better_on_these_recordings_alone(comparison):
    said = _said(comparison, _difference(seeds=(-0.1, 0.16)))
    assert said.headline.endswith(
        "on recordings like these, with these models; 2 seeds cannot tell about another draw of mixtures and training."
    )
    assert "and with another draw" not in said.headline + said.findings[0][1]


def test_one_better_one_worse_are_two_sentences(comparison):
    worse = _difference((-0.05, -0.01), None, value=-0.03)
    said = _said(comparison, _difference(), worse)
    assert said.headline.count(".") == 2 + said.headline.count("0.5")
    assert "bpm scores better than random" in said.headline
    assert "dastgah scores worse than random" in said.headline


def test_two_better_ones_share_a_sentence(comparison):
    said = _said(comparison, _difference(), _difference())
    assert said.headline.startswith("bpm (accuracy, ")
    assert ") and dastgah (accuracy, " in said.headline
    assert " score better than random on recordings like these, with these models and with another" in said.headline


def test_no_difference_says_how_large_one_could_be(comparison):
    said = _said(comparison, _difference((-0.02, 0.015), (-0.1, 0.1), 0.7, -0.002))
    assert said.headline == "No mode is shown to differ from random."
    assert "No difference is shown in accuracy (from −0.020 to +0.015)" in said.findings[0][1]
    assert "larger differences than these are unlikely" in said.findings[0][1]


def test_an_interval_without_0_that_does_not_survive_correction_is_a_hint(comparison):
    said = _said(comparison, _difference(corrected=0.2))
    assert said.headline == "No mode is shown to differ from random."
    assert said.findings[0][1].startswith("A hint and no more in accuracy (from +0.010 to +0.050)")
    assert "etter" not in said.findings[0][1]


def test_undefined_figures_are_not_judged(comparison):
    said = _said(comparison, _difference(None, None, None, None), _difference(None, None, None, None))
    assert said.headline == "Whether a mode differs from random cannot be told from 24 recordings."
    assert said.findings[0][1].endswith("nothing can be told: undefined here.")


def test_one_recording_shows_nothing():
    predictions = runs(clips(recordings=1, each=40), {"random": 0.1, "bpm": 2.0})
    alone = analysis.compare(predictions, ("random", "bpm"), np.random.default_rng(1), 99)
    said = words.write(alone, experiments(predictions), False)
    assert said.headline == "Whether a mode differs from random cannot be told from 1 recording."
    assert "one recording cannot tell" in said.findings[0][1]
    assert said.instruments == "By instrument nothing can be told: there are no intervals."
    assert "nothing is shown" in _caveat(said, "1 recording")


def test_few_recordings_are_a_caveat(comparison):
    few = dataclasses.replace(comparison, recordings=16, rounds=9_999)
    assert "can show no difference" not in _caveat(words.write(few, [], False), "16 recordings")
    assert "narrower" in _caveat(words.write(few, [], False), "16 recordings")
    few = dataclasses.replace(comparison, recordings=8)
    assert "So few can show no difference, however large" in _caveat(words.write(few, [], False), "8 recordings")
    assert "narrower" not in _caveat(words.write(comparison, [], False), "24 recordings")


def test_seeds_are_a_caveat():
    of = clips()
    two = runs(of, {"random": 0.5, "bpm": 0.5}, seeds=(1, 2))
    five = runs(of, {"random": 0.5, "bpm": 0.5}, seeds=(1, 2, 3, 4, 5))
    one = runs(of, {"random": 0.5, "bpm": 0.5}, seeds=(1,))

    def said(predictions) -> Words:
        compared = analysis.compare(predictions, ("random", "bpm"), np.random.default_rng(1), 49)
        return words.write(compared, [], False)

    # t(0.975, 1) / √2 = 8.98 against t(0.975, 4) / √5 = 1.24
    assert "about 7 times narrower" in _caveat(said(two), "2 seeds make")
    assert "may say otherwise" in _caveat(said(one), "With one seed (random and bpm)")
    assert not _caveat(said(five), "interval over seeds")
    del two["random", 2]
    assert _caveat(said(two), "is held against").endswith("seed 1; 2, which only one of them has, is left out.")
    disjoint = runs(of, {"random": 0.5}, seeds=(1,)) | runs(of, {"bpm": 0.5}, seeds=(2,))
    assert _caveat(said(disjoint), "no seed in common")
    assert said(disjoint).headline == "No mode has a seed in common with random: nothing can be compared."
    alone = runs(of, {"bpm": 0.5})
    assert said(alone).headline == "Only bpm was scored: there is nothing to compare it with."


def test_the_demo_is_a_caveat(comparison):
    assert "synthesised" in words.write(comparison, [], True).caveats[0]
    assert not _caveat(words.write(comparison, [], False), "synthesised")


def test_failed_and_missing_experiments_are_told(comparison):
    lacking = [Experiment("bpm", 3, FAILED, "x", reason="no"), Experiment("dastgah", 3, MISSING, "y")]
    told = _caveat(words.write(comparison, lacking, False), "Not in the numbers")
    assert told == (
        "Not in the numbers: bpm, seed 3 (failed) and dastgah, seed 3 (missing). Calling the command again tries what "
        "failed anew."
    )
    assert "failed" not in _caveat(words.write(comparison, lacking[1:], False), "Not in the numbers")


def test_accuracy_has_a_floor(comparison):
    low = dataclasses.replace(comparison, floor=0.3)
    assert "to be read from there up" in _caveat(words.write(low, [], False), "nothing ever plays")
    high = dataclasses.replace(comparison, floor=0.99)
    assert "random, bpm and dastgah are no better" in _caveat(words.write(high, [], False), "nothing ever plays")


def test_thresholds_and_pairs_are_caveats(comparison):
    said = words.write(comparison, [], False)
    assert _caveat(said, "Thresholds come from validation mixtures made in the same mode")
    assert _caveat(said, "held against random alone")


def test_instruments_are_hints_and_chance_is_told():
    predictions = runs(clips(), {"random": 0.3, "bpm": 1.5})
    compared = analysis.compare(predictions, ("random", "bpm"), np.random.default_rng(1), 199)
    said = words.write(compared, [], False)
    assert "of 20 looks about 1 would do so by chance alone" in said.instruments
    assert said.hints[0][0] == "bpm"
    assert "ROC-AUC +" in said.hints[0][1]
    same = analysis.compare(
        runs(clips(), {"random": 0.3})
        | {("bpm", seed): one for (_, seed), one in runs(clips(), {"random": 0.3}).items()},
        ("random", "bpm"),
        np.random.default_rng(1),
        49,
    )
    assert words.write(same, [], False).instruments.startswith("On no instrument")


def test_left_out_classes_are_named(comparison):
    lacking = dataclasses.replace(comparison, left_out={"daf": "no positives in the test set"})
    assert _caveat(words.write(lacking, [], False), "Left out of the macro averages").endswith(": daf.")
