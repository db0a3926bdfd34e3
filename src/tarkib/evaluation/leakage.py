"""Whether the test set was learnt from: test clips that are among the slices, or cut from the same recordings.

Validation counts as training: the best epoch and the thresholds come from it. Three kinds of evidence, each weaker than
the one before, and a clip is named once:

* the same bytes: the test file is a recording, or a slice taken out of its shard, to the bit;
* the same sound: it sounds in a slice, whatever its format, rate and level (`tarkib.evaluation.acoustic`);
* the same name: its recording, its id or its file is called like a recording, but for case and ending. Two files may
  well share a name and nothing else, which is why numbers alone are not compared.

Findings are sentences for the reader. They warn, and stop nothing: only a person knows what is the same music.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tarkib import audio, tables
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.evaluation import acoustic
from tarkib.evaluation.testset import TestSet
from tarkib.recordings import folders
from tarkib.runtime import text
from tarkib.runtime.progress import progress


def warnings(test: TestSet, excerpts: Sequence[np.ndarray], folder: Path) -> list[str]:
    """What the test set shares with the slices in a folder, one sentence for each kind of evidence; none, if nothing.

    excerpts : the test clips' sound, each of shape (n,), at 24 kHz.
    folder : as the slice stage leaves it. Where it is absent or damaged, the only sentence says that nothing was
        compared.
    """
    if not (folder / "slices.parquet").is_file():
        return [f"{folder}: not there, so test clips were not compared with what was trained on"]
    try:
        with ClipStore(folder) as store:
            return _Comparison(test, excerpts, folder, store).warnings()
    except TarkibError as error:
        return [f"test clips could not be compared with what was trained on: {error}"]


class _Comparison:
    """A test set beside the slices; finds evidence, the strongest first."""

    def __init__(self, test: TestSet, excerpts: Sequence[np.ndarray], folder: Path, store: ClipStore) -> None:
        self.test, self.excerpts, self.store = test, excerpts, store
        self.slices = tables.SLICES.read(folder / "slices.parquet")
        self.splits = {row["recording_id"]: row["split"] for row in self.slices}
        rows = tables.RECORDINGS.read(folder / "recordings.parquet")
        self.recordings = {row["recording_id"]: row for row in rows if row["recording_id"] in self.splits}
        self.found: set[int] = set()

    def warnings(self) -> list[str]:
        """Sentences about bytes, then sound, then names."""
        kinds = (
            ("are files that were trained or validated on", self._same_bytes),
            ("sound in recordings that were trained or validated on", self._same_sound),
            ("are called like recordings that were trained or validated on; are they the same music?", self._same_name),
        )
        return [sentence for what, search in kinds for sentence in _told(what, dict(search()))]

    def _named(self, recording_id: str) -> str:
        return f"{self.recordings[recording_id]['path']} ({self.splits[recording_id]})"

    def _same_bytes(self) -> Iterator[tuple[str, str]]:
        by_sha = {row["sha256"]: recording_id for recording_id, row in self.recordings.items()}
        by_size = defaultdict(list)
        for row in self.slices:
            by_size[row["size"]].append(row)
        for k, path in enumerate(self.test.paths):
            content = path.read_bytes()
            sha = hashlib.sha256(content).hexdigest()
            if sha in by_sha:
                found = self._named(by_sha[sha])
            else:
                alike = (row for row in by_size[len(content)] if self.store.read_bytes(Place.of(row)) == content)
                found = next((f"slice {row['slice_id']} ({row['split']})" for row in alike), None)
            if found:
                self.found.add(k)
                yield self.test.ids[k], found

    def _same_sound(self) -> Iterator[tuple[str, str]]:
        left = [k for k in range(len(self.excerpts)) if k not in self.found]
        heard = progress(map(self._heard, self.slices), len(self.slices), "slices compared with the test set")
        for match in acoustic.find([self.excerpts[k] for k in left], heard):
            row, k = self.slices[match.clip], left[match.excerpt]
            self.found.add(k)
            at = text.clock(max(0.0, row["start_s"] + match.lag_s))
            yield self.test.ids[k], f"{self._named(row['recording_id'])} at {at}"

    def _heard(self, row: dict) -> np.ndarray:
        return self.store.read(Place.of(row))

    def _same_name(self) -> Iterator[tuple[str, str]]:
        called: dict[str, list[str]] = defaultdict(list)
        for recording_id, row in self.recordings.items():
            for name in {_plain(recording_id), _plain(row["path"]), _plain(PurePosixPath(row["path"]).name)}:
                called[name].append(self._named(recording_id))
        for k, path in enumerate(self.test.paths):
            for name in (self.test.recordings[k], self.test.ids[k], path.name):
                if k not in self.found and (alike := called.get(_plain(name))) and not _plain(name).isdecimal():
                    self.found.add(k)
                    # Clips of one recording make one entry.
                    yield name, text.some(alike, 3)


def _plain(name: str) -> str:
    """A name for comparing: one way of storing letters, no case, no ending of an audio file."""
    name = folders.form(name.strip()).casefold()
    ending = PurePosixPath(name).suffix
    return name.removesuffix(ending) if ending in audio.SUFFIXES else name


def _told(what: str, found: dict[str, str]) -> Iterator[str]:
    if found:
        named = text.some([text.printable(f"{name} = {other}") for name, other in found.items()])
        yield f"warning: test clips {what} ({len(found)}): {named}"
