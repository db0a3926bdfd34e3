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
from tarkib.annotation.labels import Labels
from tarkib.errors import TarkibError
from tarkib.params import Annotate, Slice
from tarkib.recordings import finding, slicing
from tarkib.runtime import parallel
from tarkib.runtime.cache import Cache

CUTTING = Slice(1, 3.0, -50.0, None, 0.0)


def sliced(root: Path, folder: Path, cutting: Slice = CUTTING) -> tuple[list[dict], list[dict]]:
    """Rows of a folder's recordings and slices."""
    found = finding.find(root)
    folder.mkdir(exist_ok=True)
    results = [slicing.slice_recordings(job) for job in slicing.plan(root, folder, found, cutting)]
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
        return jobs.plan(root, *rows, Cache(tmp_path / cache), settings or Annotate())

    return plan


def all_rows(results) -> dict[str, dict]:
    return {row["slice_id"]: row for one in results for row in one.rows}


def test_results_are_equal_for_one_two_and_four_workers_and_alone(planned):
    work = planned("one")
    once = list(map(jobs.annotate_recording, work))
    assert len(all_rows(once)) == 30
    for workers in (2, 4):
        many = list(
            parallel.map_jobs(jobs.annotate_recording, planned(f"{workers}"), what="annotating", workers=workers)
        )
        assert [one[:2] for one in many] == [one[:2] for one in once]
    for i in (0, 3, 5):
        assert jobs.annotate_recording(planned(f"alone-{i}")[i]) == once[i]


def test_the_longest_come_first_and_every_slice_is_annotated_once(planned, root):
    work = planned()
    names = "tar/mahur/wrong tar/shur/a ney/c setar/b daf/d tonbak/e"
    assert [job.path for job in work] == [f"{name}.flac" for name in names.split()]
    assert [len(job.slice_ids) for job in work] == [9, 7, 4, 5, 4, 1]


def test_what_was_heard_before_is_not_heard_again(planned, monkeypatch):
    first = list(map(jobs.annotate_recording, planned()))

    def deaf(blocks):
        raise AssertionError("heard again")

    monkeypatch.setattr(evidence, "listen", deaf)
    assert list(map(jobs.annotate_recording, planned())) == first
    # Neither labels nor parameters have a say in what is heard.
    job = next(one for one in planned(settings=replace(Annotate(), prior_bpm=70.0)) if one.path == "tar/shur/a.flac")
    jobs.annotate_recording(replace(job, labels=Labels("tar", "segah", 200.0, 90.0)))
    with pytest.raises(AssertionError, match="heard again"):
        jobs.annotate_recording(replace(job, sha256="of another recording"))


def test_a_cache_that_is_deleted_or_damaged_changes_nothing_but_time(planned, tmp_path):
    first = list(map(jobs.annotate_recording, planned()))
    entries = sorted((tmp_path / "cache").rglob("*.npz"))
    assert len(entries) == 6
    for i, entry in enumerate(entries):
        entry.write_bytes(entry.read_bytes()[: i * 300])
    assert list(map(jobs.annotate_recording, planned())) == first
    shutil.rmtree(tmp_path / "cache")
    assert list(map(jobs.annotate_recording, planned())) == first


def test_adding_a_recording_hears_that_one_alone(planned, root, tmp_path, monkeypatch):
    before = all_rows(map(jobs.annotate_recording, planned()))
    more = tmp_path / "more"
    shutil.copytree(root, more)
    write(more / "santur/f.flac", solo("segah", 300.0, 120.0, seconds=12.0))
    listen, heard = evidence.listen, []
    monkeypatch.setattr(evidence, "listen", lambda blocks: heard.append(1) or listen(blocks))
    work = jobs.plan(more, *sliced(more, tmp_path / "slices"), Cache(tmp_path / "cache"), Annotate())
    after = all_rows(map(jobs.annotate_recording, work))
    assert len(heard) == 1
    assert len(after) == len(before) + 2
    assert before.items() <= after.items()


def test_fewer_slices_are_annotated_as_they_were_among_all(planned):
    """Context is the recording's, not what was kept of it."""
    every = all_rows(map(jobs.annotate_recording, planned("one")))
    few = all_rows(map(jobs.annotate_recording, planned("two", replace(CUTTING, max_per_recording=2))))
    assert 6 < len(few) < len(every)
    assert few.items() <= every.items()


def test_a_full_disk_costs_the_cache_and_is_told(planned, tmp_path):
    first = list(map(jobs.annotate_recording, planned()))
    (tmp_path / "full").write_text("no room for a folder")
    results = list(map(jobs.annotate_recording, planned("full")))
    assert [one[:2] for one in results] == [one[:2] for one in first]
    lines = jobs.summary([], [], (one.problem for one in results), Path("suspects.csv"))
    assert lines[-1].startswith("not kept for the next time: ")
    assert str(tmp_path / "full") in lines[-1]


def test_several_processes_may_share_a_cache(planned, root, tmp_path):
    """Two stages at once, as two experiments are, one of them killed on the way."""
    first = [one[:2] for one in map(jobs.annotate_recording, planned("one"))]
    rows = sliced(root, tmp_path / "slices")
    (tmp_path / "rows.py").write_text(f"rows = {rows!r}")
    code = """
import os, signal, sys
from pathlib import Path
from tarkib.annotation import jobs
from tarkib.runtime.cache import Cache
from tarkib.params import Annotate
sys.path.insert(0, sys.argv[1])
from rows import rows
for number, job in enumerate(jobs.plan(Path(sys.argv[2]), *rows, Cache(Path(sys.argv[1]) / "shared"), Annotate())):
    if number == int(sys.argv[3]):
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    jobs.annotate_recording(job)
"""
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(root), number]) for number in ("99", "3")]
    assert both[0].wait() == 0
    both[1].wait()
    assert [one[:2] for one in map(jobs.annotate_recording, planned("shared"))] == first


def test_labels_in_doubt_are_told_and_kept(planned, tmp_path):
    results = {job.path: jobs.annotate_recording(job) for job in planned(settings=Annotate(suspect_confidence=0.8))}
    doubts = [doubt for one in results.values() for doubt in one.conflicts]
    (doubt,) = doubts
    assert tuple(doubt) == jobs.SUSPECT_COLUMNS
    assert (doubt["path"], doubt["label"], doubt["estimate"]) == ("tar/mahur/wrong.flac", "mahur", "chahargah")
    assert {row["dastgah"] for row in results["tar/mahur/wrong.flac"].rows} == {"mahur"}
    lines = jobs.summary(list(all_rows(results.values()).values()), doubts, [None], tmp_path / "suspects.csv")
    assert lines[0].startswith("30 slices: ")
    assert "tar/mahur/wrong.flac, 0:00 to 0:45: dastgah is labelled mahur, sounds like chahargah (" in lines[2]


def test_a_recording_that_is_gone_or_changed_is_named(planned, root):
    job = replace(planned()[0], path="tar/gone.flac")
    with pytest.raises(TarkibError, match=r"tar/gone\.flac: .*has it changed since\? run dvc repro"):
        jobs.annotate_recording(job)
