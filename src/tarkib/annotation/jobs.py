"""Annotating recordings one by one, for the table of their slices."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from tarkib import audio
from tarkib.annotation import evidence
from tarkib.annotation.conclusion import Conflict, Labels, annotate, conclude, conflicts
from tarkib.errors import TarkibError
from tarkib.params import Annotate
from tarkib.runtime.cache import Cache
from tarkib.runtime.text import clock, counted, printable
from tarkib.tables import Roots
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION

_SPLITS = ("train", "validation")

CONFLICT_COLUMNS = ("origin", "path", *Conflict._fields)

_PRINTED = 20  # conflicts


@dataclass(frozen=True)
class Job:
    """One recording: its row and file, its labels, and where its slices begin in it, by their ids."""

    row: dict
    file: Path
    labels: Labels
    starts_s: dict[str, float]
    cache: Cache
    params: Annotate


class Result(NamedTuple):
    """Rows of one recording: for the annotations, contradicted labels, and why its evidence could not be cached."""

    rows: list[dict]
    conflicts: list[dict]
    problem: str | None


def plan(roots: Roots, recordings: Iterable[dict], slices: Iterable[dict], cache: Cache, params: Annotate) -> list[Job]:
    """One job for each sliced recording, the longest first, so that no worker ends long after the others."""
    starts_s: dict[str, dict[str, float]] = defaultdict(dict)
    for row in slices:
        starts_s[row["recording_id"]][row["slice_id"]] = row["start_s"]
    jobs = []
    for row in sorted(recordings, key=lambda row: (-(row["seconds"] or 0.0), row["path"])):
        if row["status"] == "ok":
            labels = Labels(*(row[name] for name in Labels._fields))
            jobs.append(Job(row, roots.file(row), labels, starts_s[row["recording_id"]], cache, params))
    return jobs


def annotate_recording(job: Job) -> Result:
    """Annotate the slices of a recording; its evidence comes from the cache if it is there."""

    def extract() -> dict:
        try:
            return evidence.to_arrays(evidence.extract(audio.Stream(job.file)))
        except (TarkibError, OSError) as error:
            raise TarkibError(
                f"{printable(job.file)}: {error}; the file may have changed since it was sliced: run dvc repro"
            ) from error

    recording = evidence.from_arrays(job.cache.get_or_make(evidence.key(job.row["sha256"]), extract))
    conclusion = conclude(recording, job.labels, job.params)
    annotations = annotate(conclusion, list(job.starts_s.values()), job.labels, job.params)
    rows = [{"slice_id": slice_id, **asdict(row)} for slice_id, row in zip(job.starts_s, annotations, strict=True)]
    found = conflicts(recording, conclusion, job.labels, job.params)
    place = {"origin": job.row["origin"], "path": printable(job.row["path"])}
    return Result(rows, [{**place, **one._asdict()} for one in found], job.cache.problem)


def material(slices: Sequence[dict], rows: Iterable[dict]) -> list[str]:
    """A table of the slices that can be mixed, by instrument.

    `rows` are the annotations of the slices.
    """
    dastgahs = {row["slice_id"]: row["dastgah"] for row in rows}
    every = Counter((row["split"], row["instrument"]) for row in slices)
    known = Counter((row["split"], row["instrument"]) for row in slices if dastgahs[row["slice_id"]])
    lines = [f"{'slices to mix':<14}{'training':>10}{'with dastgah':>14}{'validation':>12}{'with dastgah':>14}"]
    for name in INSTRUMENTS:
        cells = [(every[split, name], "any" if name in PERCUSSION else known[split, name]) for split in _SPLITS]
        if any(count for count, _ in cells):
            lines.append(f"{name:<14}{cells[0][0]:>10}{cells[0][1]:>14}{cells[1][0]:>12}{cells[1][1]:>14}")
    lines.append("modes other than random mix only slices with a dastgah; percussion needs none")
    lines.append("an instrument with 0 is left out of random, too, unless augment.comparable is false")
    return lines


def summary(
    rows: Sequence[dict], label_conflicts: Sequence[dict], problems: Iterable[str | None], file: Path
) -> list[str]:
    """Lines to print after annotating: counts, contradicted labels (listed in `file`), problems of the cache."""
    metered = sum(row["bpm"] is not None for row in rows)
    estimated = sum(row["dastgah_source"] == "estimate" for row in rows)
    lines = [f"{counted(len(rows), 'slice')}: {metered} with a tempo, {estimated} with an estimated dastgah"]
    if label_conflicts:
        lines.append(f"{counted(len(label_conflicts), 'label')} to check, kept unchanged, in {file}:")
    for row in label_conflicts[:_PRINTED]:
        span = f"{clock(row['start_s'])} to {clock(row['end_s'])}"
        labelled = f"{row['what']} is labelled {row['label']}, sounds like {row['estimate']}"
        file = row["path"] + " (synthetic)" * (row["origin"] == "demo")
        lines.append(f"  {file}, {span}: {labelled} ({row['confidence']:.2f})")
    if len(label_conflicts) > _PRINTED:
        lines.append(f"  ... and {len(label_conflicts) - _PRINTED} more")
    if failed := sorted({problem for problem in problems if problem}):
        lines.append(f"not cached for the next run: {'; '.join(failed)}")
    return lines
