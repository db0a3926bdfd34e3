"""How often annotations are right, and whether their confidences can be believed.

    python -m benchmarks.annotation_accuracy            # prints the tables, and writes them into docs/annotation.md

On (a) solos of the demo orchestra, of seeds that nothing was fitted to, and its drummers in six rhythm cycles; (b) real
recordings with annotated tempi; (c) real recordings with annotated dastgah and shahed. Beside it, librosa: `beat_track`
on each five-second slice, and 24-bin constant-Q chroma correlated with the scales: the way of the research code that
this project follows.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks import accuracy_tables, known, measured, tables
from tarkib.runtime import parallel

SEEDS = (11, 12, 13)
"""Seeds of the orchestras in the report; no value was fitted or chosen on them."""

DOCUMENT = Path("docs/annotation.md")


def main() -> None:
    """Measure everything, print it, and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=known.REAL, help="folder of real recordings with a manifest.csv")
    parser.add_argument("--performers", type=int, default=3, help="of each instrument of an orchestra")
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    parser.add_argument("--without-librosa", action="store_true", help="in half the time, without its rows")
    options = parser.parse_args()
    real = known.of_folder(options.audio)
    if not real and not options.print_only:
        sys.exit(f"{options.audio}: no manifest.csv there, so the document would lose half its figures; --print-only")
    makers = known.of_orchestra, known.of_drummers
    everything = [one for make in makers for seed in SEEDS for one in make(seed, options.performers)] + real
    found = list(
        parallel.map_jobs(
            partial(measured.measure, with_librosa=not options.without_librosa), everything, what="measuring"
        )
    )
    text = accuracy_tables.report(found, SEEDS)
    print(text)
    if not options.print_only:
        tables.fill(DOCUMENT, "accuracy", text)


if __name__ == "__main__":
    main()
