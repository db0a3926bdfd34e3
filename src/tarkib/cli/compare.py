"""``tarkib compare``: the modes against each other, over seeds, as experiments and as a report."""

import argparse
import re
from pathlib import Path

from tarkib import params
from tarkib.cli.options import whole_number

_OVERRIDE = re.compile(r"([a-z_]+\.[a-z_]+)=(.+)")


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "compare",
        help="which way of mixing teaches best: the modes, over seeds",
        description="Runs what is missing of the modes and seeds as DVC experiments and writes a report that says "
        "which mode scores better, by how much, on which instruments, and what the data support. Stopped at any "
        "moment, it goes on when it is called again; experiments run by hand with both seeds alike count too.",
    )
    parser.add_argument(
        "--modes", type=_modes, default=params.MODES, metavar="LIST", help=f"default: {','.join(params.MODES)}"
    )
    parser.add_argument(
        "--seeds",
        type=_seeds,
        default=(1, 2),
        metavar="LIST",
        help="of the mixtures and of the training (augment.seed, train.seed); default: 1,2",
    )
    parser.add_argument(
        "-S",
        "--set-param",
        type=_override,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter that all experiments have other than params.yaml; may be given again",
    )
    parser.add_argument(
        "--jobs", type=whole_number(1), metavar="N", help="experiments at once (default: one a core, one with a GPU)"
    )
    parser.add_argument("--collect", action="store_true", help="run nothing: report what is there")
    parser.add_argument(
        "--out",
        type=_page,
        default=Path("reports/comparison.html"),
        metavar="HTML",
        help="default: %(default)s; .md and .png are written beside",
    )
    parser.set_defaults(run=run)


def _page(text: str) -> Path:
    """The page's file: Markdown and picture are written beside it under other endings."""
    path = Path(text)
    if path.suffix.lower() not in (".html", ".htm"):
        raise argparse.ArgumentTypeError(f"{text!r}: name a file that ends in .html")
    return path


def _modes(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(filter(None, text.split(","))))
    unknown = [name for name in names if name not in params.MODES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(params.MODES)}")
    return names


def _seeds(text: str) -> tuple[int, ...]:
    parse = whole_number(0)
    seeds = tuple(dict.fromkeys(parse(one) for one in text.split(",") if one))
    if not seeds:
        raise argparse.ArgumentTypeError("give whole numbers, such as 1,2,3")
    return seeds


def _override(text: str) -> tuple[str, str]:
    found = _OVERRIDE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give a parameter and its value, such as train.epochs=8")
    return found[1], found[2]


def run(options: argparse.Namespace) -> int:
    """Run, collect and report; 1 where an experiment failed, was taken out of the queue, or the wait was broken off."""
    from tarkib.comparison import experiments, provenance, report

    overrides = dict(options.set_param)
    expectation = provenance.expected(overrides)
    if options.collect:
        found = experiments.collect(expectation, options.modes, options.seeds)
    else:
        devices = overrides.get("run.devices", params.load().run.devices)
        try:
            found = experiments.run(
                expectation, options.modes, options.seeds, overrides, jobs=options.jobs, devices=devices, tell=_tell
            )
        except KeyboardInterrupt:
            _tell("stopped; called again, this goes on from here")
            return 1
    found, predictions = report.gather(found)
    made = report.make(found, predictions, expectation.fixed, overrides)
    with experiments.exclusively():
        written = report.write(made, options.out)
    for one in found:
        if one.state != experiments.DONE:
            _tell(f"{one.title}: {one.state}" + (f": {one.reason}" if one.reason else ""))
    _tell(f"{made.words.headline}\n{', '.join(map(str, written))} written")
    lacking = (
        (experiments.FAILED,) if options.collect else (experiments.FAILED, experiments.MISSING, experiments.QUEUED)
    )
    return int(any(one.state in lacking for one in found))


def _tell(line: str) -> None:
    print(line, flush=True)
