"""A data set on disk: a folder of mixtures with the slices that they were made of, or a folder of slices."""

from pathlib import Path
from typing import NamedTuple

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.mixing import rendering

_REMEDY = "run dvc repro, or dvc checkout to have the tables and shards that belong together"


class Mixtures(NamedTuple):
    """Mixtures in the order of their table, their components by mixture_id, and the places of all slices."""

    folder: Path
    slices: Path
    rows: list[dict]
    components: dict[str, list[dict]]
    places: dict[str, rendering.Neighbourhood]


class Slices(NamedTuple):
    """Slices in the order of their table, and their annotations by slice_id (empty: not annotated yet)."""

    folder: Path
    rows: list[dict]
    annotations: dict[str, dict]


def read(folder: Path, split: str | None = None, mode: str | None = None) -> Mixtures | Slices:
    """Read the tables of a data set, or of one split or mode of it, and check that they belong together.

    The slices that mixtures were made of are in ``slices`` beside `folder`. Raises TarkibError where `folder` is no
    data set, lacks the split or the mode, or does not fit its slices.
    """
    if (folder / "mixtures.parquet").is_file():
        return _mixtures(folder, split, mode)
    table = folder / "slices.parquet"
    if not table.is_file():
        raise TarkibError(
            f"{folder}: holds neither mixtures.parquet nor slices.parquet; give a folder of mixtures "
            "(data/mixtures) or of slices (data/slices), made by dvc repro"
        )
    if mode:
        raise TarkibError(f"{folder}: holds slices; leave out --mode, which is for mixtures")
    rows = _chosen(table, tables.SLICES.read(table), split=split)
    file = folder.resolve().parent / "annotations.parquet"
    annotations = {row["slice_id"]: row for row in tables.ANNOTATIONS.read(file)} if file.is_file() else {}
    for slice_id in (row["slice_id"] for row in rows if annotations):
        if slice_id not in annotations:
            raise TarkibError(f"{file}: no annotation of slice {slice_id} in {folder}; {_REMEDY}")
    return Slices(folder, rows, annotations)


def _mixtures(folder: Path, split: str | None, mode: str | None) -> Mixtures:
    table, slices = folder / "mixtures.parquet", folder.resolve().parent / "slices"
    rows = _chosen(table, tables.MIXTURES.read(table), mode=mode, split=split)
    if not (slices / "slices.parquet").is_file():
        raise TarkibError(f"{slices}: not the folder of the slices that {folder} was mixed from; {_REMEDY}")
    components = rendering.by_mixture(tables.COMPONENTS.read(folder / "components.parquet"))
    for mixture_id in (row["mixture_id"] for row in rows):
        if mixture_id not in components:
            raise TarkibError(f"{folder / 'components.parquet'}: no components of mixture {mixture_id}; {_REMEDY}")
    return Mixtures(folder, slices, rows, components, rendering.places(tables.SLICES.read(slices / "slices.parquet")))


def _chosen(table: Path, rows: list[dict], **wanted: str | None) -> list[dict]:
    """The rows whose columns have the wanted values; None stands for any."""
    if not rows:
        raise TarkibError(f"{table}: has no rows; run dvc repro")
    for column, value in wanted.items():
        values = {row[column] for row in rows}
        if value not in (None, *values):
            raise TarkibError(f"--{column} {value}: {table} has only {', '.join(sorted(values))}; name one of these")
        rows = [row for row in rows if value in (None, row[column])]
    return rows
