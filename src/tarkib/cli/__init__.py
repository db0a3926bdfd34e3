"""The command ``tarkib``: work on single files, outside the pipeline. Each module is a subcommand.

Exit codes: 0; 1 where something could not be done (the rest was done; for `predict`, where nothing could), 2 where the
arguments are wrong, 128 and the signal's number after a signal.
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
    from tarkib.cli import annotate, app, compare, export, fetch_backbone, predict, preview, track, verify

    parser = argparse.ArgumentParser(prog="tarkib", description="Recognises the instruments of Persian music.")
    parser.add_argument(
        "--debug", action="store_true", help=f"show the traceback of an unforeseen error, as {program.DEBUG}=1 does"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (predict, annotate, compare, app, preview, export, verify, track, fetch_backbone):
        command.add_to(commands)
    options = parser.parse_args(arguments)
    if options.debug:
        os.environ[program.DEBUG] = "1"
    return options.run(options)
