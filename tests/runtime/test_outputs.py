import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tarkib.runtime import outputs
from tarkib.runtime.locks import file_lock
from tarkib.runtime.outputs import atomic_dir, atomic_file

WITHIN_S = 60.0  # what is waited for comes in milliseconds


def test_a_folder_takes_its_place_whole(tmp_path):
    target = tmp_path / "data" / "slices"
    with atomic_dir(target) as folder:
        (folder / "a").write_text("new")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in target.parent.iterdir()] == ["slices"]


def test_what_fails_leaves_the_old(tmp_path):
    target = tmp_path / "slices"
    target.mkdir()
    (target / "old").touch()

    def failing():
        with atomic_dir(target) as folder:
            (folder / "new").touch()
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        failing()
    assert [p.name for p in tmp_path.rglob("*")] == ["slices", "old"]


KILLED = """
import os, signal, sys
from tarkib.runtime import outputs
with getattr(outputs, sys.argv[1])(sys.argv[2]) as partial:
    (partial / "stale" if partial.is_dir() else partial).write_text("stale")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_writer(kind: str, target: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(target)])
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_writer_left_is_cleared_away(tmp_path):
    for kind in ("atomic_dir", "atomic_file"):
        kill_a_writer(kind, tmp_path / kind)
    assert len(list(tmp_path.glob(".*.tarkib.partial"))) == 2
    with atomic_dir(tmp_path / "atomic_dir") as folder, atomic_file(tmp_path / "atomic_file") as file:
        (folder / "new").touch()
        file.write_text("new")
        assert len(list(tmp_path.glob(".*.tarkib.partial"))) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["atomic_dir", "atomic_file"]
    assert [p.name for p in (tmp_path / "atomic_dir").iterdir()] == ["new"]


def test_a_kill_while_a_folder_is_replaced_costs_neither(tmp_path):
    """Killed when the old is aside and the new not yet in its place: the next writer, which fails, leaves the old."""
    target = tmp_path / "slices"
    target.mkdir()
    (target / "old").touch()
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            f"""
import os, signal
from pathlib import Path
from tarkib.runtime import outputs
rename = Path.rename
def deadly(self, to):
    rename(self, to)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = deadly
with outputs.atomic_dir({str(target)!r}) as folder:
    (folder / "new").touch()
""",
        ]
    )
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    with contextlib.suppress(RuntimeError), atomic_dir(target) as folder:
        raise RuntimeError("disk full")
    assert [p.name for p in tmp_path.rglob("*")] == ["slices", "old"]
    with atomic_dir(target) as folder:
        (folder / "new").touch()
    assert [p.name for p in tmp_path.rglob("*")] == ["slices", "new"]


@pytest.mark.parametrize("kind", [atomic_dir, atomic_file])
def test_a_second_writer_waits_with_a_line(tmp_path, capsys, kind):
    target, others = tmp_path / "slices", []

    def second() -> None:
        with kind(target) as partial:
            others.append(list(tmp_path.glob(".*.tarkib.partial")))
            (partial / "second" if partial.is_dir() else partial).write_text("second")

    printed, write = threading.Event(), sys.stderr.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stderr, "write", lambda text: (write(text), printed.set()))
        waiting = threading.Thread(target=second)
        with kind(target) as partial:
            (partial / "first" if partial.is_dir() else partial).write_text("first")
            waiting.start()
            assert printed.wait(WITHIN_S)
        waiting.join(WITHIN_S)
    printed = capsys.readouterr().err
    assert printed == f"{target}: another process (pid {os.getpid()}) is writing it; waiting\n"
    # It began when the first had cleared up, and its result stays.
    assert [len(names) for names in others] == [int(kind is atomic_dir)]
    assert (target / "second" if target.is_dir() else target).read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["slices"]


def test_a_lock_that_is_deleted_keeps_out_all_the_same(tmp_path):
    """Of many writers never two are inside together, though each deletes the lock that the others wait for."""
    path, inside, most = tmp_path / "lock", [], []

    def enter() -> None:
        for _ in range(50):
            with file_lock(path):
                inside.append(1)
                most.append(len(inside))
                os.sched_yield()
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert most == [1] * 400
    assert not path.exists()


def test_without_locks_nobody_is_kept_out_and_no_partial_is_shared(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with atomic_dir(tmp_path / "slices") as first:
        (first / "first").touch()
        with atomic_dir(tmp_path / "slices") as other:
            (other / "other").touch()
            assert first != other
        assert (first / "first").exists()
        assert [p.name for p in (tmp_path / "slices").iterdir()] == ["other"]
    assert capsys.readouterr().err == f"{tmp_path}: the file system has no locks; run one process at a time there\n"
    assert [p.name for p in (tmp_path / "slices").iterdir()] == ["first"]
    assert not list(tmp_path.glob(".*.partial"))


def test_a_link_to_a_folder_stays_and_the_folder_is_replaced(tmp_path):
    (tmp_path / "large/disk").mkdir(parents=True)
    (tmp_path / "large/disk/old").touch()
    (tmp_path / "slices").symlink_to("large/disk")
    with atomic_dir(tmp_path / "slices") as folder:
        assert folder.parent == tmp_path / "large"
        (folder / "new").touch()
    assert (tmp_path / "slices").is_symlink()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["disk", "large", "new", "slices"]


def test_a_link_to_a_file_is_replaced_since_caches_are_linked_to(tmp_path):
    (tmp_path / "cached").write_text("old")
    (tmp_path / "table").symlink_to("cached")
    with atomic_file(tmp_path / "table") as partial:
        partial.write_text("new")
    assert (tmp_path / "cached").read_text() == "old"
    assert (tmp_path / "table").read_text() == "new"


@pytest.mark.parametrize("kind", [atomic_dir, atomic_file])
def test_a_stage_without_its_dvc_replaces_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(outputs.parent_watch, "abandoned", lambda: True)

    def write() -> None:
        with kind(tmp_path / "output") as partial:
            (partial / "new" if partial.is_dir() else partial).touch()

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not list(tmp_path.iterdir())


def test_a_file_is_the_old_or_the_new(tmp_path):
    target = tmp_path / "sub" / "table"
    with atomic_file(target) as path:
        path.write_text("first")

    def failing():
        with atomic_file(target) as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert target.read_text() == "first"
    assert [p.name for p in target.parent.iterdir()] == ["table"]


def test_a_name_may_be_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("ن" * 127)  # 254 bytes
    with atomic_file(path) as partial:
        partial.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
