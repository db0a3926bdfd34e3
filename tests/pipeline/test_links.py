"""Recordings that DVC keeps in its cache behind symbolic links, as on servers where several share a cache."""

import os
import shutil
from pathlib import Path

import pytest
from small_classifier import write_classifier

from tarkib import tables
from tarkib.evaluation import report

from .conftest import Checkout, bring_recordings, checksums, run_stage, set_parameters

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def linked(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose recordings and test set `dvc add` has replaced by links into its cache."""
    folder = bring_recordings(recordings, tmp_path_factory.mktemp("linked"))
    set_parameters(folder)
    write_classifier(folder / "models/classifier")
    for command in ("init -q --no-scm", "config cache.type symlink", "add -q data/raw data/test"):
        Checkout(folder).run("dvc", *command.split())
    sounds = [path for path in (folder / "data").rglob("*") if path.suffix == ".flac"]
    assert sounds
    assert all(path.is_symlink() and ".dvc" in path.readlink().parts for path in sounds)
    return folder


def test_the_stages_read_what_dvc_keeps_behind_links(linked, recordings):
    printed = run_stage(linked, "slice").stdout
    rows = tables.RECORDINGS.read(linked / "data/slices/recordings.parquet")
    assert {row["status"] for row in rows} == {"ok"}
    sound = {name: checksum for name, checksum in checksums(recordings, "raw").items() if name.endswith(".flac")}
    assert {f"raw/{row['path']}": row["sha256"] for row in rows} == sound
    assert "link" not in printed
    run_stage(linked, "annotate")
    run_stage(linked, "evaluate")
    assert {row["sample_id"] for row in report.PREDICTIONS.read(linked / "data/predictions.parquet")} == {
        path.stem for path in (recordings / "test").rglob("*.flac")
    }


def test_odd_names_end_no_stage_and_reach_the_terminal_escaped(recordings, tmp_path):
    project = tmp_path / "project"
    raw = project / "data/raw"
    shutil.copytree(recordings / "raw", raw)
    set_parameters(project)
    (raw / "recordings.csv").unlink()
    sound = min(raw.rglob("*.flac"))
    for name in (os.fsdecode(b"caf\xe9.flac"), "red \x1b[31m\nok.flac"):
        (raw / "ney" / name).write_bytes(b"no sound")
    moved = sound.with_name(f"\x1b[32m {sound.name}")
    sound.rename(moved)
    (raw / "ney/loop").symlink_to(raw)
    archive = tmp_path / "archive"
    shutil.move(raw / "tar", archive)
    (raw / "tar").symlink_to(archive)
    printed = run_stage(project, "slice")
    assert "\x1b" not in printed.stdout + printed.stderr
    assert "ney/caf\\xe9.flac: its name is not UTF-8 text; rename it" in printed.stdout
    assert "ney/red \\u001b[31m\\u000aok.flac: cannot be decoded" in printed.stdout
    assert "ney/loop: leads to the folder .; no folder is read twice" in printed.stdout
    assert "data/raw/tar: a link to a folder, read, but DVC neither keeps" in printed.stdout
    rows = {row["path"]: row for row in tables.RECORDINGS.read(project / "data/slices/recordings.parquet")}
    assert rows[moved.relative_to(raw).as_posix()]["status"] == "ok"
    printed = run_stage(project, "annotate")
    assert "\x1b" not in printed.stdout + printed.stderr + (project / "data/suspects.csv").read_text()
