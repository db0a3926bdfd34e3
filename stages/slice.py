"""Recordings in data.raw, and the orchestra's of other instruments (data.fill) → five-second slices in data/slices."""

from pathlib import Path

from stages import run
from tarkib import params, tables
from tarkib.audio import clips
from tarkib.recordings import finding, folders, slicing
from tarkib.runtime import parallel, versioning
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import DEMO, SLICES


def main() -> None:
    """Find, check, cut and store the recordings; say what was left out and why."""
    settings = params.load()
    root = Path(settings.data.raw)
    roots = tables.Roots(own=root, demo=DEMO / "raw")
    versioning.check_tracked(root)
    content = folders.listing(root)
    recordings = finding.find_all(roots, content, fill=settings.data.fill)
    with atomic_dir(SLICES) as folder:
        jobs = slicing.plan(roots, folder, recordings, settings.slice)
        results = list(
            parallel.map_jobs(
                slicing.slice_recordings, jobs, what="slicing", workers=settings.run.workers, engine=settings.run.engine
            )
        )
        recording_rows, slice_rows = slicing.gather(recordings, results)
        print(*slicing.summary(recording_rows, slice_rows), *finding.remarks(root, content), sep="\n")
        tables.RECORDINGS.write(folder / "recordings.parquet", recording_rows)
        tables.SLICES.write(folder / "slices.parquet", slice_rows)
        clips.check(folder, slice_rows)
        finding.check_unchanged(roots, recordings)


if __name__ == "__main__":
    run(main)
