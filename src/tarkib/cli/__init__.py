"""The command ``tarkib``: work on single files, outside the pipeline.

Most modules are a subcommand: `declare` its options, `run` it. Exit codes: 0; 1 where something could not be done (the
rest was done; for `predict`, where nothing could); 2 for wrong arguments; 128 and the signal's number after a signal.
"""

import argparse
import os
from collections.abc import Sequence

from tarkib.runtime import program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    if arguments is None:
        program.start()
    return program.guard(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    # Once `program` guards it: some of them take a second to load.
    from tarkib.cli import annotate, app, compare, export, fetch_backbone, init, predict, preview, push, track, verify

    parser = argparse.ArgumentParser(prog="tarkib", description="Recognises the instruments of Persian music.")
    traceback = f"show the traceback of an unforeseen error, as {program.DEBUG}=1 does"
    parser.add_argument("--debug", action="store_true", help=traceback)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    summaries = {
        predict: "which instruments play when",
        annotate: "tempo, tonic and dastgah of recordings",
        init: "start a project of your own in a new folder",
        compare: "which way of mixing teaches best: compare the modes over seeds",
        app: "a page that recognises recordings and labels excerpts",
        preview: "a page to listen to a data set",
        export: "mixtures or slices as audiofolder, WebDataset or parquet; a classifier as ONNX",
        push: "publish a classifier on the Hugging Face hub",
        verify: "check a data set of mixtures",
        track: "log to MLflow what its store did not accept",
        fetch_backbone: "download a published backbone once, check it, and show how to pin it",
    }
    for command, summary in summaries.items():
        name = command.__name__.rpartition(".")[2].replace("_", "-")
        subparser = commands.add_parser(name, help=summary, description=command.__doc__)
        command.declare(subparser)
        subparser.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    if options.debug:
        os.environ[program.DEBUG] = "1"
    return options.run(options)
