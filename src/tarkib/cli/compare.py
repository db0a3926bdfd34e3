"""Runs the missing experiments of the modes and seeds with DVC and writes a report: which mode scores better, by how
much, on which instruments, and what the data support.

Stopped at any moment, the same command goes on. What experiments run by hand have computed, with both seeds alike, is
not computed again.
"""

import argparse
import re
from pathlib import Path

from tarkib import params
from tarkib.cli.options import whole_number

_OVERRIDE = re.compile(r"([a-z_]+\.[a-z_]+)=(.+)")


def declare(parser: argparse.ArgumentParser) -> None:
    add, modes, page = parser.add_argument, ",".join(params.MODES), Path("reports/comparison.html")
    add("--modes", type=_modes, default=params.MODES, metavar="LIST", help=f"default: {modes}")
    seeds = "seeds of both mixing and training (augment.seed, train.seed); default: 1,2"
    add("--seeds", type=_seeds, default=(1, 2), metavar="LIST", help=seeds)
    override = "a parameter of all experiments that differs from params.yaml; repeatable"
    add("-S", "--set-param", type=_override, action="append", default=[], metavar="KEY=VALUE", help=override)
    jobs = "experiments at once (default: one a core, one with a GPU)"
    add("--jobs", type=whole_number(1), metavar="N", help=jobs)
    add("--collect", action="store_true", help="run nothing: report what `tarkib compare` has run")
    beside = "default: %(default)s; .md and .png are written beside"
    add("--out", type=_page, default=page, metavar="HTML", help=beside)


def _page(text: str) -> Path:
    """Markdown and picture are written beside the page with other endings."""
    path = Path(text)
    if path.suffix.lower() not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"{text!r}: name a file that ends in .html")
    return path


def _modes(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, text.split(","))))
    if not names or not set(names) <= set(params.MODES):
        raise argparse.ArgumentTypeError(f"{text!r}: choose from {','.join(params.MODES)}")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(dict.fromkeys(map(whole_number(0), filter(None, text.split(",")))))
    if not seeds:
        raise argparse.ArgumentTypeError("give whole numbers, such as 1,2,3")
    return seeds


def _override(text: str) -> tuple[str, str]:
    match = _OVERRIDE.fullmatch(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: give a parameter and its value, such as train.epochs=8")
    return match[1], match[2]


def run(options: argparse.Namespace) -> int:
    """Run, collect and report; 1 if an experiment failed or is missing, or the wait was interrupted."""
    from tarkib.comparison import experiments, provenance, report

    overrides = dict(options.set_param)
    project = provenance.read(overrides)
    if options.collect:
        collected = experiments.collect(project, options.modes, options.seeds)
    else:
        devices = overrides.get("run.devices", params.load().run.devices)
        try:
            collected = experiments.run(
                project, options.modes, options.seeds, overrides, jobs=options.jobs, devices=devices, report=_print
            )
        except KeyboardInterrupt:
            _print("stopped; the same command goes on from here")
            return 1
    collected, predictions = report.gather(collected)
    made = report.make(collected, predictions, project.fixed, overrides)
    with experiments.comparison_lock():
        written = report.write(made, options.out)
    for one in collected:
        if one.state != experiments.DONE:
            _print(f"{one.title}: {one.state}" + (f": {one.reason}" if one.reason else ""))
    _print(f"{made.statements.headline}\n{', '.join(map(str, written))} written")
    # Collecting is for a look at what is there: experiments still to come are no failure.
    failures = {experiments.FAILED} | (set() if options.collect else {experiments.MISSING, experiments.QUEUED})
    return int(any(one.state in failures for one in collected))


def _print(line: str) -> None:
    print(line, flush=True)
