"""Serves a page to this machine alone, without a network.

Drop a recording on it to see which instruments play when; or label the five-second excerpts of a folder, which makes a
test set of your own.
"""

import argparse
from pathlib import Path

from tarkib.cli.options import add_model, whole_number
from tarkib.errors import TarkibError
from tarkib.runtime import progress, project


def declare(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--label", type=Path, metavar="FOLDER", help="excerpts to label (default: data/test)")
    parser.add_argument("--port", type=whole_number(0), default=7860, metavar="N", help="default: %(default)s; 0: any")
    parser.add_argument("--max-minutes", type=whole_number(1), default=180, metavar="N", help="longest; default: 180")
    parser.add_argument("--max-mb", type=whole_number(1), default=2_000, metavar="N", help="largest; default: 2000")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page")


def run(options: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    if options.label:
        project.check_folder(options.label, "make it and put five-second excerpts into it")
    if options.port > 65_535:
        raise TarkibError(f"--port {options.port}: ports end at 65535")
    progress.note("loading the page and its model …")
    from tarkib.app import server
    from tarkib.app.recognition import Limits

    server.run(
        options.port,
        browser=not options.no_browser,
        label=options.label is not None,
        model=options.model,
        folder=options.label or Path("data/test"),
        limits=Limits(options.max_minutes, options.max_mb),
    )
    return 0
