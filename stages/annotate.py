"""Recordings and their slices → tempo, tonic and dastgah of each slice; labels that the sound contradicts."""

from pathlib import Path

import pandas as pd

from stages import run
from tarkib import params, tables
from tarkib.annotation import jobs
from tarkib.runtime import parallel, project
from tarkib.runtime.cache import Cache
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.project import ANNOTATIONS, DEMO, SLICES, SUSPECTS


def main() -> None:
    """Annotate by recording, since its whole gives better estimates than a slice alone."""
    settings = params.load()
    slice_rows = tables.SLICES.read(SLICES / "slices.parquet")
    recording_rows = tables.RECORDINGS.read(SLICES / "recordings.parquet")
    roots = tables.Roots(own=Path(settings.data.raw), demo=DEMO / "raw")
    cache = Cache(project.cache("annotation"))
    work = jobs.plan(roots, recording_rows, slice_rows, cache, settings.annotate)
    results = list(
        parallel.map_jobs(
            jobs.annotate_recording, work, what="annotating", workers=settings.run.workers, engine=settings.run.engine
        )
    )
    by_slice = {row["slice_id"]: row for result in results for row in result.rows}
    rows = [by_slice[row["slice_id"]] for row in slice_rows]
    label_conflicts = sorted((row for result in results for row in result.conflicts), key=lambda row: row["path"])
    tables.ANNOTATIONS.write(ANNOTATIONS, rows)
    with atomic_file(SUSPECTS) as partial:
        pd.DataFrame(label_conflicts, columns=jobs.CONFLICT_COLUMNS).to_csv(partial, index=False, float_format="%.3f")
    print(*jobs.summary(rows, label_conflicts, (result.problem for result in results), SUSPECTS), sep="\n")
    print(*jobs.material(slice_rows, rows), sep="\n")


if __name__ == "__main__":
    run(main)
