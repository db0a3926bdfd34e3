"""What Git and DVC know of the project: its commit, and whether a stage's data are under DVC."""

import os
import subprocess
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.runtime import yaml12


def commit() -> str:
    """Hash of the commit that is checked out, with "+" where tracked files differ from it; "" outside of Git."""
    # If the project lies in another one's repository, Git would name the other's commit.
    if not _git("ls-files", "params.yaml"):
        return ""
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def check_tracked(data: Path) -> None:
    """In an experiment, raise TarkibError for data that are not under DVC; warn of a pointer that Git does not track.

    After each stage of an experiment DVC commits to Git what the stage reads and DVC does not track. So stages that
    read recordings call this first.
    """
    if os.environ.get("DVC_EXP_NAME") and (problem := untracked(data)):
        raise TarkibError(problem)
    if problem := without_pointer(data):
        print(problem, flush=True)


def untracked(data: Path) -> str | None:
    """The problem where a file in the project is not under DVC, in Git or the output of a stage, else None."""
    if data.is_symlink() or not _inside(data) or _pointer(data):
        return None
    stages = yaml12.read(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    outputs = {Path(out).absolute() for stage in stages for out in stage.get("outs", ()) if isinstance(out, str)}
    if outputs.intersection(_inside(data)):
        return None
    in_git = {Path(name).absolute() for name in _git("ls-files", "-z", "--", str(data)).split("\0")}
    files = [path for path in (data, *data.rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix != ".dvc" and path.name != ".gitignore"]
    if files and all(file.absolute() in in_git or _pointer(file) for file in files):
        return None
    return f"{data}: not under DVC, so an experiment would put it into Git or run without it; dvc add {data}"


def without_pointer(data: Path) -> str | None:
    """The problem where Git does not track the pointer of data that are under DVC, else None."""
    pointer = _pointer(data)
    if not pointer or not _git("rev-parse", "--git-dir") or _git("ls-files", "--", pointer.name, at=pointer.parent):
        return None
    named, ignored = os.path.relpath(pointer), os.path.relpath(pointer.with_name(".gitignore"))
    return f"{named}: Git does not track it, so queued experiments would run without {data}; git add {named} {ignored}"


def _inside(path: Path) -> list[Path]:
    """A path and its parents up to the project's root; empty if it lies elsewhere."""
    path, root = path.absolute(), Path.cwd()
    return [place for place in (path, *path.parents) if place.is_relative_to(root)]


def _pointer(path: Path) -> Path | None:
    """The file of ``dvc add`` that covers a path."""
    pointers = (place.with_name(f"{place.name}.dvc") for place in _inside(path))
    return next(filter(Path.is_file, pointers), None)


def _git(*arguments: str, at: Path | None = None) -> str:
    """Output of Git; "" if it fails or is not installed."""
    try:
        return subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
