"""Writes a folder of mixtures or slices as other training code reads it, or a classifier as ONNX.

FLAC files are copied as they are, so that exported sound is bit for bit what is trained on, and a dataset card is
added. For ONNX, the output of onnxruntime is compared with PyTorch's.
"""

import argparse
from pathlib import Path

from tarkib.export import FORMATS, export
from tarkib.runtime import project
from tarkib.runtime.text import counted

_ONNX = "onnx"


def declare(parser: argparse.ArgumentParser) -> None:
    source = "folder of mixtures or slices; for onnx a classifier's folder or a model of MLflow (models:/tarkib@best)"
    parser.add_argument("source", metavar="SOURCE", help=source)
    formats = "audiofolder: FLAC files and metadata.parquet; webdataset: tar shards; parquet: the Hub's own"
    parser.add_argument("--to", choices=(*FORMATS, _ONNX), required=True, help=formats)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to make; for onnx the file")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT, with all that is in it")


def run(options: argparse.Namespace) -> int:
    """Export, and print what was written and how to load it."""
    if options.to == _ONNX:
        project.model_folder(options.source)  # raises before torch is loaded
        from tarkib.export import onnx

        model = onnx.export(options.source, options.out, overwrite=options.overwrite)
        size, loading = model.size, f"onnxruntime.InferenceSession({str(options.out)!r})"
        content = f"on {counted(model.clips, 'clip')} its logits are within {model.difference:.1e} of PyTorch's"
    else:
        written = export(options.source, options.to, options.out, overwrite=options.overwrite)
        size, loading, content = written.size, written.loading, counted(written.clips, "clip")
    print(f"{options.out}: {content}, {size / 2**20:.1f} MiB\nload it with: {loading}")
    return 0
