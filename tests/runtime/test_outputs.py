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
from tarkib.runtime.outputs import atomic_dir, atomic_file

WITHIN_S = 60.0  # what is waited for comes in milliseconds
KINDS = pytest.mark.parametrize("kind", [atomic_dir, atomic_file])


def fill(partial: Path, name: str) -> None:
    """Make a file of a name in a partial folder, or write the name to a partial file."""
    (partial / name if partial.is_dir() else partial).write_text(name)


def content(target: Path) -> list[str]:
    """What `fill` has written to an output."""
    return [path.read_text() for path in ([target] if target.is_file() else target.iterdir())]


@KINDS
def test_an_output_takes_its_place_whole_and_what_fails_leaves_the_old(tmp_path, kind):
    target = tmp_path / "data/slices"

    def write(name: str, error: Exception | None = None) -> None:
        with kind(target) as partial:
            fill(partial, name)
            assert (content(target) if target.exists() else []) == ([] if name == "old" else ["old"])
            if error:
                raise error

    write("old")
    with pytest.raises(RuntimeError, match="disk full"):
        write("half", RuntimeError("disk full"))
    assert content(target) == ["old"]
    write("new")
    assert content(target) == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["slices"]


def killed(code: str) -> None:
    """Run code that kills itself."""
    start = "import os, signal\nfrom pathlib import Path\nfrom tarkib.runtime.outputs import atomic_dir, atomic_file\n"
    assert subprocess.run([sys.executable, "-c", start + code]).returncode == -signal.SIGKILL


@KINDS
def test_what_a_killed_writer_left_is_cleared_away(tmp_path, kind):
    target = tmp_path / "slices"
    killed(
        f"""
with {kind.__name__}({str(target)!r}) as partial:
    (partial / "stale" if partial.is_dir() else partial).write_text("stale")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert len(list(tmp_path.glob(".*.tarkib.partial"))) == 1
    with kind(target) as partial:
        fill(partial, "new")
        assert len(list(tmp_path.glob(".*.tarkib.partial"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["slices"]
    assert content(target) == ["new"]


def test_a_kill_while_a_folder_is_replaced_costs_neither(tmp_path):
    """Killed when the old is aside and the new not yet in its place: the next writer, which fails, leaves the old."""
    target = tmp_path / "slices"
    target.mkdir()
    fill(target, "old")
    killed(
        f"""
rename = Path.rename
def deadly(self, to):
    rename(self, to)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = deadly
with atomic_dir({str(target)!r}) as folder:
    pass
"""
    )
    assert not target.exists()
    with contextlib.suppress(RuntimeError), atomic_dir(target) as folder:
        raise RuntimeError("disk full")
    assert content(target) == ["old"]
    with atomic_dir(target) as folder:
        fill(folder, "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["slices", "new"]


@KINDS
def test_a_second_writer_waits_with_a_line(tmp_path, capsys, kind):
    target, others = tmp_path / "slices", []

    def second() -> None:
        with kind(target) as partial:
            others.append(list(tmp_path.glob(".*.tarkib.partial")))
            fill(partial, "second")

    printed, write = threading.Event(), sys.stderr.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stderr, "write", lambda text: (write(text), printed.set()))
        waiting = threading.Thread(target=second)
        with kind(target) as partial:
            fill(partial, "first")
            waiting.start()
            assert printed.wait(WITHIN_S)
        waiting.join(WITHIN_S)
    printed = capsys.readouterr().err
    assert printed == f"{target}: another process (pid {os.getpid()}) is writing it; waiting until it has ended\n"
    # It began when the first had cleared up, and its result stays.
    assert [len(names) for names in others] == [int(kind is atomic_dir)]
    assert content(target) == ["second"]
    assert [p.name for p in tmp_path.iterdir()] == ["slices"]


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


@KINDS
def test_a_stage_without_its_dvc_replaces_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(outputs.parent_watch, "abandoned", lambda: True)

    def write() -> None:
        with kind(tmp_path / "output") as partial:
            fill(partial, "new")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not list(tmp_path.iterdir())


def test_a_name_may_be_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("ن" * 127)  # 254 bytes
    with atomic_file(path) as partial:
        partial.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
