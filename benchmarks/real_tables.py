"""The tables of benchmarks/real.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks import tables
from benchmarks.solos import BUILDING, Clips, Figure, Solo
from tarkib.evaluation.scores import figure_text
from tarkib.vocabulary import INSTRUMENTS


@dataclass(frozen=True)
class Row:
    """What was measured of a backbone; a reason alone where nothing was.

    by_seed : the figures of `solos.Statistic` of each seed, each with a leading axis of length 1.
    cpu_s : seconds of CPU that a training took, the mean over the seeds.
    confusion : as `solos.confusion` gives it.
    """

    name: str
    demo: dict[str, Figure] = field(default_factory=dict)
    real: dict[str, Figure] = field(default_factory=dict)
    by_seed: list[dict[str, np.ndarray]] = field(default_factory=list)
    cpu_s: float | None = None
    confusion: np.ndarray | None = None
    reason: str = ""


def listed(halves: dict[str, list[Solo]]) -> str:
    """Which recordings are in which half, by player and instrument."""
    rows = []
    for half, some in halves.items():
        title = "looked at while building" if half == BUILDING else "looked at once"
        for player, instrument in dict.fromkeys((solo.player, solo.instrument) for solo in some):
            own = [solo for solo in some if (solo.player, solo.instrument) == (player, instrument)]
            files = ", ".join(f"`{solo.file.rpartition('/')[2]}`" for solo in own)
            rows.append([title, instrument, player, len(own), f"{sum(solo.seconds for solo in own):.0f} s", files])
    return tables.markdown(["half", "instrument", "player or source", "recordings", "length", "files"], rows)


def trained_on(own: Sequence[Solo]) -> str:
    """A sentence about the real recordings that were trained on."""
    counts = {name: sum(solo.instrument == name for solo in own) for name in INSTRUMENTS}
    some = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return f"Also trained on real recordings of players of the other half: {some}."


def summary(rows: Sequence[Row]) -> str:
    """A row a backbone: the demo's test set and the real clips."""
    lines = []
    for row in rows:
        if row.reason:
            lines.append([row.name, *[None] * 5, row.reason])
            continue
        seeds = ", ".join(f"{one['roc_auc'][0]:.2f} / {one['top1'][0]:.2f}" for one in row.by_seed)
        figures = [_figure(row.demo["roc_auc"]), _figure(row.real["roc_auc"]), _figure(row.real["top1"])]
        lines.append([row.name, *figures, seeds, f"{row.cpu_s:.0f} s", ""])
    header = ["backbone", "demo, ROC-AUC", "real, ROC-AUC", "real, top-1", "real by seed, ROC-AUC / top-1"]
    return tables.markdown([*header, "CPU of a training", ""], lines)


def by_instrument(rows: Sequence[Row], solos: Sequence[Solo], clips: Clips) -> str:
    """A row an instrument: its recall and its ROC-AUC against the other instruments, by each backbone."""
    measured = [row for row in rows if not row.reason]
    lines = []
    for k in np.flatnonzero(clips.targets.any(axis=0)):
        recordings = sum(solo.instrument == INSTRUMENTS[k] for solo in solos)
        figures = [_figure(row.real[name], k) for row in measured for name in ("class_recall", "class_roc_auc")]
        lines.append([INSTRUMENTS[k], f"{clips.targets[:, k].sum():.0f} / {recordings}", *figures])
    header = [f"{row.name}, {name}" for row in measured for name in ("recall", "ROC-AUC")]
    return tables.markdown(["instrument", "clips / recordings", *header], lines)


def confusions(rows: Sequence[Row]) -> str:
    """For each backbone the share of an instrument's clips (rows) that are taken for each instrument (columns)."""
    parts = []
    for row in rows:
        if row.confusion is not None:
            shares = [
                [INSTRUMENTS[k], *(f"{share:.0%}" for share in row.confusion[k])]
                for k in range(len(INSTRUMENTS))
                if not np.isnan(row.confusion[k]).any()
            ]
            parts.append(f"{row.name}, taken for:\n\n{tables.markdown(['', *INSTRUMENTS], shares)}")
    return "\n\n".join(parts)


def _figure(figure: Figure, k: int | None = None) -> str:
    ends = (figure.value, figure.low, figure.high)
    return figure_text(*(float(end if k is None else end[k]) for end in ends))
