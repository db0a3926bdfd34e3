"""``tarkib export DATASET --to FORMAT OUT``: mixtures or slices for other people's training code."""

import argparse
from pathlib import Path

from tarkib.export import FORMATS, export


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "export",
        help="mixtures or slices as audiofolder, WebDataset or parquet",
        description="Writes a folder of mixtures or slices as other training code reads it, with a dataset card. The "
        "FLAC files are copied as they are: what is exported is bit for bit what is trained on.",
    )
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of mixtures or slices, data/mixtures say")
    parser.add_argument(
        "--to",
        choices=tuple(FORMATS),
        required=True,
        help="audiofolder: FLAC files and metadata.jsonl; webdataset: tar shards; parquet: the Hub's own",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT, with all that is in it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export, and tell what was written and how to load it."""
    written = export(options.dataset, options.to, options.out, overwrite=options.overwrite)
    print(f"{options.out}: {written.clips} clips, {written.size / 2**20:.1f} MiB")
    print(f"load it with: {written.loading}")
    return 0
