"""Values of options that several subcommands read."""

import argparse
import math
from collections.abc import Callable


def whole_number(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least `least`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least {least}")
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Reads a number between `low` and `high`, both included."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r}: give a number between {low:g} and {high:g}")
        return value

    return parse


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare ``--model``."""
    source = (
        "a classifier's folder, a model of MLflow (models:/tarkib@best) or one of the Hugging Face hub "
        "(hf://owner/name); default: %(default)s"
    )
    parser.add_argument("--model", default="models/classifier", metavar="MODEL", help=source)
