"""The command ``tarkib``: work on single files, outside the pipeline.

Most modules are a subcommand: `declare` its options, `run` it. Exit codes: 0; 1 where something could not be done (the
rest was done; for `predict`, where nothing could); 2 for wrong arguments; 128 and the signal's number after a signal.
"""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from tarkib.runtime import program

_COMMANDS = {
    "predict": "which instruments play when",
    "annotate": "tempo, tonic and dastgah of recordings",
    "init": "start a project of your own in a new folder",
    "compare": "which way of mixing teaches best: compare the modes over seeds",
    "app": "a page that recognises recordings and labels excerpts",
    "preview": "a page to listen to a data set",
    "export": "mixtures or slices as audiofolder, WebDataset or parquet; a classifier as ONNX",
    "push": "publish a classifier on the Hugging Face hub",
    "verify": "check a data set of mixtures",
    "track": "log to MLflow what its store did not accept",
    "fetch-backbone": "download a published backbone once, check it, and show how to pin it",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if arguments is None:
        program.start()
    return program.guard(lambda: _run(sys.argv[1:] if arguments is None else arguments))


def _run(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tarkib", description="Recognises the instruments of Persian music.")
    parser.add_argument("--version", action="version", version=f"tarkib {metadata.version('tarkib')}")
    traceback = f"show the traceback of an unforeseen error, as {program.DEBUG}=1 does"
    parser.add_argument("--debug", action="store_true", help=traceback)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    place = next((i for i, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    before, named = arguments[:place], next(iter(arguments[place:]), None)
    for name, summary in _COMMANDS.items():
        subparser = commands.add_parser(name, help=summary)
        if name == named:  # the others need not be loaded
            command = importlib.import_module(f"tarkib.cli.{name.replace('-', '_')}")
            subparser.description = command.__doc__
            subparser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=traceback)
            command.declare(subparser)
            subparser.set_defaults(run=command.run)
    if named is not None and not {"-h", "--help", "--version"}.intersection(before):
        if misplaced := [argument for argument in before if argument != "--debug"]:
            parser.error(f"{misplaced[0]}: options come after their command, as in tarkib predict song.flac --hop 2")
        if named not in _COMMANDS:
            near = difflib.get_close_matches(named, _COMMANDS, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {', '.join(_COMMANDS)}"
            parser.error(f"{named!r} is no command; {remedy}")
    if not arguments:
        parser.print_help()
        return 2
    options = parser.parse_args(arguments)
    if options.debug:
        os.environ[program.DEBUG] = "1"
    return options.run(options)
