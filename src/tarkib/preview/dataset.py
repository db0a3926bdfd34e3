"""A data set on disk: a folder of mixtures with the slices that they were made of, or a folder of slices."""

from dataclasses import dataclass
from pathlib import Path

from tarkib import tables
from tarkib.audio.clips import Place
from tarkib.errors import TarkibError
from tarkib.mixing import rendering

_REMEDY = "run dvc repro, or dvc checkout to have the tables and shards that belong together"


@dataclass(frozen=True)
class Mixtures:
    """Mixtures in the order of their table."""

    folder: Path
    slices: Path
    """folder of the slices that they were made of"""
    rows: list[dict]
    components: dict[str, list[dict]]
    """by mixture_id; never empty"""
    places: dict[str, Place]
    """of every slice, by slice_id"""


@dataclass(frozen=True)
class Slices:
    """Slices in the order of their table, and their annotations by slice_id (None: not annotated yet)."""

    folder: Path
    rows: list[dict]
    annotations: dict[str, dict] | None


def read(
    folder: Path, split: str | None = None, mode: str | None = None, slices: Path | None = None
) -> Mixtures | Slices:
    """Read the tables of a data set and check that they belong together.

    Parameters
    ----------
    folder : holds mixtures.parquet and components.parquet, or slices.parquet.
    split : ``train`` or ``validation``; None for both.
    mode : mode that the mixtures must have; None for any.
    slices : the slices that mixtures were made of; by default the folder ``slices`` beside `folder`.

    Raises
    ------
    TarkibError : `folder` is no data set, lacks the split or the mode, or does not fit its slices.
    """
    if (folder / "mixtures.parquet").is_file():
        return _mixtures(folder, split, mode, slices or folder.resolve().parent / "slices")
    if not (folder / "slices.parquet").is_file():
        raise TarkibError(
            f"{folder}: holds neither mixtures.parquet nor slices.parquet; give a folder of mixtures "
            "(data/mixtures) or of slices (data/slices), made by dvc repro"
        )
    for option, value in (("--mode", mode), ("--slices", slices)):
        if value is not None:
            raise TarkibError(f"{option} {value}: {option} is for mixtures, and {folder} holds slices; leave it out")
    return _slices(folder, split)


def _mixtures(folder: Path, split: str | None, mode: str | None, slices: Path) -> Mixtures:
    rows = tables.MIXTURES.read(folder / "mixtures.parquet")
    modes = sorted({row["mode"] for row in rows})
    if mode is not None and mode not in modes:
        raise TarkibError(
            f"--mode {mode}: the mixtures in {folder} have mode {', '.join(modes)}; leave --mode out, or mix again "
            f"with dvc exp run -S augment.mode={mode}"
        )
    rows = _of_split([row for row in rows if mode in (None, row["mode"])], split, folder / "mixtures.parquet")
    if not (slices / "slices.parquet").is_file():
        raise TarkibError(
            f"{slices}: not a folder of slices; name the mixtures' slices with --slices, or run dvc repro"
        )
    places = rendering.places(tables.SLICES.read(slices / "slices.parquet"))
    table = folder / "components.parquet"
    components = rendering.by_mixture(tables.COMPONENTS.read(table))
    for mixture_id in (row["mixture_id"] for row in rows):
        if mixture_id not in components:
            raise TarkibError(f"{table}: no components of mixture {mixture_id}; {_REMEDY}")
        for component in components[mixture_id]:
            if component["slice_id"] not in places:
                raise TarkibError(
                    f"{folder}: mixture {mixture_id} was made of slice {component['slice_id']}, which {slices} lacks; "
                    f"{_REMEDY}, or name the right slices with --slices"
                )
    return Mixtures(folder, slices, rows, {row["mixture_id"]: components[row["mixture_id"]] for row in rows}, places)


def _slices(folder: Path, split: str | None) -> Slices:
    rows = _of_split(tables.SLICES.read(folder / "slices.parquet"), split, folder / "slices.parquet")
    table = folder.resolve().parent / "annotations.parquet"
    if not table.is_file():
        return Slices(folder, rows, None)
    annotations = {row["slice_id"]: row for row in tables.ANNOTATIONS.read(table)}
    for row in rows:
        if row["slice_id"] not in annotations:
            raise TarkibError(f"{table}: no annotation of slice {row['slice_id']} in {folder}; {_REMEDY}")
    return Slices(folder, rows, annotations)


def _of_split(rows: list[dict], split: str | None, file: Path) -> list[dict]:
    chosen = [row for row in rows if split in (None, row["split"])]
    if not rows:
        raise TarkibError(f"{file}: has no rows; run dvc repro")
    if not chosen:
        splits = ", ".join(sorted({row["split"] for row in rows}))
        raise TarkibError(f"--split {split}: {file} has only {splits}; name one of these, or run dvc repro")
    return chosen
