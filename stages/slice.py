"""Recordings in data.raw → five-second slices in data/slices."""

from pathlib import Path

from stages import SLICES, run
from tarkib import clips, parallel, params, recordings, slicing, tables, versioning
from tarkib.outputs import whole_folder


def main() -> None:
    """Find, check, cut and store the recordings; say what was left out and why."""
    settings = params.load()
    root = Path(settings.data.raw)
    versioning.check(root)
    found = recordings.find(root)
    with whole_folder(SLICES) as folder:
        jobs = slicing.plan(root, folder, found, settings.slice)
        results = list(
            parallel.map_jobs(
                slicing.slice_recordings, jobs, what="slicing", workers=settings.run.workers, engine=settings.run.engine
            )
        )
        recording_rows, slice_rows = slicing.gather(found, results)
        print(*slicing.summary(recording_rows, slice_rows), *recordings.remarks(root), sep="\n")
        tables.RECORDINGS.write(folder / "recordings.parquet", recording_rows)
        tables.SLICES.write(folder / "slices.parquet", slice_rows)
        clips.check(folder, slice_rows)
        recordings.check_unchanged(root, found)


if __name__ == "__main__":
    run(main)
