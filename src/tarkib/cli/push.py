"""Publishes a classifier on the Hugging Face hub: configuration, weights (safetensors) and model card.

`tarkib predict --model hf://owner/name` and `Recogniser.load("hf://owner/name")` use it from there. Call
`hf auth login` once before. What the weights' licence asks for is in the model card.
"""

import argparse
from pathlib import Path


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a classifier, such as models/classifier")
    parser.add_argument("address", metavar="ADDRESS", help="hf://owner/name")
    parser.add_argument("--private", action="store_true", help="make a new repository for its owner alone")


def run(options: argparse.Namespace) -> int:
    """Upload and print where it is."""
    from tarkib.recognition import hub  # torch takes seconds to load

    print(hub.upload(options.folder, options.address, private=options.private))
    return 0
