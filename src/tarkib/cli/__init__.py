"""The command ``tarkib``: what can be done with single files, outside the pipeline. A module a subcommand.

Exit codes: 0; 1 where something could not be done (what could was done), 2 where the call makes no sense.
"""

import argparse
import sys
from collections.abc import Sequence

from tarkib.cli import annotate, export, fetch_backbone, preview, verify
from tarkib.errors import TarkibError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tarkib", description="Persian music, heard by a machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (annotate, preview, export, verify, fetch_backbone):
        command.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except TarkibError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
