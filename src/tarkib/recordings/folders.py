"""Folders of recordings: which files are in them, links followed, and one form of their paths for comparing.

Hidden files and folders are passed over. A folder is walked once, whatever leads to it: the second way to it (a link to
a folder that is walked, or one that leads back to a folder above it) is named and not followed. What cannot be opened
is named too, and nothing raises.
"""

import errno
import heapq
import os
import re
import stat
import unicodedata
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tarkib import audio, vocabulary
from tarkib.runtime.text import printable

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Entry(NamedTuple):
    """A recording's path from the folder, with forward slashes; `problem` says why it, or a folder, cannot be read."""

    path: str
    problem: str | None = None


class Listing(NamedTuple):
    """What is in a folder, in the order of its paths.

    others : paths of the visible files that are no recordings by their endings.
    links : paths of the links to folders that were followed.
    """

    entries: list[Entry]
    others: list[str]
    links: list[str]


def listing(root: Path, *, for_tables: bool = False) -> Listing:
    """Every file below a folder that has a recording's ending, and every link and folder that cannot be followed.

    for_tables : whether a name that is not UTF-8 text, which no table can hold, is a problem too.
    """
    entries: list[Entry] = []
    others = []
    # A link to a folder above would lead through all that lies beside this one, the whole disk at worst.
    walked = {_identity(parent): str(parent) for parent in root.resolve().parents}
    folders: list[str] = [""]
    links: list[tuple[str, ...]] = []
    followed = []
    while folders or links:
        # Links wait for the folders, so that a folder with a link beside it is walked under its own name.
        linked = not folders
        place = "/".join(heapq.heappop(links)) if linked else folders.pop()
        try:
            before = walked.setdefault(_identity(root / place), place)
            if before != place:
                entries.append(Entry(place, f"leads to the folder {printable(before) or '.'}; no folder is read twice"))
                continue
            with os.scandir(root / place) as inside:
                visible = [one for one in inside if not one.name.startswith(".")]
        except OSError as error:
            entries.append(Entry(place or ".", _reason(root / place, error)))
            continue
        if linked:
            followed.append(place)
        for one in visible:
            path = f"{place}/{one.name}" if place else one.name
            try:
                mode = one.stat().st_mode
            except OSError as error:
                entries.append(Entry(path, _reason(root / path, error)))
                continue
            if stat.S_ISDIR(mode) and one.is_symlink():
                heapq.heappush(links, tuple(path.split("/")))
            elif stat.S_ISDIR(mode):
                folders.append(path)
            elif PurePosixPath(one.name).suffix.lower() not in audio.SUFFIXES:
                others.append(path)
            else:
                entries.append(Entry(path, _problem(path, mode, for_tables)))
    return Listing(sorted(entries, key=lambda entry: entry.path.split("/")), sorted(others), followed)


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def remarks(root: Path, found: Listing) -> list[str]:
    """What a person must know of a folder that DVC watches: DVC follows links to files, and none to folders."""
    return [
        f"{printable(root / link)}: a link to a folder, read, but DVC neither keeps nor watches what is in it; "
        "put the folder itself here, or force the stage (dvc repro -f) after a change"
        for link in found.links
    ]


def _problem(path: str, mode: int, for_tables: bool) -> str | None:
    if not stat.S_ISREG(mode):
        return f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')} and no file; remove it"
    # What Python cannot decode of a name are lone surrogates.
    if for_tables and re.search("[\ud800-\udfff]", path):
        return "its name is not UTF-8 text; rename it"
    return None


def _reason(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "cannot be opened: a link that leads back to itself, or through too many others"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and path.is_symlink():
        return f"cannot be opened: a link to {printable(path.readlink())}, which is not there"
    return f"cannot be opened ({error.strerror})"


def form(path: str) -> str:
    r"""One form of a path for comparing what a table says with what is in a folder; never a path to open.

    Some systems write é as one character and others as two, some write `\` for `/`, some keyboards write ي for ی, and
    marks that nobody sees come along when text is copied.
    """
    text = unicodedata.normalize("NFC", path.replace("\\", "/")).translate(vocabulary.LETTERS)
    return str(PurePosixPath("".join(letter for letter in text if unicodedata.category(letter) != "Cf")))


def one_spelling(names: list[str]) -> list[str]:
    """Names of people or recordings; those that differ in case, keyboard, spaces or unseen marks alone become one."""
    first: dict[str, str] = {}
    return [first.setdefault(" ".join(form(name).casefold().split()), name) for name in names]
