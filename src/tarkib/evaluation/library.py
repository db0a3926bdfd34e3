"""Tables of labels and audio files in a test set's folder.

A name in a table is only compared with names in the folder, so that it cannot reach a file outside.
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

# A number as spreadsheets and programs write it: 7, 007, 7.0.
_NUMBER = re.compile(r"0*([0-9]{1,18})(\.0+)?")


@dataclass(frozen=True)
class Row:
    """A row of a table of labels: the clip's id, file and recording, and a label, 0 to 1, for each instrument column.

    `line` is the last line of the row; `values` are in the order of `INSTRUMENTS`.
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


def tables_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The tables of labels in a folder, and the CSV files beside them that are ignored.

    The table is `labels.csv`, else all CSV files together. Of two called alike but for ``_bin`` that one is taken, as
    HamNava publishes soft and binary labels. Tables in subfolders are taken where the folder has none; without any
    table, the first result is the missing `labels.csv`. Raises TarkibError for several `labels.csv`.
    """
    for pattern in ("*", "*/*"):
        tables = sorted(
            path
            for path in folder.glob(pattern)
            if path.suffix.lower() == ".csv"
            and os.path.isfile(path)
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        named = [path for path in tables if path.name.lower() == LABELS]
        if len(named) > 1:
            raise several(folder, named)
        stems = {(path.parent, path.stem.lower()) for path in tables}
        chosen = named or [path for path in tables if (path.parent, f"{path.stem.lower()}_bin") not in stems]
        if chosen:
            return chosen, [path for path in tables if path not in chosen]
    return [folder / LABELS], []


def several(folder: Path, tables: list[Path], why: str = "") -> TarkibError:
    """The error that one of several tables must be chosen."""
    names = some(printable(path.relative_to(folder).as_posix()) for path in tables)
    return TarkibError(f"{folder}: holds several tables, {names}; rename the one with the labels to {LABELS}{why}")


class Library:
    """The audio files in a folder and its subfolders, by the names that a table of labels may use.

    files : paths of the files that can be read.
    notes : sentences about files and links that cannot be read, or that DVC does not follow.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        listing = folders.listing(folder)
        self.files = [folder / entry.path for entry in listing.entries if entry.problem is None]
        problems = [f"{printable(entry.path)} {entry.problem}" for entry in listing.entries if entry.problem]
        self.notes = [f"{folder}: left out ({len(problems)}): {some(problems)}"] if problems else []
        self.notes += folders.remarks(folder, listing)
        self._by_path: dict[str, list[Path]] = defaultdict(list)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_number: dict[str, list[Path]] = defaultdict(list)
        for file in self.files:
            path = folders.form(self._path(file))
            for index, name in ((self._by_path, path), (self._by_name, PurePosixPath(path).name)):
                index[name].append(file)
                index[name[: -len(file.suffix)]].append(file)
            if number := _NUMBER.fullmatch(file.stem):
                self._by_number[number[1]].append(file)

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def find(self, row: Row) -> Path | None:
        """The audio file of a row, None where there is none.

        A path wins over a bare file name, and that over an equal number (7.0 and 007 are 7). Of names that differ in
        Unicode form only, the identical one wins. Raises TarkibError for a name that leads out of the folder or is
        ambiguous.
        """
        name = folders.form(row.file)
        if ".." in name.split("/") or name.startswith("/") or PureWindowsPath(row.file).anchor:
            raise TarkibError(f"{row.where}: {shown(row.file)} leads out of the folder; name a file inside it")
        files = self._by_path.get(name) or self._by_name.get(name) or []
        if not files and (number := _NUMBER.fullmatch(name)):
            files = self._by_number.get(number[1], [])
        if len(files) > 1:
            exact = str(PurePosixPath(row.file))
            files = [file for file in files if exact in (self._path(file), self._path(file.with_suffix("")))] or files
        if len(files) > 1:
            names = some(printable(self._path(file)) for file in files)
            raise TarkibError(
                f"{row.where}: {shown(row.file)} may be any of {names}; write its path from the folder, with extension"
            )
        return files[0] if files else None
