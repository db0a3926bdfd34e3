"""Mixtures and slices in the formats that other people's training code reads, sound and labels together.

The FLAC files are copied as they are, so what is exported is bit for bit what is trained on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tarkib.audio.clips import ClipStore
from tarkib.errors import TarkibError
from tarkib.export import card, formats
from tarkib.export.source import Clip, Source, read
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.progress import progress

FORMATS: dict[str, Callable] = {
    "audiofolder": formats.audiofolder,
    "webdataset": formats.webdataset,
    "parquet": formats.parquet,
}


@dataclass(frozen=True)
class Export:
    """What was written: how many clips, bytes of all files, and the line of Python that loads it."""

    clips: int
    size: int
    loading: str


def export(dataset: Path | str, to: str, out: Path | str, *, overwrite: bool = False) -> Export:
    """Write a folder of mixtures or slices in another format.

    Parameters
    ----------
    dataset : the folder that holds the tables and shards.
    to : a key of `FORMATS`.
    out : the folder to make. The same data set gives the same bytes.
    overwrite : whether `out` may hold something, which is then replaced.

    Raises TarkibError where the data set cannot be used, `out` is taken, overlaps it, or has no room; whatever the
    reason, `out` is then as it was.
    """
    # Resolved, so that "." and a link are what they stand for.
    dataset, target = Path(dataset), Path(out).resolve()
    _check_apart(dataset, target)
    source = read(dataset)
    _check_free(target, overwrite)
    try:
        with ClipStore(dataset) as store, atomic_dir(target) as folder:
            FORMATS[to](source, _sounds(source, store), folder)
            (folder / "README.md").write_text(card.write(source, to), encoding="utf-8")
    except OSError as error:
        raise TarkibError(
            f"{out}: {error.strerror or error}; nothing is left of this export: make room or give another folder"
        ) from error
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return Export(source.clips, size, card.loading(source, to, str(out)))


def _sounds(source: Source, store: ClipStore) -> Iterator[formats.Sound]:
    clips: Iterator[tuple[str, Clip]] = ((split, clip) for split, clips in source.splits.items() for clip in clips)
    for split, clip in progress(clips, source.clips, "clips"):
        yield split, clip, store.read_bytes(clip.place)


def _check_apart(dataset: Path, target: Path) -> None:
    """Refuse a target whose making would change or delete the data set."""
    inner = dataset.resolve()
    if target == inner or inner in target.parents:
        raise TarkibError(f"{target}: lies in the data set {dataset} itself; give a folder elsewhere")
    if target in inner.parents:
        raise TarkibError(f"{target}: would be replaced with the data set {dataset} in it; give a folder elsewhere")


def _check_free(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        if not overwrite and any(target.iterdir()):
            raise TarkibError(f"{target}: is not empty; give another folder, or --overwrite to replace all of it")
    elif target.exists():
        raise TarkibError(f"{target}: is a file; give a folder")
