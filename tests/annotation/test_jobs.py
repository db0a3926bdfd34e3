import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write
from solos import clicks, hiss, solo

from tarkib.annotation import evidence, jobs
from tarkib.annotation.conclusion import Labels
from tarkib.errors import TarkibError
from tarkib.params import Annotate, Slice
from tarkib.recordings import finding, slicing
from tarkib.runtime import parallel
from tarkib.runtime.cache import Cache
from tarkib.tables import Roots

CUTTING = Slice(1, 3.0, -50.0, None, 0.0)


def sliced(root: Path, folder: Path, cutting: Slice = CUTTING) -> tuple[list[dict], list[dict]]:
    """Rows of a folder's recordings and slices."""
    found = finding.find(root)
    folder.mkdir(exist_ok=True)
    results = [slicing.slice_recordings(job) for job in slicing.plan(Roots(root, root), folder, found, cutting)]
    return slicing.gather(found, results)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six recordings of several kinds, one of them labelled wrongly."""
    folder = tmp_path_factory.mktemp("raw")
    write(folder / "tar/shur/a.flac", solo("shur", 220.0, 100.0, seconds=33.0))
    write(folder / "tar/mahur/wrong.flac", solo("chahargah", 220.0, 100.0, seconds=45.0, seed=3))
    write(folder / "setar/b.flac", solo("homayoun", 233.0, None, seconds=25.0, seed=1))
    write(folder / "ney/c.flac", np.concatenate([np.zeros(300_000, np.float32), solo("nava", 311.0, 80.0, 20.0)]))
    write(folder / "daf/d.flac", clicks(90.0, 18.0))
    write(folder / "tonbak/e.flac", hiss(6.0, 0.1))
    return folder


@pytest.fixture
def planned(root, tmp_path):
    """Plan jobs for that folder, with a cache of their own: `planned()`."""

    def plan(cache: str = "cache", cutting: Slice = CUTTING, settings: Annotate | None = None) -> list[jobs.Job]:
        rows = sliced(root, tmp_path / "slices", cutting)
        return jobs.plan(Roots(root, root), *rows, Cache(tmp_path / cache), settings or Annotate())

    return plan


def annotated(work: list[jobs.Job]) -> list[jobs.Result]:
    return list(map(jobs.annotate_recording, work))


def all_rows(results: list[jobs.Result]) -> dict[str, dict]:
    return {row["slice_id"]: row for result in results for row in result.rows}


@pytest.fixture(scope="module")
def once(root, tmp_path_factory) -> list[jobs.Result]:
    """Results of all jobs, computed alone."""
    folder = tmp_path_factory.mktemp("once")
    return annotated(jobs.plan(Roots(root, root), *sliced(root, folder), Cache(folder / "cache"), Annotate()))


@pytest.fixture
def extractions(monkeypatch) -> list[int]:
    """Grows with each recording that is analysed."""
    extract, calls = evidence.extract, []
    monkeypatch.setattr(evidence, "extract", lambda blocks: calls.append(1) or extract(blocks))
    return calls


def test_every_slice_is_annotated_once_the_longest_recordings_first(planned, once):
    work = planned()
    names = "tar/mahur/wrong tar/shur/a ney/c setar/b daf/d tonbak/e"
    assert [job.row["path"] for job in work] == [f"{name}.flac" for name in names.split()]
    assert [len(job.starts_s) for job in work] == [9, 7, 4, 5, 4, 1]
    assert len(all_rows(once)) == 30


@pytest.mark.slow
def test_results_do_not_depend_on_workers_or_on_other_jobs_and_slices(planned, once):
    many = list(parallel.map_jobs(jobs.annotate_recording, planned("2"), what="annotating", workers=2))
    assert [result[:2] for result in many] == [result[:2] for result in once]
    assert jobs.annotate_recording(planned("alone")[3]) == once[3]
    few = all_rows(annotated(planned("few", replace(CUTTING, max_per_recording=2))))
    assert 6 < len(few) < 30
    assert few.items() <= all_rows(once).items()


@pytest.mark.slow
def test_cached_evidence_is_used_if_it_is_whole(planned, once, tmp_path, extractions):
    assert annotated(planned()) == once
    extractions.clear()
    assert annotated(planned()) == once
    # Evidence depends neither on labels nor on parameters.
    work = planned(settings=replace(Annotate(), prior_bpm=70.0))
    job = next(job for job in work if job.row["path"] == "tar/shur/a.flac")
    jobs.annotate_recording(replace(job, labels=Labels("tar", "segah", 200.0, 90.0)))
    assert extractions == []
    for i, entry in enumerate(sorted((tmp_path / "cache").rglob("*.npz"))):
        entry.write_bytes(entry.read_bytes()[: i * 300])
    assert annotated(planned()) == once
    assert len(extractions) == 6


def test_adding_a_recording_analyses_that_one_alone(planned, once, root, tmp_path, extractions):
    annotated(planned())
    extractions.clear()
    more = tmp_path / "more"
    shutil.copytree(root, more)
    write(more / "santur/f.flac", solo("segah", 300.0, 120.0, seconds=12.0))
    work = jobs.plan(Roots(more, more), *sliced(more, tmp_path / "slices"), Cache(tmp_path / "cache"), Annotate())
    after = all_rows(annotated(work))
    assert len(extractions) == 1
    assert len(after) == 32
    assert all_rows(once).items() <= after.items()


def test_a_full_disk_costs_the_cache_and_is_reported(planned, once, tmp_path):
    (tmp_path / "full").write_text("no room for a folder")
    results = annotated(planned("full"))
    assert [result[:2] for result in results] == [result[:2] for result in once]
    last = jobs.summary([], [], (result.problem for result in results), Path("suspects.csv"))[-1]
    assert last.startswith("not cached for the next run: ")
    assert str(tmp_path / "full") in last


@pytest.mark.slow
def test_several_processes_may_share_a_cache(planned, once, root, tmp_path):
    """Two stages at once, as two experiments are, one of them killed on the way."""
    rows = sliced(root, tmp_path / "slices")
    (tmp_path / "rows.py").write_text(f"rows = {rows!r}")
    code = """
import os, signal, sys
from pathlib import Path
from tarkib.annotation import jobs
from tarkib.runtime.cache import Cache
from tarkib.params import Annotate
from tarkib.tables import Roots
sys.path.insert(0, sys.argv[1])
from rows import rows
roots = Roots(Path(sys.argv[2]), Path())
for number, job in enumerate(jobs.plan(roots, *rows, Cache(Path(sys.argv[1]) / "shared"), Annotate())):
    if number == int(sys.argv[3]):
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    jobs.annotate_recording(job)
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(root), number]) for number in ("99", "3")]
    assert both[0].wait() == 0
    assert both[1].wait() in (0, -9)
    assert [result[:2] for result in annotated(planned("shared"))] == [result[:2] for result in once]


def test_contradicted_labels_are_reported_and_kept(planned, tmp_path):
    results = annotated(planned(settings=Annotate(suspect_confidence=0.8)))
    label_conflicts = [conflict for result in results for conflict in result.conflicts]
    (conflict,) = label_conflicts
    assert tuple(conflict) == ("origin", "path", "what", "start_s", "end_s", "label", "estimate", "confidence")
    assert (conflict["path"], conflict["label"], conflict["estimate"]) == ("tar/mahur/wrong.flac", "mahur", "chahargah")
    assert {row["dastgah"] for row in results[0].rows} == {"mahur"}
    lines = jobs.summary(list(all_rows(results).values()), label_conflicts, [None], tmp_path / "suspects.csv")
    assert lines[0].startswith("30 slices: ")
    assert "tar/mahur/wrong.flac, 0:00 to 0:45: dastgah is labelled mahur, sounds like chahargah (" in lines[2]


def test_the_material_of_each_mode_is_a_table():
    parts = [("tar", "shur", 3), ("tar", None, 2), ("santur", None, 4), ("daf", None, 1)]
    names = [(instrument, dastgah) for instrument, dastgah, count in parts for _ in range(count)]
    slices = [{"slice_id": i, "instrument": name, "split": "train"} for i, (name, _) in enumerate(names)]
    rows = [{"slice_id": i, "dastgah": dastgah} for i, (_, dastgah) in enumerate(names)]
    _, tar, santur, daf, *_ = jobs.material(slices, rows)
    assert [line.split() for line in (tar, santur, daf)] == [
        ["tar", "5", "3", "0", "0"],
        ["santur", "4", "0", "0", "0"],
        ["daf", "1", "any", "0", "any"],
    ]


def test_recordings_of_equal_paths_are_read_from_their_own_folders(root, tmp_path, extractions):
    """A recording of one's own and the orchestra's of another instrument, under one path, with one cache."""
    roots = Roots(tmp_path / "own", root)
    write(roots.own / "tar/shur/a.flac", clicks(90.0, 18.0))
    (roots.own / "recordings.csv").write_text("path,instrument\ntar/shur/a.flac,daf\n")
    both = [*finding.find(roots.own), *finding.find(root, origin="demo")]
    both = [one for one in both if one.path == "tar/shur/a.flac"]
    rows = slicing.gather(both, map(slicing.slice_recordings, slicing.plan(roots, tmp_path, both, CUTTING)))
    work = jobs.plan(roots, *rows, Cache(tmp_path / "cache"), Annotate(suspect_confidence=0.5))
    assert [job.file for job in work] == [root / "tar/shur/a.flac", roots.own / "tar/shur/a.flac"]
    results = annotated(work)
    assert len(extractions) == 2
    assert [len(result.rows) for result in results] == [7, 4]
    assert {row["dastgah"] for row in results[0].rows} == {"shur"}
    assert {row["dastgah"] for row in results[1].rows} == {None}


def test_a_missing_recording_is_named(planned):
    job = replace(planned()[0], file=Path("tar/gone.flac"))
    with pytest.raises(TarkibError, match=r"tar/gone\.flac: .*may have changed since it was sliced: run dvc repro"):
        jobs.annotate_recording(job)
