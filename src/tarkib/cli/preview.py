"""``tarkib preview DATASET``: a page to look at mixtures or slices and to listen to them."""

import argparse
from pathlib import Path

from tqdm import tqdm

from tarkib.cli.options import whole_number
from tarkib.errors import TarkibError
from tarkib.mixing.modes import MODES
from tarkib.runtime.outputs import atomic_file


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "preview",
        help="a page to listen to a data set",
        description="Writes one HTML page that needs no network and no other file: some mixtures of a data set, evenly "
        "spread, with their spectrograms, what they were made of and each component as it sounds in them, and counts "
        "of the whole. Of a folder of slices it shows those, with what was annotated.",
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of mixtures or slices, say data/mixtures")
    parser.add_argument("--out", type=Path, default=Path("preview.html"), metavar="HTML", help="default: %(default)s")
    parser.add_argument("--split", choices=("train", "validation"), help="this one alone (default: both)")
    parser.add_argument("--mode", choices=tuple(MODES), help="that the mixtures must have been made in")
    parser.add_argument(
        "--count", type=whole_number(1), default=12, metavar="N", help="how many to show (default: %(default)s)"
    )
    parser.add_argument(
        "--slices", type=Path, metavar="FOLDER", help="what the mixtures were made of (default: slices beside DATASET)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page and say so."""
    from tarkib.preview import dataset, page

    read = dataset.read(options.dataset, options.split, options.mode, options.slices)
    shown = min(options.count, len(read.rows))
    try:
        with atomic_file(options.out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            for piece in tqdm(page.pieces(read, options.count), total=shown + 2, desc="preview", disable=None):
                file.write(piece)
    except OSError as error:
        raise TarkibError(f"--out {options.out}: cannot be written ({error.strerror}); name another file") from error
    megabytes = options.out.stat().st_size / 1e6
    print(f"{options.out} written: {shown:,} of {len(read.rows):,}, {megabytes:.1f} MB")
    return 0
