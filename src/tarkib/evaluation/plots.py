"""ROC and precision-recall curves, and one picture of all scores.

A curve is an array of points ``(k, 2)`` with rising x and at most `POINTS` points: false and true positive rate, to be
joined by straight lines; or recall and precision, to be drawn as steps, a precision holding from the previous recall to
its own. Before thinning the areas are exactly `metrics.roc_auc` and `metrics.average_precision`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from tarkib.evaluation.scores import Scores, figure_text
from tarkib.runtime import plotting
from tarkib.runtime.outputs import atomic_file
from tarkib.tables import spread

POINTS = 200

# Paul Tol's "muted" scheme is distinguishable with any colour vision; dashes make it so without colour.
_TOL = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499", "#777777"]
_DASHES = ("-", "--", ":", "-.")
_BARS = (("f1", "F1", "#CC6677", -0.18), ("roc_auc", "ROC-AUC", "#88CCEE", 0.18))
_GREY = "#666666"


def roc(scores: Scores) -> dict[str, np.ndarray]:
    """ROC curves by name: macro (mean true at each false positive rate), micro (pooled), and each averaged class."""

    def curve(target: np.ndarray, score: np.ndarray) -> np.ndarray:
        return np.stack(roc_curve(target, score, drop_intermediate=False)[:2], axis=1)

    def mean(curves: list[np.ndarray]) -> np.ndarray:
        grid = np.linspace(0, 1, POINTS - 1)
        rates = np.mean([np.interp(grid, *curve.T) for curve in curves], axis=0)
        return np.concatenate([[(0.0, 0.0)], np.stack([grid, rates], axis=1)])

    return _curves(scores, curve, mean)


def precision_recall(scores: Scores) -> dict[str, np.ndarray]:
    """Precision-recall curves by name: macro (mean precision at each recall), micro, and each averaged class."""

    def curve(target: np.ndarray, score: np.ndarray) -> np.ndarray:
        precision, recall, _ = precision_recall_curve(target, score)
        # At recall 0 scikit-learn has precision 1, which no threshold reaches.
        points = np.stack([recall, precision], axis=1)[-2::-1]
        return np.concatenate([[(0.0, points[0, 1])], points])

    def mean(curves: list[np.ndarray]) -> np.ndarray:
        grid = np.linspace(0, 1, POINTS)
        # A recall that equals a grid point up to rounding belongs to the step that ends there.
        steps = [curve[np.searchsorted(curve[:, 0], grid - 1e-9), 1] for curve in curves]
        return np.stack([grid, np.mean(steps, axis=0)], axis=1)

    return _curves(scores, curve, mean)


def _curves(
    scores: Scores,
    curve: Callable[[np.ndarray, np.ndarray], np.ndarray],
    mean: Callable[[list[np.ndarray]], np.ndarray],
) -> dict[str, np.ndarray]:
    cells = ~np.isnan(scores.targets)
    columns: dict[str, Any] = {
        name: (slice(None), k) for k, name in enumerate(scores.classes.index) if name in scores.averaged
    }
    if not columns:
        return {}
    curves = {
        name: curve(scores.targets[at][cells[at]], scores.probabilities[at][cells[at]])
        for name, at in {"micro": ..., **columns}.items()
    }
    curves = {"macro": mean([curves[name] for name in columns]), **curves}
    return {name: np.array(spread(list(curve), POINTS)) for name, curve in curves.items()}


def draw_overview(path: Path | str, scores: Scores) -> None:
    """Draw F1 and ROC-AUC by class with intervals, and the ROC curves: a PNG of 1500 by 750 pixels."""
    with atomic_file(path) as partial, plotting.picture(partial, 12, 6) as picture:
        bars, curves = picture.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_classes(bars, scores)
        _draw_roc(curves, scores)
        for axes in (bars, curves):
            axes.spines[["top", "right"]].set_visible(False)
        titles = {"f1_macro": "F1 macro", "roc_auc": "ROC-AUC macro", "accuracy": "accuracy"}
        texts = [f"{title} {figure_text(*scores.figures.loc[name])}" for name, title in titles.items()]
        picture.suptitle(" · ".join([scores.size, *texts]), fontsize=11)


def _draw_classes(axes: Axes, scores: Scores) -> None:
    classes = scores.classes.assign(y=np.arange(len(scores.classes)))
    averaged = classes[classes.left_out.isna()]
    for name, label, colour, offset in _BARS:
        axes.barh(averaged.y + offset, averaged[name], 2 * abs(offset), color=colour, label=label)
        ends = averaged[[f"{name}_low", f"{name}_high"]].to_numpy()
        for y, interval in zip(averaged.y + offset, ends, strict=True):
            axes.plot(interval, (y, y), color="black", linewidth=1.3, marker="|")
    for y, reason in classes.set_index("y").left_out.dropna().items():
        axes.text(0.01, y, f"left out: {reason}", va="center", color=_GREY, fontsize=9, style="italic")
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6), title="By class, with 95 % intervals")
    axes.set_xlabel("F1 (at the validation thresholds) and ROC-AUC (dotted: chance)")
    axes.set_yticks(classes.y, [f"{name} ({positives})" for name, positives in classes.positives.items()])
    axes.set_ylabel("instrument (clips with it)")
    if len(averaged):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(_BARS), frameon=False)


def _draw_roc(axes: Axes, scores: Scores) -> None:
    curves = roc(scores)
    for k, (name, area) in enumerate(scores.classes.roc_auc.items()):
        if name in curves:
            line, label = _DASHES[k % len(_DASHES)], f"{name} {area:.2f}"
            axes.plot(*curves[name].T, color=_TOL[k % len(_TOL)], linestyle=line, linewidth=1.4, label=label)
    if curves:
        label = f"macro {scores.figures.value['roc_auc']:.2f}"
        axes.plot(*curves["macro"].T, color="black", linewidth=2.6, label=label)
        axes.legend(loc="lower right", fontsize=8.5, handlelength=3, framealpha=0.9)
    axes.plot((0, 1), (0, 1), color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title="ROC (area under each curve in the legend)")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
