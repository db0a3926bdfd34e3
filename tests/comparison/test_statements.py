"""What is stated for every kind of result: never more than the numbers support."""

import dataclasses

import numpy as np
import pytest

from tarkib.comparison import analysis, statements
from tarkib.comparison.analysis import HEADLINE, Comparison, Mean
from tarkib.comparison.experiments import FAILED, MISSING, Experiment
from tarkib.comparison.statements import Support

from .synthetic import clips, runs


def _difference(recordings=(0.01, 0.05), seeds=(0.02, 0.04), corrected=0.01, value=0.03, steady=0.01) -> Mean:
    return Mean(value, recordings, seeds, corrected, corrected, steady)


_BETTER = _difference()
_WORSE = _difference((-0.05, -0.01), (-0.04, -0.02), value=-0.03)
_NO_DIFFERENCE = _difference((-0.02, 0.015), (-0.1, 0.1), 0.7, -0.002)
_UNDEFINED = Mean(None, None, None)


def _compared(predictions) -> Comparison:
    return analysis.compare(predictions, ("random", "bpm", "dastgah"), np.random.default_rng(1), 49)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """random, bpm and dastgah with two seeds each, to be given other differences."""
    return _compared(runs(clips(), {"random": 0.8, "bpm": 0.8, "dastgah": 0.8}))


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (_BETTER, Support.BOTH),
        (_WORSE, Support.BOTH),
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
    ],
)
def test_how_far_a_difference_is_supported(difference, expected):
    assert statements.support(difference) == expected


@pytest.mark.parametrize(
    ("bpm", "headline", "finding"),
    [
        (_BETTER, "bpm scores better than random in accuracy (+0.030), ", "and with another draw of mixtures"),
        (_WORSE, "bpm scores worse than random in accuracy (−0.030), ", "and with another draw of mixtures"),
        (_difference(steady=0.2), "bpm scores better than random in ", "for another draw of mixtures"),
        (_NO_DIFFERENCE, "No mode is shown to differ from", "No difference is shown in accuracy [−0.020, +0.015], "),
        (_difference(corrected=0.2), "No mode is shown to differ from", "Only a hint in accuracy [+0.010, +0.050], "),
        (_UNDEFINED, "No mode is shown to differ from random.", "Undefined, or without an interval: accuracy, "),
    ],
)
def test_a_statement_says_what_is_supported_and_no_more(comparison, bpm, headline, finding):
    means = {"bpm": bpm, "dastgah": _NO_DIFFERENCE}
    differences = {(mode, name): mean for mode, mean in means.items() for name in HEADLINE}
    stated = statements.write(dataclasses.replace(comparison, differences=differences), [], True)
    assert stated.headline.startswith(headline)
    said = f"{stated.headline} {stated.findings.get('bpm', '')}"
    assert said.count(finding) == 1
    assert ("better" in said) == (bpm.value == 0.03 and bpm.corrected < 0.05)
    assert "dastgah" not in stated.headline


def test_modes_with_other_seeds_are_compared_by_those_that_both_have():
    predictions = runs(clips(), {"random": 0.5, "bpm": 0.5})
    del predictions["random", 2]
    stated = statements.write(_compared(predictions), [], False)
    assert any("bpm is compared with random by seed 1, the seeds that both have" in caveat for caveat in stated.caveats)
    del predictions["bpm", 1]
    stated = statements.write(_compared(predictions), [], False)
    assert any("bpm is compared with random by no seed" in caveat for caveat in stated.caveats)
    del predictions["random", 1]
    stated = statements.write(_compared(predictions), [], False)
    assert stated.headline == "Only bpm was scored: there is nothing to compare it with."


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({}, "24 recordings; the statements hold for recordings of this kind"),
        ({"recordings": 16}, "16 recordings. With fewer than 20, intervals from resampling are narrower"),
        ({"recordings": 1}, "1 recording: with no other to resample"),
        ({}, "2 seeds give a wide interval over seeds (random, bpm and dastgah); "),
        (
            {"seeds": {"random": [1, 2], "bpm": [1], "dastgah": [1, 3]}},
            "With one seed there is no interval over seeds (bpm)",
        ),
        (
            {"seeds": {"random": [1, 2], "bpm": [1], "dastgah": [1, 3]}},
            "2 seeds give a wide interval over seeds (random and",
        ),
        ({}, "By instrument nothing is corrected"),
        ({"all_negative_accuracy": 0.3}, "no instrument at all has an accuracy of 0.300"),
        ({}, "built-in demo, synthesised music"),
        ({}, "Not in the numbers: bpm, seed 3 (failed), dastgah, seed 3 (missing). The same command"),
        ({"left_out": dict.fromkeys(("daf", "tar"), "no positives")}, "macro averages (no positives): daf and tar."),
    ],
)
def test_caveats(comparison, changes, part):
    lacking = [Experiment("bpm", 3, FAILED, "x", reason="no"), Experiment("dastgah", 3, MISSING, "y")]
    caveats = statements.write(dataclasses.replace(comparison, **changes), lacking, True).caveats
    assert sum(part in caveat for caveat in caveats) == 1
    assert all(caveat.strip() and "{" not in caveat for caveat in caveats)
