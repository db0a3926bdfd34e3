"""The report: predictions gathered, compared, and written as an HTML page, Markdown and a picture.

The templates report.html and report.md hold the text around the tables.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from tarkib.comparison import analysis, predictions, words
from tarkib.comparison.analysis import BY_CLASS, BY_POLYPHONY, HEADLINE, Comparison, Mean, Means
from tarkib.comparison.experiments import FAILED, Experiment
from tarkib.comparison.notation import NONE, counted, interval, p_value, seed_counts, value
from tarkib.comparison.predictions import Predictions, Run
from tarkib.comparison.words import Support, Words
from tarkib.errors import TarkibError
from tarkib.evaluation.scores import CALIBRATION
from tarkib.runtime import pages
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.streams import Stream, generator

TITLE = "Which way of mixing teaches best"
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
    words: Words
    tables: dict[str, Table]
    paper: dict[str, Any]
    fixed: dict[str, object]
    command: str
    made: str
    subtitle: str


def gather(experiments: Sequence[Experiment]) -> tuple[list[Experiment], dict[Run, Predictions]]:
    """Read the predictions of the experiments that are done, on the test set that most of them share.

    Returns the experiments, those whose predictions cannot be used marked as failed, and the predictions. Raises
    TarkibError if there are none.
    """
    checked = {(one.mode, one.seed): one for one in experiments}
    read: dict[Run, Predictions] = {}
    for run, one in checked.items():
        if one.revision is not None:
            try:
                read[run] = predictions.read(one.revision)
            except TarkibError as error:
                checked[run] = replace(one, state=FAILED, reason=str(error))
    alike = {run: [other for other in read if read[other].clips.same_as(read[run].clips)] for run in read}
    most = max(alike.values(), key=len, default=[])
    for run in read.keys() - most:
        checked[run] = replace(checked[run], state=FAILED, reason="scored on another test set than most experiments")
        del read[run]
    if not read:
        reasons = [f"{one.title}: {one.reason or one.state}" for one in checked.values()]
        raise TarkibError("no experiment to report:\n  " + "\n  ".join(reasons))
    return list(checked.values()), read


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
    for key, text in overrides.items():
        command += ["-S", f"{key}={text}"]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tarkib", "torch", "dvc"))
    return Report(
        comparison,
        words.write(comparison, experiments, str(fixed.get("data.test", "")).startswith("data/demo")),
        _tables(comparison, experiments, paper["figures"]),
        paper,
        {name: "null" if setting is None else setting for name, setting in fixed.items()},
        shlex.join(command),
        f"Written with {versions}.",
        f"{', '.join(comparison.modes)}, each with {seed_counts(comparison.seeds.values())}, on "
        f"{counted(comparison.clips, 'test clip')} of {counted(comparison.recordings, 'recording')}",
    )


def _tables(comparison: Comparison, experiments: Sequence[Experiment], paper: Mapping[str, Any]) -> dict[str, Table]:
    figures = {title: (name,) for name, title in HEADLINE.items()}
    seeds = [f"{mode} ({counted(len(seeds), 'seed')})" for mode, seeds in comparison.seeds.items()]
    means = {heading: (mode, comparison.means, False) for heading, mode in zip(seeds, comparison.modes, strict=True)}
    differences = {f"{mode}, difference": (mode, comparison.differences, True) for mode in comparison.compared}
    tables = {"means": _grid("The modes", "figure", {**figures, "ECE": (CALIBRATION,)}, means)}
    rows: list[list[Cell]] = [
        [(mode,), (value(row["accuracy"]),), (value(row["roc_auc"]),)] for mode, row in paper.items()
    ]
    tables["paper"] = Table("The paper’s own figures", ["mode", "accuracy", "ROC-AUC"], rows)
    if differences:
        tables["differences"] = _grid(f"Differences to {comparison.reference}", "figure", figures, differences)
    reference = {comparison.reference: (comparison.reference, comparison.means, False)}
    for name, title in BY_CLASS.items():
        classes = {f"{item}, {counted(clips, 'clip')}": (name, item) for item, clips in comparison.positives.items()}
        tables[name] = _grid(f"{title} by instrument", "instrument", classes, reference | differences)
    numbers = {
        f"{counted(number, 'instrument')}, {counted(clips, 'clip')}: {title}": (name, number)
        for number, clips in comparison.polyphony.items()
        for name, title in BY_POLYPHONY.items()
    }
    tables["polyphony"] = _grid("By the number of instruments that play", "playing", numbers, means)
    rows = [
        [(one.title,), (": ".join(filter(None, (one.state, one.reason))),), (one.name,), ((one.revision or NONE)[:9],)]
        for one in experiments
    ]
    tables["runs"] = Table("Experiments", ["experiment", "state", "name", "commit"], rows)
    return tables


def _grid(title: str, corner: str, rows: Mapping[str, tuple], columns: Mapping[str, tuple[str, Means, bool]]) -> Table:
    """A table of means, by figure (and instrument, or number of them) in rows, by mode in columns."""
    cells = [
        [(row,), *(_cell(means[mode, *key], signed) for mode, means, signed in columns.values())]
        for row, key in rows.items()
    ]
    return Table(title, [corner, *columns], cells)


def _cell(mean: Mean, signed: bool) -> Cell:
    """A mean, its interval over recordings in square brackets, that over seeds in round ones, p-values, the verdict."""
    lines = [value(mean.value, signed)]
    if mean.recordings:
        lines.append(interval(mean.recordings, signed))
    if mean.seeds:
        lines.append(f"({interval(mean.seeds, signed)[1:-1]})")
    if mean.p is not None:
        degree = words.support(mean)
        verdict = f"{'better' if words.better(mean) else 'worse'}, " if degree > Support.NONE else ""
        lines += [f"p {p_value(mean.p)}, Holm {p_value(mean.corrected)}", verdict + _SUPPORT[degree]]
    return tuple(lines)


def write(report: Report, out: Path) -> list[Path]:
    """Write the page to `out`, and beside it the Markdown and the picture; return what was written."""
    from tarkib.comparison import pictures

    text, picture = out.with_suffix(".md"), out.with_suffix(".png")
    fields = {**vars(report), "title": TITLE, "by_class": BY_CLASS, "value": value, "picture": picture.name}
    drawn = {
        name: [pages.data_url(pictures.draw(name, report.comparison, paper), "image/png") for paper in pictures.PAPERS]
        for name in pictures.shown(report.comparison)
    }
    page = pages.environment(PACKAGE).get_template("report.html")
    markdown = jinja2.Environment(
        loader=jinja2.PackageLoader(PACKAGE, "."),
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("report.md")
    try:
        with atomic_file(out) as partial:
            partial.write_text(page.render(**fields, pictures=drawn, css=pages.asset(PACKAGE, "page.css")), "utf-8")
        with atomic_file(text) as partial:
            partial.write_text(markdown.render(**fields), "utf-8")
        if not report.comparison.compared:
            return [out, text]
        with atomic_file(picture) as partial:
            partial.write_bytes(pictures.draw("comparison", report.comparison))
    except OSError as error:
        raise TarkibError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
    return [out, text, picture]


def _plain(text: object) -> object:
    """Text that Markdown shows as it is, in one line."""
    if isinstance(text, Markup):
        return text
    return " ".join("".join(f"\\{mark}" if mark in "\\`*_|<>[]" else mark for mark in str(text)).split())
