"""What Git and DVC know of the project: the commit, and whether data that a stage reads are under DVC."""

import os
import subprocess
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.runtime import yaml12


def commit() -> str:
    """Hash of the commit that is checked out, with a plus where files differ from it; empty outside of Git."""
    # Of a project that was unpacked inside of another one's repository, Git would name the other's commit.
    if not _git("ls-files", "params.yaml"):
        return ""
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")


def check(data: Path) -> None:
    """Refuse, in an experiment, data of the project that are not under DVC; remark on a pointer that Git lacks.

    DVC puts into the experiment's commit whatever its stages read and DVC does not track. It does so after each stage,
    so the stages that read recordings ask first.
    """
    if os.environ.get("DVC_EXP_NAME") and (problem := untracked(data)):
        raise TarkibError(problem)
    if problem := without_pointer(data):
        print(problem, flush=True)


def untracked(data: Path) -> str | None:
    """What is wrong where data lie in the project and neither DVC nor Git knows them, else None."""
    places = _places(data)
    if not places or _pointer(places) or any(data.rglob("*.dvc")) or _git("ls-files", "--", str(data)):
        return None
    stages = yaml12.read(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    made = {Path(one).absolute() for stage in stages for one in stage.get("outs", ()) if isinstance(one, str)}
    if made.intersection(places):
        return None
    return f"{data}: not under DVC, so an experiment would put it into Git or run without it; dvc add {data}"


def without_pointer(data: Path) -> str | None:
    """What is wrong where data are under DVC and Git lacks the file that says so, else None."""
    pointer = _pointer(_places(data))
    if pointer is None or not _git("rev-parse", "--git-dir") or _git("ls-files", "--", pointer.name, at=pointer.parent):
        return None
    named = os.path.relpath(pointer)
    ignored = os.path.relpath(pointer.with_name(".gitignore"))
    return f"{named}: Git does not know it, so queued experiments would run without {data}; git add {named} {ignored}"


def _places(data: Path) -> list[Path]:
    """A path in the project and the folders around it there; nothing for what lies elsewhere or is a link there."""
    path, root = data.absolute(), Path.cwd()
    return [one for one in (path, *path.parents) if one.is_relative_to(root)] if not data.is_symlink() else []


def _pointer(places: list[Path]) -> Path | None:
    """The file of ``dvc add`` that covers the first of some places."""
    pointers = (one.with_name(f"{one.name}.dvc") for one in places)
    return next((one for one in pointers if one.is_file()), None)


def _git(*arguments: str, at: Path | None = None) -> str:
    """What Git prints; nothing where it fails or is not there."""
    try:
        return subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
