"""Recordings annotated one by one, for the table of their slices."""

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

SUSPECT_COLUMNS = ("path", *conflicts.Suspect._fields)


@dataclass(frozen=True)
class Job:
    """One recording: its file, what is said of it, and where its slices begin in it, in seconds."""

    root: Path
    path: str
    sha256: str
    labels: Labels
    slice_ids: tuple[str, ...]
    starts_s: tuple[float, ...]
    cache: Cache
    params: Annotate


class Result(NamedTuple):
    """What comes of a job."""

    rows: list[dict]
    """for the table of annotations"""
    conflicts: list[dict]
    """labels in doubt, with `SUSPECT_COLUMNS`"""
    problem: str | None
    """why what was heard could not be kept in the cache"""


def plan(root: Path, recordings: Iterable[dict], slices: Iterable[dict], cache: Cache, params: Annotate) -> list[Job]:
    """One job for each recording that was sliced, the longest first, so that no worker ends long after the others."""
    by_recording = defaultdict(list)
    for row in slices:
        by_recording[row["recording_id"]].append(row)
    jobs = []
    for row in sorted(recordings, key=lambda row: (-(row["seconds"] or 0.0), row["path"])):
        if row["status"] == "ok":
            cut = by_recording[row["recording_id"]]
            labels = Labels(row["instrument"], row["dastgah"], row["tonic_hz"], row["bpm"])
            ids, starts_s = tuple(one["slice_id"] for one in cut), tuple(one["start_s"] for one in cut)
            jobs.append(Job(root, row["path"], row["sha256"], labels, ids, starts_s, cache, params))
    return jobs


def annotate_recording(job: Job) -> Result:
    """Hear a recording, or fetch what was heard of it before, and annotate its slices."""
    file = job.root / job.path

    def hear() -> dict:
        try:
            return evidence.to_arrays(evidence.listen(audio.Stream(file)))
        except (TarkibError, OSError) as error:
            raise TarkibError(
                f"{printable(file)}: {error}; it was sliced before: has it changed since? run dvc repro"
            ) from error

    heard = evidence.from_arrays(job.cache.get_or_make(evidence.key(job.sha256), hear))
    conclusion = conclude(heard, job.labels, job.params)
    annotations = annotate(conclusion, job.starts_s, job.labels, job.params)
    rows = [{"slice_id": name, **asdict(one)} for name, one in zip(job.slice_ids, annotations, strict=True)]
    doubts = conflicts.find(heard, conclusion.tempo, job.labels, job.params.suspect_confidence)
    return Result(rows, [{"path": printable(job.path), **doubt._asdict()} for doubt in doubts], job.cache.problem)


def summary(rows: Sequence[dict], doubts: Sequence[dict], problems: Iterable[str | None], file: Path) -> list[str]:
    """What a person wants to know after annotating: counts, labels in doubt (listed in `file`), and a cache in need."""
    metered = sum(row["bpm"] is not None for row in rows)
    estimated = sum(row["dastgah_source"] == "estimate" for row in rows)
    lines = [f"{len(rows)} slices: {metered} with a tempo, {estimated} with an estimated dastgah"]
    if doubts:
        lines.append(f"{len(doubts)} label(s) to look at, kept as they are, in {file}:")
        lines += [f"  {told(doubt)}" for doubt in doubts[:20]]
        lines += [f"  ... and {len(doubts) - 20} more"] if len(doubts) > 20 else []
    if failed := sorted({problem for problem in problems if problem}):
        lines.append(f"not kept for the next time: {'; '.join(failed)}")
    return lines


def told(doubt: dict) -> str:
    """A suspect in a line."""
    span = f"{clock(doubt['start_s'])} to {clock(doubt['end_s'])}"
    said = f"{doubt['what']} is labelled {doubt['label']}, sounds like {doubt['estimate']}"
    return f"{doubt['path']}, {span}: {said} ({doubt['confidence']:.2f})"
