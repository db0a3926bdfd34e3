"""What lies in a test set's folder: its table of labels, and the audio files that the table's rows may call.

Names from outside are only ever compared with names found in the folder, so none of them can reach another file.
"""

import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from tarkib import audio
from tarkib.errors import TarkibError

LABELS = "labels.csv"

# A number as spreadsheets and programs write it: 7, 007, 7.0.
_NUMBER = re.compile(r"0*([0-9]{1,18})(\.0+)?")


@dataclass(frozen=True)
class Row:
    """A row: the line that it ends in, what it calls the clip and its file, and its labels, 0 to 1."""

    line: int
    id: str
    file: str
    recording: str
    values: list[float]


def table_in(folder: Path) -> tuple[Path, list[Path]]:
    """The table of labels in a folder, and other tables beside it, which are not read.

    It is `labels.csv`, else the only CSV file; where the folder holds none, one in a folder directly below is taken by
    the same rule. Where there is none at all, the first is where `labels.csv` should be.
    Raises TarkibError, naming them, where there are several and none or more than one is called `labels.csv`.
    """
    for pattern in ("*", "*/*"):
        tables = sorted(
            path
            for path in folder.glob(pattern)
            if path.suffix.lower() == ".csv"
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        called = [path for path in tables if path.name.lower() == LABELS]
        chosen = called or tables
        if len(chosen) > 1:
            names = ", ".join(path.relative_to(folder).as_posix() for path in chosen)
            raise TarkibError(f"{folder}: holds several tables, {names}; call the one with the labels {LABELS}")
        if chosen:
            return chosen[0], [path for path in tables if path != chosen[0]]
    return folder / LABELS, []


class Library:
    """The audio files in a folder and its sub-folders, by every name that a table of labels may call them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: list[Path] = []
        self._by_path: dict[str, list[Path]] = defaultdict(list)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_number: dict[str, list[Path]] = defaultdict(list)
        for place, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(place, name)
                if file.suffix.lower() in audio.SUFFIXES and not name.startswith(".") and file.is_file():
                    self._add(file)

    def _add(self, file: Path) -> None:
        self.files.append(file)
        relative = _plain(file.relative_to(self.folder).as_posix())
        for keys, key in ((self._by_path, relative), (self._by_name, PurePosixPath(relative).name)):
            keys[key].append(file)
            keys[key[: -len(file.suffix)]].append(file)
        if number := _NUMBER.fullmatch(file.stem):
            self._by_number[number[1]].append(file)

    def find(self, path: Path, row: Row) -> Path | None:
        """The audio file of a row of the table at `path`, None where there is none.

        The row's name as a path wins over a bare file name, and that over an equal number (7.0 and 007 are 7).
        Raises TarkibError for a name that leads out of the folder or may mean several files.
        """
        name = PurePosixPath(_plain(row.file).replace("\\", "/"))
        if ".." in name.parts or name.is_absolute() or PureWindowsPath(row.file).anchor:
            raise TarkibError(f"{path}, line {row.line}: {row.file!r} leads out of the folder; name a file inside it")
        files = self._by_path.get(str(name)) or self._by_name.get(str(name)) or []
        if not files and (number := _NUMBER.fullmatch(str(name))):
            files = self._by_number.get(number[1], [])
        if len(files) > 1:
            several = ", ".join(file.relative_to(self.folder).as_posix() for file in files)
            raise TarkibError(
                f"{path}, line {row.line}: {row.file!r} may be any of {several}; "
                "write its path from the folder, with its ending"
            )
        return files[0] if files else None


def _plain(name: str) -> str:
    """One form of a file name: some systems write é as one character, others as two."""
    return unicodedata.normalize("NFC", name)
