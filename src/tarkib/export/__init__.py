"""Mixtures and slices in the formats that other training code reads, sound and labels together.

The FLAC files are copied as they are, so an export is bit for bit what Tarkib trains on.
"""

from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tarkib.audio.clips import ClipStore
from tarkib.errors import TarkibError
from tarkib.export import card, formats
from tarkib.export.source import read
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.progress import progress

FORMATS = {"audiofolder": formats.audiofolder, "webdataset": formats.webdataset, "parquet": formats.parquet}


class Export(NamedTuple):
    """What was written: number of clips, bytes of all files, and the Python expression that loads it."""

    clips: int
    size: int
    loading: str


def export(dataset: Path | str, to: str, out: Path | str, *, overwrite: bool = False) -> Export:
    """Write a folder of mixtures or slices as a new folder `out`, in a format of `FORMATS`.

    The same data set gives the same bytes. `overwrite` replaces an `out` that is not empty.

    Raises TarkibError where the data set cannot be used, or `out` is not empty, overlaps the data set, or the disk is
    full; `out` is then as it was.
    """
    # Resolved, so that "." and links are compared by the folder that they name.
    dataset, target = Path(dataset), Path(out).resolve()
    original = dataset.resolve()
    if original in (target, *target.parents) or target in original.parents:
        raise TarkibError(f"{target}: lies in the data set {dataset} or holds it; give a folder elsewhere")
    source = read(dataset)
    if target.exists() and not target.is_dir():
        raise TarkibError(f"{target}: is a file; give a folder")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise TarkibError(f"{target}: is not empty; give another folder, or --overwrite to replace all of it")
    try:
        with ClipStore(dataset) as store, atomic_dir(target) as folder:
            clips = progress(chain(*source.splits.values()), source.clips, "clips")
            FORMATS[to](source, ((clip, store.read_bytes(clip.place)) for clip in clips), folder)
            (folder / "README.md").write_text(card.text(source, to), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise TarkibError(f"{out}: {reason}; nothing was written: make room or give another folder") from error
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return Export(source.clips, size, card.loading(source, to, str(out)))
