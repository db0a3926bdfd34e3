"""Solo recordings in a folder, hashed and labelled. One bad recording is a `Recording` with a reason, no exception."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.recordings import folders, labels
from tarkib.runtime.text import bounded, printable, some
from tarkib.tables import RECORDINGS

_NAMED_TWINS = 4


@dataclass(frozen=True)
class Recording:
    """A file that may be sliced; `reason` says why it will not be (or what is odd), `usable` which of the two.

    `path` is relative to the root, with forward slashes. `version` is the file's size in bytes and time of change in ns
    when it was hashed.
    """

    path: str
    instrument: str | None = None
    dastgah: str | None = None
    tonic_hz: float | None = None
    bpm: float | None = None
    performer: str | None = None
    sha256: str = ""
    seconds: float | None = None
    sample_rate: int | None = None
    usable: bool = True
    reason: str | None = None
    version: tuple[int, int] | None = None

    @property
    def recording_id(self) -> str:
        """Follows the content, so that adding or renaming files changes no other recording's id."""
        return f"{self.instrument or 'unknown'}-{self.sha256[:12]}"

    @property
    def row(self) -> dict:
        """The row in the table of recordings."""
        fields = {"recording_id": self.recording_id, "status": "ok" if self.usable else "rejected", **vars(self)}
        return {name: fields[name] for name in RECORDINGS.schema.names}

    def rejected(self, reason: str) -> "Recording":
        """The same recording, not to be used, and why."""
        return replace(self, usable=False, reason=reason)


def find(root: Path, content: folders.Listing | None = None) -> list[Recording]:
    """Find every audio file below a folder but hidden ones, in the order of their paths, hashed and labelled.

    `content` is the folder's listing where the caller has it. Links are followed (see `folders`); what cannot be
    followed or read is a `Recording` too, with the reason.
    Raises TarkibError where the folder is missing or holds no audio file, or where recordings.csv is wrong.
    """
    if not root.is_dir():
        raise TarkibError(f"{root}: no such folder; put recordings there or point data.raw to them")
    entries = (content or folders.listing(root)).entries
    rows = labels.read(labels.table_path(root), [entry.path for entry in entries])
    if not entries:
        endings = " ".join(sorted(audio.SUFFIXES))
        raise TarkibError(f"{root}: no recordings ({endings}); they belong in <instrument>/<dastgah>/ folders")
    return _without_twins([_examined(root, entry, rows.get(entry.path, {})) for entry in entries])


def remarks(root: Path, content: folders.Listing) -> list[str]:
    """Warnings about the rest of a folder: files that are not read, and links that DVC does not follow."""
    others = [bounded(path, 60) for path in content.others if path != labels.table_path(root).name]
    lines = folders.remarks(root, content)
    if others:
        kinds = "neither recordings by their endings nor recordings.csv"
        lines.insert(0, f"{printable(root)}: {kinds}, not read: {some(others)}")
    return lines


def _examined(root: Path, entry: folders.Entry, row: dict) -> Recording:
    """A file labelled and hashed, or the reason why it is not used."""
    fields, problem = labels.combined(entry.path, row)
    recording = Recording(entry.path, **fields)
    if entry.problem:
        # Its path is never opened again, and must be printable.
        return replace(recording.rejected(entry.problem), path=printable(entry.path))
    try:
        with (root / entry.path).open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size == 0:
                return recording.rejected("the file is empty")
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return recording.rejected(f"cannot be opened ({error.strerror}); no permission?")
    recording = replace(recording, sha256=sha256, version=_version(status))
    return recording.rejected(problem) if problem else recording


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def check_unchanged(root: Path, recordings: Iterable[Recording]) -> None:
    """Raise TarkibError where files have changed since they were hashed: their ids and labels would be wrong.

    An error of the whole stage, since DVC would take the changed files for those that were read.
    """
    changed = []
    for recording in recordings:
        path = root / recording.path
        if recording.usable and (not path.exists() or _version(path.stat()) != recording.version):
            changed.append(printable(recording.path))
    if changed:
        raise TarkibError(
            f"{root}: changed while they were read: {some(changed)}; run dvc repro again once nothing writes there"
        )


def _without_twins(recordings: list[Recording]) -> list[Recording]:
    """Reject recordings with another's bytes: all but the first, or all of them where their labels contradict."""
    twins = defaultdict(list)
    for recording in recordings:
        if recording.usable:
            twins[recording.sha256].append(recording)

    def judged(recording: Recording) -> Recording:
        same = twins[recording.sha256]
        if not recording.usable or len(same) == 1:
            return recording
        if len({(twin.instrument, twin.dastgah) for twin in same}) > 1:
            others = [twin for twin in same[: _NAMED_TWINS + 1] if twin is not recording]
            names = some((printable(twin.path) for twin in others), _NAMED_TWINS, total=len(same) - 1)
            return recording.rejected(f"the same bytes as {names}, but labelled differently; keep the right one")
        if recording is same[0]:
            return recording
        return recording.rejected(f"the same bytes as {printable(same[0].path)}, which is used")

    return [judged(recording) for recording in recordings]
