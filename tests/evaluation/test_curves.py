import numpy as np
import pytest

from tarkib.evaluation import curves, scores
from tarkib.vocabulary import INSTRUMENTS


def made(clips, decimals=6):
    rng = np.random.default_rng(2)
    targets = (rng.random((clips, 10)) < 0.4).astype(float)
    probabilities = np.round(np.clip(rng.normal(0.4 + 0.2 * targets, 0.2), 0, 1), decimals)
    targets[:, 9] = np.nan
    targets[:5, 1] = np.nan
    groups = [str(i) for i in range(clips)]
    return scores.score(targets, probabilities, 0.5, groups=groups, rng=rng, rounds=2)


def step_area(curve):
    return float(np.sum(np.diff(curve[:, 0]) * curve[1:, 1]))


@pytest.mark.parametrize("decimals", [6, 1])
def test_areas_are_the_figures(decimals):
    result = made(90, decimals)
    roc, precision_recall = curves.roc(result), curves.precision_recall(result)
    assert list(roc) == list(precision_recall) == ["macro", "micro", *INSTRUMENTS[:9]]
    for k, name in enumerate(INSTRUMENTS[:9]):
        assert np.trapezoid(roc[name][:, 1], roc[name][:, 0]) == pytest.approx(result.classes[k].roc_auc.value)
        assert step_area(precision_recall[name]) == pytest.approx(result.classes[k].average_precision.value)
        # No point of precision 1 that no threshold reaches.
        assert precision_recall[name][0].tolist() == [0, precision_recall[name][1, 1]]
    assert np.trapezoid(*roc["macro"].T[::-1]) == pytest.approx(result.figures["roc_auc"].value, abs=0.01)
    macro = result.figures["average_precision"].value
    assert step_area(precision_recall["macro"]) == pytest.approx(macro, abs=0.01)


def test_curves_are_thinned_and_keep_their_ends_and_shape():
    result = made(3000)
    for curve in [*curves.roc(result).values(), *curves.precision_recall(result).values()]:
        assert 20 < len(curve) <= curves.POINTS
        assert np.all(np.diff(curve[:, 0]) >= 0)
        assert curve[-1, 0] == 1
    tar = curves.roc(result)["tar"]
    assert (tar[0].tolist(), tar[-1].tolist()) == ([0, 0], [1, 1])
    assert np.trapezoid(tar[:, 1], tar[:, 0]) == pytest.approx(result.classes[1].roc_auc.value, abs=0.005)


def test_thinning_spreads_points_along_the_curve():
    corner = np.array([[0, y] for y in np.linspace(0, 1, 500)] + [[x, 1] for x in np.linspace(0.001, 1, 1000)])
    kept = curves.thin(corner, 21)
    assert len(kept) == 21
    assert np.abs(np.diff(kept, axis=0)).sum(axis=1).max() < 0.11
    assert curves.thin(corner[:10]) is not None
    assert np.array_equal(curves.thin(corner[:10]), corner[:10])


def test_nothing_to_average_gives_no_curves():
    result = scores.score(np.ones((1, 10)), np.ones((1, 10)), 0.5, groups=["a"], rng=np.random.default_rng(1), rounds=2)
    assert curves.roc(result) == curves.precision_recall(result) == {}
