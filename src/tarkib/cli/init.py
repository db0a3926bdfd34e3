"""Starts a project of your own: the pipeline, its parameters and its code in a new folder, under Git and DVC.

The folder holds all that a clone of Tarkib needs to run `dvc repro`, without its tests and documents. Its stages run
the copy of the code in src/, so that later versions of the package change none of its results.
"""

import argparse
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import tarkib
from tarkib.errors import TarkibError
from tarkib.runtime import yaml12
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import GET_MUSICNN

_FILES = (
    "dvc.yaml",
    "params.yaml",
    "params/paper.yaml",
    "versions.yaml",
    "requirements-musicnn.lock",
    ".gitignore",
    ".dvcignore",
    ".dvc/page.html",
)
_FOLDERS = ("stages", ".dvc/plots")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a new or empty folder")


def run(options: argparse.Namespace) -> int:
    """Lay out the folder and print what to call next."""
    folder = options.folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TarkibError(f"{folder}: is not an empty folder; give the name of a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    git = shutil.which("git")
    inside = bool(git) and _run("git", "rev-parse", "--is-inside-work-tree", at=folder.parent, fails=True) == "true"
    with atomic_dir(folder) as partial:
        if git and not inside:
            _run("git", "init", "--quiet", at=partial)
        _run(sys.executable, "-m", "dvc", "init", "--quiet", *_scm(git, inside), at=partial)
        _copy(partial)
    print(f"{options.folder}: a project of Tarkib {metadata.version('tarkib')}. Next:\n\n  cd {options.folder}")
    if git:
        print('  git add . && git commit -m "Start"')
    if find_spec("musicnn") is None:
        print(f"  {GET_MUSICNN}        # the weights of the default backbone")
    print("  dvc repro        # the built-in demo; data.raw and data.test in params.yaml name your own recordings")
    if not git:
        print("\nGit is not installed: dvc repro works, experiments (dvc exp run, tarkib compare) need it")
    return 0


def _scm(git: str | None, inside: bool) -> list[str]:
    """How DVC is to work with Git."""
    if not git:
        return ["--no-scm"]
    return ["--subdir"] if inside else []


def _copy(folder: Path) -> None:
    """Copy the project's files; versions.yaml names the libraries that are installed here."""
    source = _source()
    for name in _FILES:
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in _FOLDERS:
        shutil.copytree(source / name, folder / name, ignore=ignored, dirs_exist_ok=True)
    # Without the files above, which an installed package holds.
    ignored = shutil.ignore_patterns("__pycache__", "project")
    shutil.copytree(Path(tarkib.__file__).parent, folder / "src/tarkib", ignore=ignored)
    config = ConfigParser()
    config.read([folder / ".dvc/config", source / ".dvc/config"])  # what `dvc init` wrote, and this project's settings
    with (folder / ".dvc/config").open("w", encoding="utf-8") as file:
        config.write(file)
    versions = yaml12.read((folder / "versions.yaml").read_text(encoding="utf-8"))
    installed = {name: metadata.version(name) for name in versions}
    (folder / "versions.yaml").write_text(yaml12.written(installed), encoding="utf-8")


def _source() -> Path:
    """The folder of dvc.yaml and the other files: this checkout, or where the package was installed."""
    package = Path(tarkib.__file__).parent
    checkout = package.parents[1]
    return checkout if (checkout / "dvc.yaml").is_file() else package / "project"


def _run(*command: str, at: Path, fails: bool = False) -> str:
    """Output of a command; TarkibError with its message if it fails, or "" where it may."""
    result = subprocess.run(command, cwd=at, capture_output=True, text=True)
    if result.returncode and not fails:
        raise TarkibError(f"{' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
    return "" if result.returncode else result.stdout.strip()
