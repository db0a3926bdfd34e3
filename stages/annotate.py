"""Recordings and their slices → tempo, tonic and dastgah of each slice; labels in doubt."""

from pathlib import Path

import pandas as pd

from stages import ANNOTATIONS, SLICES, SUSPECTS, run
from tarkib import params, tables
from tarkib.annotation import jobs
from tarkib.runtime import parallel, project
from tarkib.runtime.cache import Cache
from tarkib.runtime.outputs import atomic_file


def main() -> None:
    """Annotate recording by recording, since a slice's context tells more than the slice."""
    settings = params.load()
    slice_rows = tables.SLICES.read(SLICES / "slices.parquet")
    recording_rows = tables.RECORDINGS.read(SLICES / "recordings.parquet")
    cache = Cache(project.cache("annotation"))
    cache.sweep()
    work = jobs.plan(Path(settings.data.raw), recording_rows, slice_rows, cache, settings.annotate)
    results = list(
        parallel.map_jobs(
            jobs.annotate_recording, work, what="annotating", workers=settings.run.workers, engine=settings.run.engine
        )
    )
    by_slice = {row["slice_id"]: row for one in results for row in one.rows}
    rows = [by_slice[row["slice_id"]] for row in slice_rows]
    doubts = sorted((doubt for one in results for doubt in one.conflicts), key=lambda doubt: doubt["path"])
    tables.ANNOTATIONS.write(ANNOTATIONS, rows)
    with atomic_file(SUSPECTS) as partial:
        pd.DataFrame(doubts, columns=jobs.SUSPECT_COLUMNS).to_csv(partial, index=False, float_format="%.3f")
    print(*jobs.summary(rows, doubts, (one.problem for one in results), SUSPECTS), sep="\n")


if __name__ == "__main__":
    run(main)
