"""Folders of recordings: which files are in them, links followed, and one form of their paths for comparing.

Hidden files and folders are left out. A folder is walked once: a second way to it (a link to a folder that is walked,
or one that leads back to a folder above it) is named and not followed. What cannot be opened is named too, and nothing
raises.
"""

import errno
import os
import stat
import unicodedata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tarkib import audio, vocabulary
from tarkib.errors import TarkibError
from tarkib.runtime.text import printable


class Entry(NamedTuple):
    """A recording's path from the folder, with forward slashes; `problem` says why it, or a folder, cannot be read."""

    path: str
    problem: str | None = None


class Listing(NamedTuple):
    """The content of a folder, in the order of the paths.

    others : paths of the visible files that are no recordings by their endings.
    links : paths of the links to folders that were followed.
    """

    entries: list[Entry]
    others: list[str]
    links: list[str]


def listing(root: Path) -> Listing:
    """Every file below a folder that has a recording's ending, and every link and folder that cannot be followed."""
    content = Listing([], [], [])

    def fail(path: Path, error: OSError | TarkibError) -> None:
        content.entries.append(Entry(path.relative_to(root).as_posix(), _reason(path, error)))

    # A link to a folder above would lead through all that lies beside this one, the whole disk at worst.
    walked = {_identity(parent): str(parent) for parent in root.resolve().parents}
    starts = [root]  # and links to folders, later, so that a folder with a link beside it is walked under its own name
    for start in starts:
        for place, folders, files in os.walk(start, onerror=lambda error: fail(Path(error.filename), error)):
            folder = Path(place).relative_to(root)
            first = walked.setdefault(_identity(Path(place)), str(folder))
            if first != str(folder):
                problem = f"leads to the folder {printable(first)}; no folder is read twice"
                content.entries.append(Entry(folder.as_posix(), problem))
                folders.clear()
                continue
            if start == Path(place) != root:
                content.links.append(folder.as_posix())
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in (folder / name for name in (*folders, *files) if not name.startswith(".")):
                try:
                    mode = (root / path).stat().st_mode
                    if stat.S_ISDIR(mode):
                        starts += [root / path] if (root / path).is_symlink() else []
                    elif path.suffix.lower() not in audio.SUFFIXES:
                        content.others.append(path.as_posix())
                    else:
                        audio.check_kind(path, mode)
                        content.entries.append(Entry(path.as_posix()))
                except (OSError, TarkibError) as error:
                    fail(root / path, error)
    content.entries.sort(key=lambda entry: entry.path.split("/"))
    content.others.sort()
    return content


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _reason(path: Path, error: OSError | TarkibError) -> str:
    if isinstance(error, TarkibError):
        return str(error)
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and path.is_symlink():
        return f"cannot be opened: a link to {printable(path.readlink())}, which is not there"
    return f"cannot be opened ({error.strerror})"


def remarks(root: Path, content: Listing) -> list[str]:
    """Warnings about a folder that DVC watches: it follows links to files, but none to folders."""
    return [
        f"{printable(root / link)}: a link to a folder, read, but DVC neither keeps nor watches its files; "
        "put the folder itself here, or force the stage (dvc repro -f) after a change"
        for link in content.links
    ]


def form(path: str) -> str:
    r"""One form of a path for comparing what a table says with what is in a folder; never a path to open.

    Some systems write é as one character and others as two, some write `\` for `/`, some keyboards write ي for ی, and
    invisible marks come along when text is copied.
    """
    text = unicodedata.normalize("NFC", path.replace("\\", "/")).translate(vocabulary.LETTERS)
    return str(PurePosixPath("".join(letter for letter in text if unicodedata.category(letter) != "Cf")))


def one_spelling(names: list[str]) -> list[str]:
    """Names of people or recordings: those that differ only in case, keyboard, spaces or invisible marks become one."""
    first: dict[str, str] = {}
    return [first.setdefault(" ".join(form(name).casefold().split()), name) for name in names]
