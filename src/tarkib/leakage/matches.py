"""Compare a test set with the recordings that a classifier was trained on.

Validation recordings are included, since the best epoch and the thresholds are chosen on them. An excerpt is reported
with the strongest of three kinds of evidence:

* ``bytes``: its file is a recording, byte for byte;
* ``sound``: it sounds in a slice, in any format, rate and level (`tarkib.leakage.acoustic`);
* ``name``: its file, id or recording has the name of a recording, up to case and file extension. Plain numbers are not
  compared, since unrelated collections share them.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from tarkib import audio, tables
from tarkib.audio.clips import ClipStore, Place
from tarkib.evaluation.testset import TestSet
from tarkib.leakage import acoustic
from tarkib.recordings import folders
from tarkib.runtime import text
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.progress import progress

_WARNINGS = {
    "bytes": "are training recordings, byte for byte",
    "sound": "sound in training recordings",
    "name": "have the name of a training recording",
}

_Pair = tuple[str, str, float | None]  # test id, recording_id, start in the recording in seconds


class Match(NamedTuple):
    """A test excerpt that also occurs in a recording of the split ``train`` or ``validation``.

    `start_s` is where the excerpt starts in the recording, in seconds; None unless `kind` is ``sound``.
    """

    excerpt: str
    recording: str
    split: str
    kind: str
    start_s: float | None = None


def find(test: TestSet, excerpts: Sequence[np.ndarray], folder: Path) -> list[Match]:
    """Compare test excerpts, each of shape (n,) at 24 kHz, with the recordings whose slices are in a folder.

    Returns the matches by kind and in the order of the excerpts; an excerpt may have the name of several recordings.
    Raises TarkibError where the folder is not what the slice stage leaves.
    """
    slices = tables.SLICES.read(folder / "slices.parquet")
    splits = {row["recording_id"]: row["split"] for row in slices}
    rows = tables.RECORDINGS.read(folder / "recordings.parquet")
    recordings = {row["recording_id"]: row for row in rows if row["status"] == "ok" and row["recording_id"] in splits}
    evidence = {
        "bytes": _same_bytes(test, recordings),
        "sound": _same_sound(test, excerpts, slices, folder),
        "name": _same_name(test, recordings),
    }
    strongest: dict[str, str] = {}
    return [
        Match(excerpt, text.printable(recordings[recording_id]["path"]), splits[recording_id], kind, start_s)
        for kind, pairs in evidence.items()
        for excerpt, recording_id, start_s in pairs
        if strongest.setdefault(excerpt, kind) == kind
    ]


def _same_bytes(test: TestSet, recordings: Mapping[str, Mapping]) -> Iterator[_Pair]:
    by_sha = {row["sha256"]: recording_id for recording_id, row in recordings.items()}
    for excerpt, path in zip(test.ids, test.paths, strict=True):
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        if sha in by_sha:
            yield excerpt, by_sha[sha], None


def _same_sound(
    test: TestSet, excerpts: Sequence[np.ndarray], slices: Sequence[Mapping], folder: Path
) -> Iterator[_Pair]:
    with ClipStore(folder) as store:
        clips = progress((store.read(Place.of(row)) for row in slices), len(slices), "slices compared")
        for match in acoustic.find(excerpts, clips):
            row = slices[match.clip]
            yield test.ids[match.excerpt], row["recording_id"], round(max(0.0, row["start_s"] + match.lag_s), 3)


def _same_name(test: TestSet, recordings: Mapping[str, Mapping]) -> Iterator[_Pair]:
    by_name = defaultdict(set)
    for recording_id, row in recordings.items():
        for name in (recording_id, row["path"], PurePosixPath(row["path"]).name):
            by_name[_plain(name)].add(recording_id)
    for excerpt, path, recording in zip(test.ids, test.paths, test.recordings, strict=True):
        names = {_plain(name) for name in (excerpt, path.name, recording)}
        for recording_id in sorted(set().union(*(by_name[name] for name in names if not name.isdecimal()))):
            yield excerpt, recording_id, None


def _plain(name: str) -> str:
    """A name for comparison: one Unicode form, no case, no audio file extension."""
    path = PurePosixPath(folders.form(name.strip()).casefold())
    return str(path.with_suffix("") if path.suffix in audio.SUFFIXES else path)


def warnings(matches: Sequence[Match]) -> Iterator[str]:
    """One sentence for each kind of evidence: how many excerpts match, and the first of them."""
    for kind, description in _WARNINGS.items():
        pairs = [f"{match.excerpt} = {match.recording} ({match.split})" for match in matches if match.kind == kind]
        if pairs:
            yield (
                f"warning: test excerpts that {description} ({_count(matches, kind)}): "
                f"{text.some(map(text.printable, pairs))}; "
                "if it is the same music, remove it from the test set or from data.raw"
            )


def _count(matches: Sequence[Match], kind: str) -> int:
    return len({match.excerpt for match in matches if match.kind == kind})


def write(path: Path, excerpts: int, matches: Sequence[Match]) -> None:
    """Write leakage.json: the number of excerpts compared, of those that match by kind, and every match."""
    counts = {f"same_{kind}": _count(matches, kind) for kind in _WARNINGS}
    content = {"excerpts": excerpts, **counts, "matches": [match._asdict() for match in matches]}
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
