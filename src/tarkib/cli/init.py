"""Starts a project of your own: the pipeline, its parameters and its code in a new folder, under Git and DVC.

The folder holds all that a clone of Tarkib needs to run `dvc repro`, without its tests. Its stages run
the copy of the code in src/, so that later versions of the package change none of its results.
"""

import argparse
import os
import shlex
import shutil
import subprocess
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import tarkib
from tarkib.errors import TarkibError
from tarkib.runtime import yaml12
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import GET_MUSICNN
from tarkib.runtime.text import printable

_FILES = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/page.html",
    ".dvcignore",
    ".gitignore",
    "data/.gitignore",
    "LICENSE",
    "dvc.yaml",
    "params.yaml",
    "params/paper.yaml",
    "requirements-musicnn.lock",
    "versions.yaml",
)
_FOLDERS = (".dvc/plots", "docs", "stages")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a new or empty folder")


def run(options: argparse.Namespace) -> int:
    """Lay out the folder and print what to call next."""
    folder = options.folder.absolute()
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise TarkibError(f"{options.folder}: is not an empty folder; give the name of a new one")
    git = shutil.which("git")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_dir(folder) as partial:
            _copy(partial)
            if not git:
                config = partial / ".dvc/config"
                config.write_text(config.read_text().replace("[core]\n", "[core]\n    no_scm = true\n"))
        if git and _git("rev-parse", "--is-inside-work-tree", at=folder).stdout.strip() != "true":
            _git("init", "--quiet", at=folder).check_returncode()
    except (OSError, subprocess.CalledProcessError) as error:
        raise TarkibError(f"{options.folder}: cannot be made ({error}); give a folder that you may write to") from error
    shown = shlex.quote(str(options.folder))
    print(f"{printable(options.folder)}: a project of Tarkib {metadata.version('tarkib')}. Next:\n\n  cd {shown}")
    if git:
        print('  git add . && git commit -m "Start"')
    if find_spec("musicnn") is None:
        print(f"  {GET_MUSICNN}        # the weights of the default backbone")
    print("  dvc repro        # the built-in demo; README.md goes on from there, with recordings of your own")
    if not git:
        print("\nGit is not installed: dvc repro works, experiments (dvc exp run, tarkib compare) need it")
    return 0


def _copy(folder: Path) -> None:
    """Copy the project's files; versions.yaml names the libraries that are installed here."""
    source = _source()
    for name in _FILES:
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target)
    ignored = shutil.ignore_patterns("__pycache__", "hooks.py", "site.css")
    for name in _FOLDERS:
        shutil.copytree(source / name, folder / name, ignore=ignored)
    shutil.copyfile(Path(__file__).with_name("project.md"), folder / "README.md")
    # Without the files above, which an installed package holds.
    ignored = shutil.ignore_patterns("__pycache__", "project")
    shutil.copytree(Path(tarkib.__file__).parent, folder / "src/tarkib", ignore=ignored)
    versions = yaml12.read((folder / "versions.yaml").read_text(encoding="utf-8"))
    installed = {name: metadata.version(name) for name in versions}
    (folder / "versions.yaml").write_text(yaml12.dump(installed), encoding="utf-8")


def _source() -> Path:
    """The folder of dvc.yaml and the other files: this checkout, or where the package was installed."""
    package = Path(tarkib.__file__).parent
    checkout = package.parents[1]
    return checkout if (checkout / "dvc.yaml").is_file() else package / "project"


def _git(*arguments: str, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True)
