"""Slices → tempo, tonic and dastgah of each in data/annotations.parquet."""

from stages import ANNOTATIONS, SLICES, run
from tarkib import parallel, params, tables
from tarkib.annotation import jobs


def main() -> None:
    """Annotate recording by recording, since a slice's context tells more than the slice."""
    settings = params.load()
    work = jobs.plan(SLICES, tables.SLICES.read(SLICES / "slices.parquet"), settings.annotate)
    rows = parallel.map_jobs(jobs.annotate_recording, work, what="annotating", workers=settings.run.workers)
    annotations = [row for some in rows for row in some]
    tables.ANNOTATIONS.write(ANNOTATIONS, annotations)
    metered = sum(row["bpm"] is not None for row in annotations)
    estimated = sum(row["dastgah_source"] == "estimate" for row in annotations)
    print(f"{len(annotations)} slices: {metered} with a tempo, {estimated} with an estimated dastgah")


if __name__ == "__main__":
    run(main)
