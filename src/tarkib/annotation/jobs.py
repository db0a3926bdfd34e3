"""Annotating recordings one by one, for the table of their slices."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from tarkib import audio
from tarkib.annotation import conflicts, evidence
from tarkib.annotation.conclusion import annotate, conclude
from tarkib.annotation.labels import Labels
from tarkib.errors import TarkibError
from tarkib.params import Annotate
from tarkib.runtime.cache import Cache
from tarkib.runtime.text import clock, printable

CONFLICT_COLUMNS = ("path", *conflicts.Conflict._fields)

_PRINTED = 20  # conflicts


@dataclass(frozen=True)
class Job:
    """One recording: its file, its labels, and where its slices begin in it, in seconds."""

    root: Path
    path: str
    sha256: str
    labels: Labels
    slice_ids: tuple[str, ...]
    starts_s: tuple[float, ...]
    cache: Cache
    params: Annotate


class Result(NamedTuple):
    """Rows of one recording."""

    rows: list[dict]
    """for the table of annotations"""
    conflicts: list[dict]
    """contradicted labels, with `CONFLICT_COLUMNS`"""
    problem: str | None
    """why the evidence could not be cached"""


def plan(root: Path, recordings: Iterable[dict], slices: Iterable[dict], cache: Cache, params: Annotate) -> list[Job]:
    """One job for each sliced recording, the longest first, so that no worker ends long after the others."""
    by_recording = defaultdict(list)
    for row in slices:
        by_recording[row["recording_id"]].append(row)
    jobs = []
    for row in sorted(recordings, key=lambda row: (-(row["seconds"] or 0.0), row["path"])):
        if row["status"] == "ok":
            cut = by_recording[row["recording_id"]]
            labels = Labels(row["instrument"], row["dastgah"], row["tonic_hz"], row["bpm"])
            slice_ids, starts_s = (tuple(slice_row[name] for slice_row in cut) for name in ("slice_id", "start_s"))
            jobs.append(Job(root, row["path"], row["sha256"], labels, slice_ids, starts_s, cache, params))
    return jobs


def annotate_recording(job: Job) -> Result:
    """Annotate the slices of a recording; its evidence comes from the cache if it is there."""
    file = job.root / job.path

    def extract() -> dict:
        try:
            return evidence.to_arrays(evidence.extract(audio.Stream(file)))
        except (TarkibError, OSError) as error:
            raise TarkibError(
                f"{printable(file)}: {error}; the file may have changed since it was sliced: run dvc repro"
            ) from error

    recording = evidence.from_arrays(job.cache.get_or_make(evidence.key(job.sha256), extract))
    conclusion = conclude(recording, job.labels, job.params)
    annotations = annotate(conclusion, job.starts_s, job.labels, job.params)
    rows = [
        {"slice_id": slice_id, **asdict(annotation)}
        for slice_id, annotation in zip(job.slice_ids, annotations, strict=True)
    ]
    label_conflicts = conflicts.find(recording, conclusion.tempo, job.labels, job.params.suspect_confidence)
    path = printable(job.path)
    return Result(rows, [{"path": path, **conflict._asdict()} for conflict in label_conflicts], job.cache.problem)


def summary(
    rows: Sequence[dict], label_conflicts: Sequence[dict], problems: Iterable[str | None], file: Path
) -> list[str]:
    """Lines to print after annotating: counts, contradicted labels (listed in `file`), problems of the cache."""
    metered = sum(row["bpm"] is not None for row in rows)
    estimated = sum(row["dastgah_source"] == "estimate" for row in rows)
    lines = [f"{len(rows)} slices: {metered} with a tempo, {estimated} with an estimated dastgah"]
    if label_conflicts:
        lines.append(f"{len(label_conflicts)} label(s) to check, kept unchanged, in {file}:")
        lines += [f"  {_line(conflict)}" for conflict in label_conflicts[:_PRINTED]]
        if len(label_conflicts) > _PRINTED:
            lines.append(f"  ... and {len(label_conflicts) - _PRINTED} more")
    if failed := sorted({problem for problem in problems if problem}):
        lines.append(f"not cached for the next run: {'; '.join(failed)}")
    return lines


def _line(conflict: dict) -> str:
    span = f"{clock(conflict['start_s'])} to {clock(conflict['end_s'])}"
    labelled = f"{conflict['what']} is labelled {conflict['label']}, sounds like {conflict['estimate']}"
    return f"{conflict['path']}, {span}: {labelled} ({conflict['confidence']:.2f})"
