"""The command ``tarkib``: what can be done with single files, outside the pipeline. A module a subcommand.

Exit codes: 0; 1 where something could not be done (what could was done; `predict` says 1 where nothing could), 2 where
the call makes no sense.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from tarkib.cli import annotate, app, compare, export, fetch_backbone, predict, preview, track, verify
from tarkib.errors import TarkibError
from tarkib.text import escaped_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tarkib", description="Persian music, heard by a machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (predict, annotate, compare, app, preview, export, verify, track, fetch_backbone):
        command.add_to(commands)
    with escaped_output():
        return _run(parser.parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    """Run the subcommand; what the user can put right is a line, without a traceback."""
    try:
        return options.run(options)
    except TarkibError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever reads (head, say) has enough; the interpreter would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
