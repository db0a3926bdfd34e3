"""How fast Tarkib, the original code and scaper make mixtures, measured in one run on the same slices.

    python -m benchmarks.mixing          # about half an hour; prints, and writes into docs/performance.md

Needs the demo's data/slices (make repro) and what other_mixers.py names. Every run of ours is the mix stage itself,
from its start to its end, its checks included; of the others only the making is timed.
"""

import argparse
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import psutil
import yaml
from threadpoolctl import threadpool_limits

from benchmarks import other_mixers, tables
from benchmarks.other_mixers import Job
from tarkib import audio, params
from tarkib import tables as columns
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore
from tarkib.mixing import recipes, rendering
from tarkib.mixing.recipes import Source
from tarkib.runtime import parallel
from tarkib.vocabulary import INSTRUMENTS

DOCUMENT = Path("docs/performance.md")
SLICES, ANNOTATIONS = Path("data/slices"), Path("data/annotations.parquet")
PAPER = 50_000
"""Mixtures that the paper makes in each mode."""

_OTHERS = 40  # mixtures of each other way, for each core


def _rows() -> tuple[list[dict], list[Source]]:
    """The demo's slices, and its training slices as sources."""
    rows = columns.SLICES.read(SLICES / "slices.parquet")
    annotations = columns.ANNOTATIONS.read(ANNOTATIONS)
    return rows, recipes.join(rows, annotations, columns.RECORDINGS.read(SLICES / "recordings.parquet"))["train"]


def _augment(mode: str, count: int) -> params.Augment:
    return dataclasses.replace(params.load().augment, mode=mode, train_mixtures=count)


@cache
def _run(mode: str, count: int, workers: int) -> dict[str, float]:
    """The mix stage as it runs, its checks too: seconds, and the peak memory in MiB of it and of its largest worker."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        content = yaml.safe_load(Path("params.yaml").read_text())
        content["augment"] |= {"mode": mode, "train_mixtures": count, "validation_mixtures": 1}
        content["run"] |= {"workers": workers, "engine": "local"}
        (project / "params.yaml").write_text(yaml.safe_dump(content))
        (project / "data").mkdir()
        for one in (SLICES, ANNOTATIONS):
            (project / one).symlink_to(one.resolve())
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "DVC_ROOT": name}
        begun = time.perf_counter()
        stage = subprocess.Popen(
            [sys.executable, "-m", "stages.mix"], cwd=project, env=environment, stdout=DEVNULL, stderr=DEVNULL
        )
        peaks: dict[int, float] = {}
        while stage.poll() is None:
            peaks |= {pid: peak for pid in _family(stage.pid) if (peak := _peak_mib(pid))}
            time.sleep(0.1)
        spent = time.perf_counter() - begun
        if stage.returncode:
            raise RuntimeError(f"the mix stage ended with {stage.returncode}; run dvc repro to see why")
    main = peaks.pop(stage.pid)
    return {"s": spent, "main_mib": main, "worker_mib": max(peaks.values(), default=0.0)}


def _family(pid: int) -> list[int]:
    """A process and those that it started."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _peak_mib(pid: int) -> float:
    """Peak memory of a process; getrusage would include its parent's."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


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
        speeds[f"**Tarkib**, `{mode}`"] = count / _run(mode, count, workers)["s"], count
    base = next(iter(speeds.values()))[0]
    lines = [
        [
            title,
            f"{made:,}",
            f"{speed:.2f}" if speed < 10 else f"{speed:.0f}",
            f"{speed / base:.0f}",
            _clock(PAPER / speed),
        ]
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
            other_mixers.write_slice(
                folder / row["instrument"], row["slice_id"], store.read(places[row["slice_id"]].slice)
            )


def _clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def growth_table(counts: Sequence[int], workers: int) -> str:
    """Time and memory against the number of mixtures."""
    lines = []
    for mode in ("random", "dastgah+bpm"):
        for count in counts:
            one = _run(mode, count, workers)
            peaks = (f"{one[name]:.0f}" for name in ("main_mib", "worker_mib"))
            lines.append([f"`{mode}`", f"{count:,}", f"{one['s']:.0f}", f"{1000 * one['s'] / count:.1f}", *peaks])
    memory = ["peak memory, MiB: the stage", "its largest worker"]
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
            samples = store.read(places[row["slice_id"]].slice)
            lufs = float(loudness(torch.from_numpy(samples)[None], audio.SAMPLE_RATE))
            differences[row["instrument"]].append(lufs - audio.decibels(audio.rms(samples)))
    lines = [["mean", *(f"{np.mean(one):+.1f}" for one in differences.values())]]
    lines.append(["deviation", *(f"{np.std(one):.1f}" for one in differences.values())])
    return tables.markdown(["BS.1770 over RMS, dB", *differences], lines)


def main() -> None:
    """Measure, print, and put the tables into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--mixtures", type=int, nargs="+", default=[1_000, 4_000, 16_000], help="of ours; most in each of the modes"
    )
    parser.add_argument("--workers", type=int, default=parallel.available_cores())
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    parts = [
        f"Measured with `python -m benchmarks.mixing` on {options.workers} cores of {tables.machine()}.",
        mixers_table(max(options.mixtures), options.workers),
        profile_table(300),
        growth_table(options.mixtures, options.workers),
        drawing_table(PAPER, 17_000),
        loudness_table(4),
    ]
    text = "\n\n".join(parts)
    tables.report(DOCUMENT, "mixing", text, options.print_only)


if __name__ == "__main__":
    main()
