"""Checks that a data set of mixtures keeps what its mode promises, by all its tables and the sound of some of them.

Checked are labels, splits, stretches and gains; that each clip is what its rows give; and that each component is as
fast and as high as its row says. The mix stage does the same before it keeps anything.
"""

import argparse
import sys
from pathlib import Path

from tarkib.cli.options import whole_number
from tarkib.runtime import project
from tarkib.runtime.text import counted


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="data/mixtures; slices and annotations beside it")
    listen = "mixtures to measure; default: %(default)s"
    parser.add_argument("--listen", type=whole_number(0), default=100, metavar="N", help=listen)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="YAML", help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Print every broken promise; 1 where there is one."""
    folder = options.dataset
    beside = folder.resolve().parent
    slices = beside / "slices"
    project.check_folder(folder, "run dvc repro (or dvc checkout)")
    # Once there is something to check: they take a second to load.
    from tarkib import params, tables
    from tarkib.audio.clips import ClipStore
    from tarkib.mixing import measurement, rendering, verification

    augment = params.load(options.params).augment
    slice_rows = tables.SLICES.read(slices / "slices.parquet")
    annotations = tables.ANNOTATIONS.read(beside / "annotations.parquet")
    mixtures = tables.MIXTURES.read(folder / "mixtures.parquet")
    components = tables.COMPONENTS.read(folder / "components.parquet")
    defects = verification.verify(mixtures, components, annotations, slice_rows, augment)
    modes = ", ".join(sorted({row["mode"] for row in mixtures}))
    broken = counted(len(defects), "broken promise")
    print(f"{folder}: {counted(len(mixtures), 'mixture')} of mode {modes} by their tables: {broken}")
    if not defects and options.listen:
        with ClipStore(slices) as store:
            some = tables.spread(mixtures, options.listen)
            renderer = rendering.Renderer(store, rendering.places(slice_rows))
            measured = measurement.measure(folder, renderer, some, components, augment)
        defects = measured.defects
        print(measured.summary())
    for one in defects:
        print(f"{one.mixture_id or folder}: {one.promise}: {one.sentence}", file=sys.stderr)
    return int(bool(defects))
