"""Writes an HTML page to look at a data set and listen to it; it needs no network and no other file.

It shows some mixtures, evenly spread: spectrograms, components, each as it sounds in the mixture, and counts of the
whole. Of a folder of slices it shows those, with their annotations.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from tarkib.cli import written
from tarkib.cli.options import whole_number
from tarkib.mixing.modes import MODES
from tarkib.runtime import project


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of mixtures or slices: data/mixtures")
    parser.add_argument("--out", type=Path, default=Path("preview.html"), metavar="HTML", help="default: %(default)s")
    parser.add_argument("--split", choices=("train", "validation"), help="default: both")
    parser.add_argument("--mode", choices=tuple(MODES), help="only mixtures of this mode")
    parser.add_argument("--count", type=whole_number(1), default=12, metavar="N", help="clips to show; default: 12")


def run(options: argparse.Namespace) -> int:
    """Write the page."""
    project.check_folder(options.dataset, "run dvc repro (or dvc checkout)")
    from tarkib.preview import dataset, page

    read = dataset.read(options.dataset, options.split, options.mode)
    shown = min(options.count, len(read.rows))
    with written.whole(options.out) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        for piece in tqdm(page.pieces(read, options.count), total=shown + 2, desc="preview", disable=None):
            file.write(piece)
    megabytes = options.out.stat().st_size / 1e6
    print(f"{options.out} written: {shown:,} of {len(read.rows):,}, {megabytes:.1f} MB")
    return 0
