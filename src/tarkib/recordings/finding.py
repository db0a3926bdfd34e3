"""Solo recordings in a folder: finding them, reading what folders and recordings.csv say of them, and their splits.

Layout
------
``<root>/<instrument>/<dastgah>/.../<file>`` or ``<root>/<instrument>/<file>``, in any spelling that `tarkib.vocabulary`
knows; what lies directly under an instrument has no label, and percussion never has one. An optional
``<root>/recordings.csv`` (columns ``path`` and any of ``instrument``, ``dastgah``, ``tonic_hz``, ``bpm``,
``performer``; blank means not said) overrides the folders and, later on, every estimate. A path in it
finds a file whose path differs from it only in how letters are stored (Unicode normalisation).

One bad recording is a `Recording` with a reason, never an exception.
"""

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from tarkib import audio, vocabulary
from tarkib.errors import TarkibError
from tarkib.recordings import folders, spreadsheets
from tarkib.runtime.streams import Stream, generator
from tarkib.runtime.text import bounded, printable, shown, some

_COLUMNS = ("path", "instrument", "dastgah", "tonic_hz", "bpm", "performer")
_RANGES = {"tonic_hz": (20.0, 5_000.0), "bpm": (20.0, 400.0)}
_NAMED_TWINS = 4


@dataclass(frozen=True)
class Recording:
    """A file that may be sliced; `reason` says why it will not be (or what is odd), `usable` which of the two.

    `path` is relative to the root, with forward slashes. `recording_id` is ``<instrument>-<start of its sha256>``:
    it follows the content, so that adding or renaming files changes no other recording's id. `version` is the file's
    size in bytes and time of change in ns when it was hashed.
    """

    path: str
    instrument: str | None = None
    dastgah: str | None = None
    tonic_hz: float | None = None
    bpm: float | None = None
    performer: str | None = None
    sha256: str = ""
    usable: bool = True
    reason: str | None = None
    version: tuple[int, int] | None = None

    @property
    def recording_id(self) -> str:
        return f"{self.instrument or 'unknown'}-{self.sha256[:12]}"

    def rejected(self, reason: str) -> "Recording":
        """The same recording, not to be used, and why."""
        return replace(self, usable=False, reason=reason)


def find(root: Path) -> list[Recording]:
    """Find every audio file below a folder but hidden ones, in the order of their paths, hashed and labelled.

    Links are followed (see `folders`); what cannot be followed or read is a `Recording` too, with the reason.
    Raises TarkibError where the folder is missing or holds no audio file, or where recordings.csv is wrong.
    """
    if not root.is_dir():
        raise TarkibError(f"{root}: no such folder; put recordings there or point data.raw to them")
    entries = folders.listing(root, for_tables=True).entries
    said = _read_csv(_table(root), [entry.path for entry in entries])
    if not entries:
        endings = " ".join(sorted(audio.SUFFIXES))
        raise TarkibError(f"{root}: no recordings ({endings}); they belong in <instrument>/<dastgah>/ folders")
    return _without_twins([_examined(root, entry, said.get(entry.path, {})) for entry in entries])


def remarks(root: Path) -> list[str]:
    """What a person must know of the rest of the folder: files that are not read, links that DVC does not follow."""
    found = folders.listing(root)
    others = [path for path in found.others if path != _table(root).name]
    left_out = f"{printable(root)}: neither recordings by their endings nor recordings.csv, not read: "
    return [
        *([left_out + some(bounded(one, 60) for one in others)] if others else []),
        *folders.remarks(root, found),
    ]


def _table(root: Path) -> Path:
    """The table of labels of a folder, whether its name is in capitals or not."""
    named = sorted(path for path in root.iterdir() if path.name.casefold() == "recordings.csv")
    return named[-1] if named else root / "recordings.csv"  # in lower case, where there are several


def _examined(root: Path, entry: folders.Entry, said: dict[str, Any]) -> Recording:
    """A file labelled and hashed, or the reason why it is not used."""
    one = _labelled(entry.path, said)
    if entry.problem is None:
        return _hashed(root, one)
    # Its path is never opened again, so that it need only be readable.
    return replace(one.rejected(entry.problem), path=printable(one.path))


def _read_csv(path: Path, files: list[str]) -> dict[str, dict[str, Any]]:
    """What recordings.csv says, by the path that each of these files has; empty where there is none."""
    heading, rows = spreadsheets.read(path, padded=True)
    columns = [name.casefold() for name in heading]
    if not heading and spreadsheets.content(path) is None:
        return {}
    if "path" not in columns or set(columns) - set(_COLUMNS):
        found = some([shown(name) for name in heading] or ["nothing"])
        raise TarkibError(f"{path}: columns must be path and any of {', '.join(_COLUMNS[1:])}; found {found}")
    by_form = defaultdict(list)
    for file in files:
        by_form[folders.form(file)].append(file)
    described: dict[str, dict[str, Any]] = {}
    absent = []
    for line, cells in rows:
        said: dict[str, Any] = dict(zip(columns, cells, strict=True))
        where, named = f"{path}, line {line}", said.pop("path")
        if not named:
            raise TarkibError(f"{where}: path is blank; name the recording or remove the row")
        alike = by_form[folders.form(named)]
        meant = [named] if named in alike else alike
        if not meant:
            absent.append(shown(named))
            continue
        if len(meant) > 1:
            raise TarkibError(
                f"{where}: {shown(named)} may be any of {some(map(printable, alike))}; rename one of them"
            )
        if meant[0] in described:
            raise TarkibError(f"{where}: {shown(named)} stands there twice; keep one of the two rows")
        for column in _RANGES.keys() & said.keys():
            said[column] = _number(said[column], column, where)
        described[meant[0]] = said
    if absent:
        raise TarkibError(f"{path}: names files that are not there: {some(absent)}")
    return described


def _number(text: str, column: str, where: str) -> float | None:
    """A number of recordings.csv, None where it is not said; an error where it is none or cannot be meant."""
    if not text:
        return None
    low, high = _RANGES[column]
    try:
        number = float(folders.form(text))
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise TarkibError(
            f"{where}: {column} is {shown(text)}; give a number between {low:g} and {high:g}, or leave it blank"
        )
    return number


def _labelled(path: str, said: dict[str, Any]) -> Recording:
    """A recording with the labels of its folders, or of recordings.csv where that says more."""
    parents = path.split("/")[:-1]
    instrument_name = said.get("instrument") or (parents[0] if parents else "")
    instrument = vocabulary.instrument(instrument_name)
    one = Recording(
        path,
        instrument,
        tonic_hz=said.get("tonic_hz"),
        bpm=said.get("bpm"),
        performer=said.get("performer") or None,
    )
    if instrument is None:
        where = _origin(said, "instrument", instrument_name) if instrument_name else "file outside any folder"
        return one.rejected(f"unknown instrument ({where}); known are {', '.join(vocabulary.INSTRUMENTS)}")
    dastgah_name = said.get("dastgah") or (parents[1] if len(parents) > 1 else "")
    if instrument in vocabulary.PERCUSSION:
        return replace(one, tonic_hz=None)
    if not dastgah_name:
        return one
    dastgah = vocabulary.dastgah(dastgah_name)
    if dastgah is None:
        remedy = "leave it blank" if said.get("dastgah") else f"put the file directly in {parents[0]}/"
        return one.rejected(
            f"unknown dastgah ({_origin(said, 'dastgah', dastgah_name)}); known are {', '.join(vocabulary.DASTGAHS)}; "
            f"where it is not known, {remedy}"
        )
    return replace(one, dastgah=dastgah)


def _origin(said: dict[str, Any], column: str, name: str) -> str:
    return f"{'in recordings.csv' if said.get(column) else 'folder'} {shown(name)}"


def _hashed(root: Path, recording: Recording) -> Recording:
    """The recording with its sha256; rejected where it is empty or cannot be read."""
    try:
        with (root / recording.path).open("rb") as file:
            if not file.peek(1):
                return recording.rejected("the file is empty")
            version = _version(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return recording.rejected(f"cannot be opened ({error.strerror}); no permission?")
    return replace(recording, sha256=digest, version=version)


def _version(about: os.stat_result) -> tuple[int, int]:
    return about.st_size, about.st_mtime_ns


def check_unchanged(root: Path, found: Iterable[Recording]) -> None:
    """Raise TarkibError where files are not those any more that were hashed: ids and labels would be others'.

    An error of the whole stage, since DVC would take the changed files for those that were read.
    """
    changed = [one.path for one in found if one.usable and not _is_unchanged(root / one.path, one)]
    if changed:
        raise TarkibError(
            f"{root}: changed while they were read: {some(map(printable, changed))}; run dvc repro again once nothing "
            "writes there"
        )


def _is_unchanged(path: Path, recording: Recording) -> bool:
    try:
        return _version(path.stat()) == recording.version
    except OSError:
        return False


def _without_twins(found: list[Recording]) -> list[Recording]:
    """Reject recordings with another's bytes: all but the first, or all of them where their labels contradict."""
    twins = defaultdict(list)
    for one in found:
        if one.usable:
            twins[one.sha256].append(one)
    contradicting = {sha for sha, same in twins.items() if len({(one.instrument, one.dastgah) for one in same}) > 1}

    def judged(one: Recording) -> Recording:
        same = twins[one.sha256]
        if not one.usable or len(same) == 1:
            return one
        if one.sha256 in contradicting:
            few = islice((printable(other.path) for other in same if other is not one), _NAMED_TWINS)
            others = some(few, _NAMED_TWINS, total=len(same) - 1)
            return one.rejected(f"the same bytes as {others}, but labelled differently; keep the right one")
        return one if one is same[0] else one.rejected(f"the same bytes as {printable(same[0].path)}, which is used")

    return [judged(one) for one in found]


def split(recordings: Iterable[Recording], share: float, seed: int) -> dict[str, str]:
    """Decide for usable recordings whether they are for ``train`` or ``validation``.

    The unit is the performer where one is named, whatever the name's case and keyboard, else the recording, so that no
    voice and no room is in both. Of each
    instrument about `share` of its units go to validation, at least one where it has two, and never the last one left
    for training. A performer of several instruments goes whole.

    Returns
    -------
    dict from recording_id to ``"train"`` or ``"validation"``; depends on the seed and on which units there are.
    """
    recordings = list(recordings)
    named = sorted({one.performer for one in recordings if one.performer})
    spellings = dict(zip(named, folders.one_spelling(named), strict=True))
    members = defaultdict(list)
    for one in recordings:
        name = one.performer and spellings[one.performer]
        members[f"performer {name}" if name else f"recording {one.recording_id}"].append(one)
    units = sorted(members)
    generator(seed, Stream.SPLIT).shuffle(units)
    plays = {unit: {one.instrument for one in members[unit]} for unit in units}
    left = {name: sum(name in plays[unit] for unit in units) for name in vocabulary.INSTRUMENTS}
    wanted = {name: max(1, round(share * n)) if share > 0 and n > 1 else 0 for name, n in left.items()}
    held: set[str] = set()
    for unit in units:
        if any(wanted[name] > 0 for name in plays[unit]) and all(left[name] > 1 for name in plays[unit]):
            held.add(unit)
            for name in plays[unit]:
                wanted[name] -= 1
                left[name] -= 1
    return {one.recording_id: "validation" if unit in held else "train" for unit in units for one in members[unit]}
