"""Compare a test set with the recordings that a classifier was trained on.

Validation recordings count as training: the best epoch and the thresholds come from them. There are three kinds of
evidence, from the strongest to the weakest; an excerpt is reported for the first that applies:

* ``bytes``: the test file is a recording, byte for byte;
* ``sound``: the excerpt sounds in a slice, in whatever format, rate and level (`tarkib.leakage.acoustic`);
* ``name``: its file, id or recording has the name of a recording, up to case and file extension. Names that are plain
  numbers are not compared: two collections share those by chance.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tarkib import audio, tables
from tarkib.audio.clips import ClipStore, Place
from tarkib.evaluation.testset import TestSet
from tarkib.leakage import acoustic
from tarkib.recordings import folders
from tarkib.runtime import text
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.progress import progress

KINDS = {
    "bytes": "are training recordings, byte for byte",
    "sound": "sound in training recordings",
    "name": "have the name of a training recording",
}
"""Kinds of evidence, the strongest first."""

_REMEDY = "if it is the same music, remove it from the test set or from data.raw"


@dataclass(frozen=True)
class Match:
    """A test excerpt that also occurs in a recording of the split ``train`` or ``validation``.

    kind : one of `KINDS`.
    start_s : seconds from the start of the recording to that of the excerpt; None unless the kind is ``sound``.
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
    recordings = {
        row["recording_id"]: {**row, "split": splits[row["recording_id"]]}
        for row in tables.RECORDINGS.read(folder / "recordings.parquet")
        if row["recording_id"] in splits
    }
    matches = [
        *_same_bytes(test, recordings),
        *_same_sound(test, excerpts, recordings, slices, folder),
        *_same_name(test, recordings),
    ]
    strongest: dict[str, str] = {}
    for match in matches:
        strongest.setdefault(match.excerpt, match.kind)
    return [match for match in matches if match.kind == strongest[match.excerpt]]


def _match(excerpt: str, recording: Mapping, kind: str, start_s: float | None = None) -> Match:
    return Match(excerpt, text.printable(recording["path"]), recording["split"], kind, start_s)


def _same_bytes(test: TestSet, recordings: Mapping[str, Mapping]) -> Iterator[Match]:
    by_sha = {row["sha256"]: row for row in recordings.values()}
    for excerpt, path in zip(test.ids, test.paths, strict=True):
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        if sha in by_sha:
            yield _match(excerpt, by_sha[sha], "bytes")


def _same_sound(
    test: TestSet,
    excerpts: Sequence[np.ndarray],
    recordings: Mapping[str, Mapping],
    slices: Sequence[Mapping],
    folder: Path,
) -> Iterator[Match]:
    with ClipStore(folder) as store:
        clips = (store.read(Place.of(row)) for row in slices)
        for match in acoustic.find(excerpts, progress(clips, len(slices), "slices compared with the test set")):
            row = slices[match.clip]
            start_s = round(max(0.0, row["start_s"] + match.lag_s), 3)
            yield _match(test.ids[match.excerpt], recordings[row["recording_id"]], "sound", start_s)


def _same_name(test: TestSet, recordings: Mapping[str, Mapping]) -> Iterator[Match]:
    by_name = defaultdict(list)
    for recording_id, row in recordings.items():
        for name in {_plain(recording_id), _plain(row["path"]), _plain(PurePosixPath(row["path"]).name)}:
            by_name[name].append(row)
    for excerpt, path, recording in zip(test.ids, test.paths, test.recordings, strict=True):
        names = {_plain(name) for name in (recording, excerpt, path.name)}
        namesakes = {row["path"]: row for name in names if not name.isdecimal() for row in by_name.get(name, [])}
        for _, row in sorted(namesakes.items()):
            yield _match(excerpt, row, "name")


def _plain(name: str) -> str:
    """Normalise a name for comparison: one Unicode form, no case, no audio file extension."""
    name = folders.form(name.strip()).casefold()
    extension = PurePosixPath(name).suffix
    return name.removesuffix(extension) if extension in audio.SUFFIXES else name


def warnings(matches: Sequence[Match]) -> Iterator[str]:
    """One sentence for each kind of evidence: how many excerpts match, and the first of them."""
    for kind, description in KINDS.items():
        of_kind = [match for match in matches if match.kind == kind]
        if of_kind:
            count = len({match.excerpt for match in of_kind})
            names = text.some(text.printable(f"{match.excerpt} = {_place(match)}") for match in of_kind)
            yield f"warning: test excerpts that {description} ({count}): {names}; {_REMEDY}"


def _place(match: Match) -> str:
    start = "" if match.start_s is None else f" at {text.clock(match.start_s)}"
    return f"{match.recording} ({match.split}){start}"


def write(path: Path, excerpts: int, matches: Sequence[Match]) -> None:
    """Write leakage.json: the number of excerpts compared, of those that match by kind, and every match.

    The counts (`excerpts`, `same_bytes`, `same_sound`, `same_name`) are what `dvc metrics` shows; `matches` is a list
    of `Match`.
    """
    counts = {f"same_{kind}": len({match.excerpt for match in matches if match.kind == kind}) for kind in KINDS}
    content = {"excerpts": excerpts, **counts, "matches": [asdict(match) for match in matches]}
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
