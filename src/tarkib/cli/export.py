"""``tarkib export SOURCE --to FORMAT OUT``: mixtures or slices for other training code, classifiers as ONNX."""

import argparse
from pathlib import Path

from tarkib.export import FORMATS, export

_ONNX = "onnx"


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "export",
        help="mixtures or slices as audiofolder, WebDataset or parquet; a classifier as ONNX",
        description="Writes a folder of mixtures or slices as other training code reads it, with a dataset card: the "
        "FLAC files are copied as they are, so what is exported is bit for bit what is trained on. Or writes a "
        "classifier as ONNX, and checks that onnxruntime gives what PyTorch gives.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of mixtures or slices, data/mixtures say; for onnx a classifier's folder, or what MLflow has, "
        "models:/tarkib@best say",
    )
    parser.add_argument(
        "--to",
        choices=(*FORMATS, _ONNX),
        required=True,
        help="audiofolder: FLAC files and metadata.jsonl; webdataset: tar shards; parquet: the Hub's own; onnx: a "
        "classifier",
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make; for onnx the file")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT, with all that is in it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export, and tell what was written and how to load it."""
    if options.to == _ONNX:
        from tarkib.export import onnx

        model = onnx.export(options.source, options.out, overwrite=options.overwrite)
        print(
            f"{options.out}: {model.size / 2**20:.1f} MiB; on {model.clips} clips its logits are within "
            f"{model.difference:.1e} of PyTorch's"
        )
        print(f"load it with: onnxruntime.InferenceSession({str(options.out)!r})")
        return 0
    written = export(options.source, options.to, options.out, overwrite=options.overwrite)
    print(f"{options.out}: {written.clips} clips, {written.size / 2**20:.1f} MiB")
    print(f"load it with: {written.loading}")
    return 0
