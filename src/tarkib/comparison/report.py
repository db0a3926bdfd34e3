"""The report: from the experiments that are there to the page, the Markdown and the picture beside it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tarkib.comparison import analysis, experiments, layout, predictions, words
from tarkib.comparison.analysis import Comparison
from tarkib.comparison.experiments import DONE, Experiment
from tarkib.comparison.figures import BY_CLASS
from tarkib.comparison.layout import Layout
from tarkib.comparison.notation import counted, spread
from tarkib.comparison.predictions import Predictions, Run
from tarkib.comparison.words import Words
from tarkib.errors import TarkibError
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.streams import Stream, generator

"""Of the random numbers: that the resamples are the report's own."""


@dataclass(frozen=True)
class Report:
    """All that the report holds but the pictures."""

    comparison: Comparison
    words: Words
    experiments: tuple[Experiment, ...]
    layouts: tuple[Layout, ...]
    fixed: tuple[tuple[str, object], ...]
    command: str
    made: str
    title: str = "Which way of mixing teaches best"

    @property
    def subtitle(self) -> str:
        """What was compared, in a line."""
        one = self.comparison
        seeds = spread([len(seeds) for seeds in one.seeds.values()], "seed")
        return (
            f"{', '.join(one.modes)}, each with {seeds}, on {counted(one.clips, 'test clip')} of "
            f"{counted(one.recordings, 'recording')}"
        )

    @property
    def alt(self) -> dict[str, str]:
        """What each picture shows, for those who cannot see it."""
        reference = self.comparison.reference
        instruments = {
            name: f"Differences to {reference} in {title} for each instrument and mode, with 95 % intervals "
            "over test recordings; the same numbers are in the table by instrument."
            for name, title in BY_CLASS.items()
        }
        return {
            "comparison": f"Differences to {reference} of each mode in the headline figures and, by instrument, in "
            f"ROC-AUC, with 95 % intervals over test recordings. {self.words.headline}",
            "headline": f"Differences to {reference} of each mode in the headline figures, with 95 % intervals over "
            "test recordings and over seeds; the same numbers are in the table of differences.",
            "polyphony": "Accuracy and F1 micro by the number of instruments that play, a line for each mode; the same "
            "numbers are in the table by number of instruments.",
            "reliability": "Reliability diagrams: how often an instrument plays against the probability that was "
            "given, a line for each mode, with each mode's expected calibration error.",
            **instruments,
        }


def gather(found: Sequence[Experiment]) -> tuple[list[Experiment], dict[Run, Predictions]]:
    """The predictions of the experiments that are done, and the experiments, those that cannot be used with the reason.

    The test set is the one that most of them have. Raises TarkibError where none can be used.
    """
    read: dict[Run, Predictions] = {}
    told = []
    for one in found:
        if one.state == DONE:
            try:
                read[one.mode, one.seed] = predictions.read(one.revision)
            except TarkibError as error:
                one = experiments.without(one, str(error))
        told.append(one)
    if read:
        alike = {
            key: sum(other.clips.differs_from(one.clips) is None for other in read.values())
            for key, one in read.items()
        }
        common = read[max(alike, key=alike.__getitem__)].clips
        for k, one in enumerate(told):
            other = read.get((one.mode, one.seed))
            if other is not None and (why := other.clips.differs_from(common)):
                told[k] = experiments.without(one, f"another test set: {why}")
                del read[one.mode, one.seed]
    if not read:
        reasons = [f"{one.title}: {one.reason or one.state}" for one in told]
        raise TarkibError("no experiment to report:\n  " + "\n  ".join(reasons))
    return told, read


def make(
    found: Sequence[Experiment],
    read: Mapping[Run, Predictions],
    fixed: Mapping[str, object],
    overrides: Mapping[str, str],
    rounds: int = analysis.ROUNDS,
) -> Report:
    """Compare, and put into words and tables.

    fixed : the parameters that all experiments have in common, by name.
    """
    modes = list(dict.fromkeys(one.mode for one in found))
    seeds = list(dict.fromkeys(one.seed for one in found))
    rng = generator(int(fixed.get("evaluate.seed", 0)), Stream.COMPARISON_BOOTSTRAP)
    comparison = analysis.compare(read, modes, rng, rounds)
    demo = str(fixed.get("data.test", "")).startswith("data/demo")
    layouts = [layout.means(comparison), layout.reported()]
    if comparison.differences:
        layouts.append(layout.differences(comparison))
    layouts += [layout.instruments(comparison, name, title) for name, title in reversed(BY_CLASS.items())]
    layouts += [layout.polyphony(comparison), layout.runs(found)]
    command = ["tarkib", "compare", "--modes", ",".join(modes), "--seeds", ",".join(map(str, seeds))]
    for key, value in overrides.items():
        command += ["-S", f"{key}={value}"]
    return Report(
        comparison,
        words.write(comparison, found, demo),
        tuple(found),
        tuple(layouts),
        tuple((key, "null" if value is None else value) for key, value in fixed.items()),
        shlex.join(command),
        _made(found),
    )


def _made(found: Sequence[Experiment]) -> str:
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tarkib", "torch", "dvc"))
    times = [one.created for one in found if one.state == DONE and one.created is not None]
    when = ""
    if times:
        first, last = f"{min(times):%Y-%m-%d}", f"{max(times):%Y-%m-%d}"
        when = f" The experiments were made {f'on {first}' if first == last else f'from {first} to {last}'}."
    return f"Written with {versions}.{when}"


def write(report: Report, out: Path) -> list[Path]:
    """Write the page, and beside it the Markdown and the picture; returns what was written."""
    from tarkib.comparison import markdown, page, pictures

    text, picture = out.with_suffix(".md"), out.with_suffix(".png")
    try:
        written = [out, text]
        with atomic_file(out) as partial:
            partial.write_text(page.write(report), encoding="utf-8")
        with atomic_file(text) as partial:
            partial.write_text(markdown.write(report, picture.name), encoding="utf-8")
        if report.comparison.differences:
            with atomic_file(picture) as partial:
                partial.write_bytes(pictures.comparison(report.comparison))
            written.append(picture)
    except OSError as error:
        raise TarkibError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
    return written
