"""What lies in a test set's folder: its table of labels, and the audio files that the table's rows may call.

Names from outside are only ever compared with names found in the folder, so none of them can reach another file.
"""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from tarkib.errors import TarkibError
from tarkib.recordings import folders
from tarkib.runtime.text import printable, shown, some

LABELS = "labels.csv"
_CUT = "_bin"

# A number as spreadsheets and programs write it: 7, 007, 7.0.
_NUMBER = re.compile(r"0*([0-9]{1,18})(\.0+)?")


@dataclass(frozen=True)
class Row:
    """A row: its table and the line it ends in, what it calls the clip and its file, and its labels, 0 to 1.

    The labels are in the order of the classes that the table has a column for.
    """

    table: Path
    line: int
    id: str
    file: str
    recording: str
    values: tuple[float, ...]

    @property
    def where(self) -> str:
        return f"{self.table}, line {self.line}"

    def repeats(self, other: "Row") -> bool:
        """Whether this says in one table what another says of the same clip in another table."""
        return self.table != other.table and self.values == other.values


def tables_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The tables of labels in a folder, and other tables beside them, which are not read.

    It is `labels.csv` alone, else every CSV file but those beside which one of the same name and ``_bin`` lies: HamNava
    posts each part of its labels twice, soft and cut. Where the folder holds none, those in folders directly below are
    taken by the same rule. Where there is none at all, the first is where `labels.csv` should be.
    Raises TarkibError, naming them, where several are called `labels.csv`.
    """
    for pattern in ("*", "*/*"):
        tables = sorted(
            path
            for path in folder.glob(pattern)
            if path.suffix.lower() == ".csv"
            and os.path.isfile(path)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        called = [path for path in tables if path.name.lower() == LABELS]
        if len(called) > 1:
            raise several(folder, called)
        cut = {_bare(path) for path in tables if _is_cut(path)}
        chosen = called or [path for path in tables if _is_cut(path) or _bare(path) not in cut]
        if chosen:
            return chosen, [path for path in tables if path not in chosen]
    return [folder / LABELS], []


def _is_cut(path: Path) -> bool:
    return path.stem.lower().endswith(_CUT)


def _bare(path: Path) -> Path:
    return path.with_name(path.stem.lower().removesuffix(_CUT))


def several(folder: Path, tables: list[Path], why: str = "") -> TarkibError:
    """The error that says that one of several tables must be chosen."""
    names = some(printable(path.relative_to(folder).as_posix()) for path in tables)
    return TarkibError(f"{folder}: holds several tables, {names}; call the one with the labels {LABELS}{why}")


class Library:
    """The audio files in a folder and its sub-folders, by every name that a table of labels may call them."""

    def __init__(self, folder: Path):
        self.folder = folder
        found = folders.listing(folder)
        self.files = [folder / entry.path for entry in found.entries if entry.problem is None]
        self.problems = [f"{printable(entry.path)} {entry.problem}" for entry in found.entries if entry.problem]
        self.remarks = folders.remarks(folder, found)
        self._by_path: dict[str, list[Path]] = defaultdict(list)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_number: dict[str, list[Path]] = defaultdict(list)
        for file in self.files:
            relative = folders.form(self._path(file))
            for keys, key in ((self._by_path, relative), (self._by_name, PurePosixPath(relative).name)):
                keys[key].append(file)
                keys[key[: -len(file.suffix)]].append(file)
            if number := _NUMBER.fullmatch(file.stem):
                self._by_number[number[1]].append(file)

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def find(self, row: Row) -> Path | None:
        """The audio file of a row of a table, None where there is none.

        The row's name as a path wins over a bare file name, and that over an equal number (7.0 and 007 are 7); of files
        whose names are alike but for how letters are stored, the one that is called exactly so wins.
        Raises TarkibError for a name that leads out of the folder or may mean several files.
        """
        name = folders.form(row.file)
        if ".." in name.split("/") or name.startswith("/") or PureWindowsPath(row.file).anchor:
            raise TarkibError(f"{row.where}: {shown(row.file)} leads out of the folder; name a file inside it")
        files = self._by_path.get(name) or self._by_name.get(name) or []
        if not files and (number := _NUMBER.fullmatch(name)):
            files = self._by_number.get(number[1], [])
        if len(files) > 1:
            exactly = str(PurePosixPath(row.file))
            files = [
                file for file in files if exactly in (self._path(file), self._path(file)[: -len(file.suffix)])
            ] or files
        if len(files) > 1:
            alike = some(printable(self._path(file)) for file in files)
            raise TarkibError(
                f"{row.where}: {shown(row.file)} may be any of {alike}; write its path from the folder, with its ending"
            )
        return files[0] if files else None
