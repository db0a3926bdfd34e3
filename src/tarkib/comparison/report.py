"""The report: predictions gathered, compared, and written as an HTML page, Markdown and a picture."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from tarkib.comparison import analysis, predictions, statements
from tarkib.comparison.analysis import BY_CLASS, BY_POLYPHONY, HEADLINE, Comparison, Mean, Means
from tarkib.comparison.experiments import DONE, FAILED, Experiment
from tarkib.comparison.predictions import Predictions, Run
from tarkib.comparison.statements import NONE, Statements, Support, interval, value
from tarkib.errors import TarkibError
from tarkib.evaluation.scores import CALIBRATION
from tarkib.runtime import pages
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.streams import Stream, generator
from tarkib.runtime.text import counted

PACKAGE = "tarkib.comparison"

_SUPPORT = {
    Support.UNKNOWN: "undefined",
    Support.NONE: "no difference shown",
    Support.RECORDINGS: "with these models",
    Support.BOTH: "with these models and another draw",
}

Cell = tuple[str, ...]
"""The text of a table's cell, and smaller lines below it."""


class Table(NamedTuple):
    """A table; the first cell of a row is its heading."""

    title: str
    heading: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Report:
    """All that the report holds except the pictures."""

    comparison: Comparison
    statements: Statements
    tables: dict[str, Table]
    paper: dict[str, Any]
    fixed: dict[str, object]
    command: str
    made: str


def gather(experiments: Sequence[Experiment]) -> tuple[list[Experiment], dict[Run, Predictions]]:
    """Read the predictions of the experiments that are done; TarkibError if there are none.

    Returns the experiments and the predictions. Marked as failed, and without predictions, are experiments whose
    predictions cannot be read, and those that were scored on another test set than most are.
    """
    checked: list[Experiment] = []
    read: dict[Run, Predictions] = {}
    for one in experiments:
        try:
            if one.revision is not None:
                read[one.mode, one.seed] = predictions.read(one.revision)
            checked.append(one)
        except TarkibError as error:
            checked.append(replace(one, state=FAILED, reason=str(error)))
    if not read:
        reasons = [f"{one.title}: {one.reason or one.state}" for one in checked]
        raise TarkibError("no experiment to report:\n  " + "\n  ".join(reasons))
    groups = ([run for run, other in read.items() if other.clips.same_as(one.clips)] for one in read.values())
    common = max(groups, key=len)
    for k, one in enumerate(checked):
        if one.state == DONE and (one.mode, one.seed) not in common:
            reason = f"scored on another test set than most; dvc exp remove {one.name}, then run it again"
            checked[k] = replace(one, state=FAILED, reason=reason)
    return checked, {run: read[run] for run in common}


def make(
    experiments: Sequence[Experiment],
    read: Mapping[Run, Predictions],
    fixed: Mapping[str, Any],
    overrides: Mapping[str, str],
    rounds: int = analysis.ROUNDS,
) -> Report:
    """Compare the predictions, and state the result in words and tables.

    `fixed` holds the parameters that all experiments have in common by name.
    """
    modes = list(dict.fromkeys(one.mode for one in experiments))
    seeds = list(dict.fromkeys(one.seed for one in experiments))
    rng = generator(int(fixed.get("evaluate.seed", 0)), Stream.COMPARISON_BOOTSTRAP)
    comparison = analysis.compare(read, modes, rng, rounds)
    paper = json.loads(resources.files(PACKAGE).joinpath("paper.json").read_text("utf-8"))
    command = ["tarkib", "compare", "--modes", ",".join(modes), "--seeds", ",".join(map(str, seeds))]
    command += [part for key, text in overrides.items() for part in ("-S", f"{key}={text}")]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tarkib", "torch", "dvc"))
    return Report(
        comparison,
        statements.write(comparison, experiments, str(fixed.get("data.test", "")).startswith("data/demo")),
        _tables(comparison, experiments, paper["figures"]),
        paper,
        {name: "null" if setting is None else setting for name, setting in fixed.items()},
        shlex.join(command),
        f"Written with {versions}.",
    )


def _tables(comparison: Comparison, experiments: Sequence[Experiment], paper: Mapping[str, Any]) -> dict[str, Table]:
    def grid(title: str, corner: str, rows: Mapping[str, tuple], columns: Mapping[str, tuple[str, Means]]) -> Table:
        """A table of means, by figure (and instrument, or number of them) in rows, by mode in columns."""
        cells = [
            [(row,), *(_cell(means[mode, *key], means is comparison.differences) for mode, means in columns.values())]
            for row, key in rows.items()
        ]
        return Table(title, [corner, *columns], cells)

    figures = {title: (name,) for name, title in HEADLINE.items()}
    means = {f"{mode} ({counted(len(s), 'seed')})": (mode, comparison.means) for mode, s in comparison.seeds.items()}
    differences = {f"{mode}, difference": (mode, comparison.differences) for mode in comparison.compared}
    tables = {"means": grid("The modes", "figure", {**figures, "ECE": (CALIBRATION,)}, means)}
    rows: list[list[Cell]] = [
        [(mode,), (value(row["accuracy"]),), (value(row["roc_auc"]),)] for mode, row in paper.items()
    ]
    tables["paper"] = Table("The paper’s own figures", ["mode", "accuracy", "ROC-AUC"], rows)
    if differences:
        tables["differences"] = grid(f"Differences to {comparison.reference}", "figure", figures, differences)
    reference = {comparison.reference: (comparison.reference, comparison.means)}
    for name, title in BY_CLASS.items():
        classes = {f"{item}, {counted(clips, 'clip')}": (name, item) for item, clips in comparison.positives.items()}
        tables[name] = grid(f"{title} by instrument", "instrument", classes, reference | differences)
    numbers = {
        f"{counted(number, 'instrument')}, {counted(clips, 'clip')}: {title}": (name, number)
        for number, clips in comparison.polyphony.items()
        for name, title in BY_POLYPHONY.items()
    }
    tables["polyphony"] = grid("By the number of instruments that play", "playing", numbers, means)
    rows = [
        [(one.title,), (": ".join(filter(None, (one.state, one.reason))),), (one.name,), ((one.revision or NONE)[:9],)]
        for one in experiments
    ]
    tables["runs"] = Table("Experiments", ["experiment", "state", "name", "commit"], rows)
    return tables


def _cell(mean: Mean, signed: bool) -> Cell:
    """Mean, [interval over recordings], (interval over seeds), p-values, and what they support."""
    lines = [value(mean.value, signed)]
    if mean.recordings:
        lines.append(f"[{interval(mean.recordings, signed)}]")
    if mean.seeds:
        lines.append(f"({interval(mean.seeds, signed)})")
    if mean.p is not None and mean.corrected is not None:
        degree = statements.support(mean)
        verdict = f"{statements.better(mean)}, " if degree > Support.NONE else ""
        lines += [f"p {mean.p:.3g}, Holm {mean.corrected:.3g}", verdict + _SUPPORT[degree]]
    return tuple(lines)


def write(report: Report, out: Path) -> list[Path]:
    """Write the page to `out`, and beside it the Markdown and the picture; return what was written."""
    from tarkib.comparison import pictures

    comparison, themes = report.comparison, (pictures.LIGHT, pictures.DARK)
    text, picture = out.with_suffix(".md"), out.with_suffix(".png")
    fields = {
        **vars(report),
        "title": "Which way of mixing teaches best",
        "subtitle": f"{', '.join(comparison.seeds)}, on {counted(comparison.clips, 'test clip')} of "
        f"{counted(comparison.recordings, 'recording')}",
        "by_class": BY_CLASS,
        "picture": picture.name,
        "pictures": {
            name: [pages.data_url(pictures.draw(name, comparison, theme), "image/png") for theme in themes]
            for name in [*(("headline", *BY_CLASS) if comparison.compared else ()), "reliability"]
        },
        "css": pages.asset(PACKAGE, "page.css"),
    }
    page = pages.environment(PACKAGE)
    markdown = page.overlay(autoescape=False, finalize=_plain, keep_trailing_newline=True)
    contents = {out: page.get_template("report.html").render(fields).encode()}
    contents[text] = markdown.get_template("report.md").render(fields).encode()
    if comparison.compared:
        contents[picture] = pictures.draw("comparison", comparison)
    try:
        for path, content in contents.items():
            with atomic_file(path) as partial:
                partial.write_bytes(content)
    except OSError as error:
        raise TarkibError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
    return list(contents)


def _plain(text: object) -> object:
    """Text that Markdown shows as it is, in one line."""
    if isinstance(text, Markup):
        return text
    return " ".join("".join(f"\\{mark}" if mark in "\\`*_|<>[]" else mark for mark in str(text)).split())
