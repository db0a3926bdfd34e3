"""Curves have the areas that the metrics say, and the picture shows what it should."""

import numpy as np
import pytest
from matplotlib import image
from single_clip import one_clip

from tarkib.evaluation import plots, scores
from tarkib.vocabulary import INSTRUMENTS


def made(clips, decimals=6):
    rng = np.random.default_rng(2)
    targets = (rng.random((clips, 10)) < 0.4).astype(float)
    probabilities = np.round(np.clip(rng.normal(0.4 + 0.2 * targets, 0.2), 0, 1), decimals)
    targets[:, 9], targets[:5, 1] = np.nan, np.nan
    return scores.score(targets, probabilities, 0.5, groups=[str(i) for i in range(clips)], rng=rng, rounds=2)


def area(curve):
    return np.trapezoid(curve[:, 1], curve[:, 0])


def step_area(curve):
    return np.sum(np.diff(curve[:, 0]) * curve[1:, 1])


@pytest.mark.parametrize("decimals", [6, 1])
def test_areas_are_the_figures(decimals):
    result = made(90, decimals)
    roc, precision_recall = plots.roc(result), plots.precision_recall(result)
    assert list(roc) == list(precision_recall) == ["macro", "micro", *INSTRUMENTS[:9]]
    for name in INSTRUMENTS[:9]:
        assert area(roc[name]) == pytest.approx(result.classes.roc_auc[name])
        assert step_area(precision_recall[name]) == pytest.approx(result.classes.average_precision[name])
        # No point of precision 1 that no threshold reaches.
        assert precision_recall[name][0].tolist() == [0, precision_recall[name][1, 1]]
    figures = result.figures.value
    assert area(roc["macro"]) == pytest.approx(figures["roc_auc"], abs=0.01)
    assert step_area(precision_recall["macro"]) == pytest.approx(figures["average_precision"], abs=0.01)


def test_curves_are_thinned_and_keep_their_ends_and_shape():
    result = made(3000)
    for curve in [*plots.roc(result).values(), *plots.precision_recall(result).values()]:
        assert 20 < len(curve) <= plots.POINTS
        assert np.all(np.diff(curve[:, 0]) >= 0)
        assert curve[-1, 0] == 1
    tar = plots.roc(result)["tar"]
    assert tar[[0, -1]].tolist() == [[0, 0], [1, 1]]
    assert area(tar) == pytest.approx(result.classes.roc_auc["tar"], abs=0.005)


def test_the_picture_shows_bars_and_curves_where_there_are_any(tmp_path):
    assert plots.roc(one_clip()) == plots.precision_recall(one_clip()) == {}
    pictures = []
    for result in (made(60), one_clip()):
        plots.draw_overview(tmp_path / "overview.png", result)
        pictures.append(image.imread(tmp_path / "overview.png")[..., :3])
    assert [picture.shape for picture in pictures] == [(750, 1500, 3)] * 2
    # Bars and curves cover more of the paper than an empty frame does.
    assert np.mean(pictures[0] < 0.9) > 2 * np.mean(pictures[1] < 0.9)
