"""One picture of all scores: F1 and ROC-AUC of each class with intervals, and the ROC curves."""

from pathlib import Path

from matplotlib.axes import Axes

from tarkib.evaluation import curves
from tarkib.evaluation.scores import ClassScore, Estimate, Scores
from tarkib.runtime import plotting

# Paul Tol's "muted" scheme, told apart with any colour vision; dashes say the same again without colour.
_COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#777777",
)
_DASHES = ("-", "--", ":", "-.")
_BARS = (("f1", "F1", "#CC6677"), ("roc_auc", "ROC-AUC", "#88CCEE"))
_BAR = 0.36
_GREY = "#666666"


def draw(scores: Scores, path: Path) -> None:
    """Draw scores into a PNG file of 1500 by 750 pixels; equal scores give equal bytes."""
    with plotting.picture(path, 12, 6) as picture:
        bars, roc = picture.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_classes(bars, scores)
        _draw_roc(roc, scores)
        picture.suptitle(_title(scores), fontsize=11)


def _title(scores: Scores) -> str:
    named = {"F1 macro": "f1_macro", "ROC-AUC macro": "roc_auc", "accuracy": "accuracy"}
    figures = " · ".join(f"{title} {_text(scores.figures[name])}" for title, name in named.items())
    return f"{scores.size} · {figures}"


def _text(one: Estimate) -> str:
    if one.value is None:
        return "undefined"
    return f"{one.value:.3f}" + ("" if one.low is None else f" [{one.low:.3f}, {one.high:.3f}]")


def _draw_classes(axes: Axes, scores: Scores) -> None:
    for side, (name, label, colour) in zip((-0.5, 0.5), _BARS, strict=True):
        averaged = [(y, getattr(one, name)) for y, one in enumerate(scores.classes) if one.left_out is None]
        axes.barh(
            [y + side * _BAR for y, _ in averaged], [one.value for _, one in averaged], _BAR, color=colour, label=label
        )
        for y, one in averaged:
            if one.low is not None:
                axes.plot((one.low, one.high), [y + side * _BAR] * 2, color="black", linewidth=1.3, marker="|")
    for y, one in enumerate(scores.classes):
        if one.left_out is not None:
            axes.text(0.01, y, f"left out: {one.left_out}", va="center", color=_GREY, fontsize=9, style="italic")
    axes.axvline(0.5, color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(
        title="By class, with 95 % intervals",
        xlabel="F1 (at the validation thresholds) and ROC-AUC (dotted: chance)",
        xlim=(0, 1),
        ylim=(len(scores.classes) - 0.4, -0.6),
        yticks=range(len(scores.classes)),
        yticklabels=[_tick(one) for one in scores.classes],
        ylabel="instrument (clips with it)",
    )
    axes.spines[["top", "right"]].set_visible(False)
    if scores.averaged:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(_BARS), frameon=False)


def _tick(one: ClassScore) -> str:
    return f"{one.instrument} ({one.positives})"


def _draw_roc(axes: Axes, scores: Scores) -> None:
    points = curves.roc(scores)
    for k, one in enumerate(scores.classes):
        if one.instrument in points:
            axes.plot(
                *points[one.instrument].T,
                color=_COLOURS[k % len(_COLOURS)],
                linestyle=_DASHES[k % len(_DASHES)],
                linewidth=1.4,
                label=f"{one.instrument} {one.roc_auc.value:.2f}",
            )
    if curves.MACRO in points:
        mean = scores.figures["roc_auc"].value
        axes.plot(*points[curves.MACRO].T, color="black", linewidth=2.6, label=f"macro {mean:.2f}")
    axes.plot((0, 1), (0, 1), color=_GREY, linewidth=0.8, linestyle=":")
    axes.set(
        title="ROC (area under each curve in the legend)",
        xlabel="false positive rate",
        ylabel="true positive rate",
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
    )
    axes.spines[["top", "right"]].set_visible(False)
    if points:
        axes.legend(loc="lower right", fontsize=8.5, handlelength=3, framealpha=0.9)
