"""How fast mixtures are made, beside the original's way and scaper, in one run on the same slices.

    python -m benchmarks.mixing          # about half an hour; prints, and writes into docs/performance.md

Needs the demo's data/slices (make repro) and what other_mixers.py names. Every run of ours is a process of its own, as
the stage is, timed with its start and that of its workers; of the others only the making is timed.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import other_mixers, tables
from benchmarks.other_mixers import Job
from tarkib import audio, clips, parallel, params
from tarkib import tables as columns
from tarkib.clips import ClipStore
from tarkib.mixing import material, recipes, rendering
from tarkib.mixing.material import Source
from tarkib.vocabulary import INSTRUMENTS

DOCUMENT = Path("docs/performance.md")
SLICES = Path("data/slices")
PAPER = 50_000
"""Mixtures that the paper makes in each mode."""

_OTHERS = 40  # mixtures of each other way, for each core


def _rows() -> tuple[list[dict], list[Source]]:
    """The demo's slices, and its training slices as sources."""
    rows = columns.SLICES.read(SLICES / "slices.parquet")
    return rows, material.join(rows, columns.ANNOTATIONS.read("data/annotations.parquet"))["train"]


def _augment(mode: str, count: int) -> params.Augment:
    return dataclasses.replace(params.load().augment, mode=mode, train_mixtures=count)


def _peak_mib() -> float:
    """Peak memory of this process. Not getrusage: what it says of a child begins with its parent's peak."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def _render(job: rendering.Job) -> tuple[list[dict], float]:
    return rendering.render_shard(job), _peak_mib()


def one_run(mode: str, count: int, workers: int) -> dict:
    """Draw and render so many mixtures as the stage does: seconds, and the peak memory of each process in MiB."""
    rows, sources = _rows()
    begun = time.perf_counter()
    mixtures, components = recipes.draw("train", sources, _augment(mode, count))
    drawn = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        jobs = rendering.plan(Path(folder), SLICES, mixtures, components, rows)
        done = list(parallel.map_jobs(_render, jobs, what="mixing", workers=workers))
        columns.MIXTURES.write(Path(folder) / "mixtures.parquet", [row for some, _ in done for row in some])
        columns.COMPONENTS.write(Path(folder) / "components.parquet", components)
        rendered = time.perf_counter()
    return {
        "draw_s": drawn - begun,
        "all_s": rendered - begun,
        "peaks_mib": [_peak_mib(), max(peak for _, peak in done)],
    }


def _run(mode: str, count: int, workers: int) -> dict:
    """`one_run` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.mixing", "--one", mode, str(count), "--workers", str(workers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def mixers_table(count: int, workers: int) -> str:
    """Mixtures a second of every way on all cores."""
    rows, sources = _rows()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "slices"
        speeds = {}
        for title, mode, other in (
            ("the original's recipe: MP3, `beat_track`, rubberband, MP3", "dastgah+bpm", other_mixers.original),
            ("the same without processes of ffmpeg, 24 kHz mono", "dastgah+bpm", other_mixers.original_in_process),
            ("scaper, stretching", "dastgah+bpm", other_mixers.scaper),
            ("scaper, as recorded", "random", other_mixers.scaper),
        ):
            _, components = recipes.draw("train", sources, _augment(mode, workers * _OTHERS))
            some = list(map(tuple, rendering.by_mixture(components).values()))
            _as_files(folder, rows, components)
            jobs = [Job(folder, tuple(some[i::workers])) for i in range(workers)]
            each = list(parallel.map_jobs(other, jobs, what=title, workers=workers))
            speeds[title] = sum(each), len(some)
    for mode in params.MODES:
        speeds[f"**Tarkib**, `{mode}`"] = count / _run(mode, count, workers)["all_s"], count
    base = next(iter(speeds.values()))[0]
    lines = [
        [title, made, f"{speed:.2f}" if speed < 10 else f"{speed:.0f}", f"{speed / base:.0f}", _clock(PAPER / speed)]
        for title, (speed, made) in speeds.items()
    ]
    return tables.markdown(
        [f"on {workers} cores", "mixtures made", "mixtures a second", "times the original", f"{PAPER:,} take"], lines
    )


def _as_files(folder: Path, rows: Sequence[dict], components: Sequence[dict]) -> None:
    """The slices that are needed as files, by instrument."""
    places = rendering.places(rows)
    with ClipStore(SLICES) as store:
        for row in components:
            other_mixers.write_slice(folder / row["instrument"], row["slice_id"], store.read(places[row["slice_id"]]))


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def growth_table(counts: Sequence[int], workers: int) -> str:
    """Time and memory against the number of mixtures."""
    lines = []
    for mode in ("random", "dastgah+bpm"):
        for count in counts:
            one = _run(mode, count, workers)
            lines.append(
                [f"`{mode}`", f"{count:,}", f"{one['all_s']:.0f}", f"{1000 * one['all_s'] / count:.1f}"]
                + [f"{peak:.0f}" for peak in one["peaks_mib"]]
            )
    memory = ["peak memory, MiB: main process", "each worker"]
    return tables.markdown([f"mode, on {workers} cores", "mixtures", "s", "ms a mixture", *memory], lines)


def drawing_table(count: int, slices: int) -> str:
    """Seconds to draw the paper's recipes on one core, and how evenly slices are used."""
    _, some = _rows()
    sources = [
        dataclasses.replace(one, slice_id=f"{copy}{one.slice_id}")
        for copy in range(-(-slices // len(some)))
        for one in some
    ][:slices]
    lines = []
    for mode in params.MODES:
        with threadpool_limits(1):
            begun = time.perf_counter()
            _, components = recipes.draw("train", sources, _augment(mode, count))
            spent = time.perf_counter() - begun
        ids, uses = np.unique([row["slice_id"] for row in components], return_counts=True)
        lines.append([f"`{mode}`", f"{spent:.1f}", f"{len(components) / slices:.1f}", uses.max(), slices - len(ids)])
    header = [
        f"{count:,} recipes from {slices:,} slices, one core",
        "s",
        "uses of a slice: mean",
        "most",
        "unused slices",
    ]
    return tables.markdown(header, lines)


@contextmanager
def _timing(*names: tuple[object, str]) -> Iterator[dict[str, float]]:
    """Seconds spent in some functions, given as (module, name), while inside."""
    spent = {name: 0.0 for _, name in names}
    whole = {(owner, name): getattr(owner, name) for owner, name in names}

    def timed(name: str, function: object) -> object:
        def call(*args: object, **kwargs: object) -> object:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - begun

        return call

    for (owner, name), function in whole.items():
        setattr(owner, name, timed(name, function))
    try:
        yield spent
    finally:
        for (owner, name), function in whole.items():
            setattr(owner, name, function)


def profile_table(count: int) -> str:
    """Where the time of a mixture goes, on one core."""
    rows, sources = _rows()
    lines = []
    for mode in params.MODES:
        mixtures, components = recipes.draw("train", sources, _augment(mode, count))
        with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
            jobs = rendering.plan(Path(folder), SLICES, mixtures, components, rows)
            with _timing((clips, "decode"), (rendering, "stretch"), (clips, "encode")) as spent:
                begun = time.perf_counter()
                for job in jobs:
                    rendering.render_shard(job)
                whole = time.perf_counter() - begun
        rest = whole - sum(spent.values())
        stretched = sum(row["stretch"] != 1.0 for row in components) / len(components)
        lines.append(
            [f"`{mode}`", *(f"{1000 * one / count:.1f}" for one in (whole, *spent.values(), rest)), f"{stretched:.0%}"]
        )
    header = ["ms a mixture, one core", "all", "decode FLAC", "stretch", "encode FLAC", "sum, levels, tar", "stretched"]
    return tables.markdown(header, lines)


def loudness_table(step: int) -> str:
    """How far ITU-R BS.1770 loudness and RMS differ on the slices: mean and deviation by instrument, in dB."""
    import torch
    from torchaudio.functional import loudness

    rows, _ = _rows()
    differences: dict[str, list[float]] = {name: [] for name in INSTRUMENTS}
    places = rendering.places(rows)
    with ClipStore(SLICES) as store:
        for row in rows[::step]:
            samples = store.read(places[row["slice_id"]])
            lufs = float(loudness(torch.from_numpy(samples)[None], audio.SAMPLE_RATE))
            differences[row["instrument"]].append(lufs - audio.decibels(audio.rms(samples)))
    lines = [["mean", *(f"{np.mean(one):+.1f}" for one in differences.values())]]
    lines.append(["deviation", *(f"{np.std(one):.1f}" for one in differences.values())])
    return tables.markdown(["BS.1770 over RMS, dB", *differences], lines)


def main() -> None:
    """Measure, print, and put the tables into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mixtures", type=int, default=4_000, help="of each of our modes")
    parser.add_argument("--growth", type=int, nargs="+", default=[1_000, 4_000, 16_000])
    parser.add_argument("--workers", type=int, default=parallel.available_cores())
    parser.add_argument("--one", nargs=2, metavar=("MODE", "COUNT"), help="one run, told as JSON")
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one_run(options.one[0], int(options.one[1]), options.workers)))
        return
    parts = [
        f"Measured with `python -m benchmarks.mixing` on {options.workers} cores of {tables.machine()}.",
        mixers_table(options.mixtures, options.workers),
        profile_table(300),
        growth_table(options.growth, options.workers),
        drawing_table(PAPER, 17_000),
        loudness_table(4),
    ]
    text = "\n\n".join(parts)
    print(text)
    if not options.print_only:
        tables.fill(DOCUMENT, "mixing", text)


if __name__ == "__main__":
    main()
