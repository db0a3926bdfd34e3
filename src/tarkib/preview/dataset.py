"""A data set on disk that can be shown: a folder of mixtures with the slices they were made of, or of slices."""

from dataclasses import dataclass
from pathlib import Path

from tarkib import tables
from tarkib.errors import TarkibError
from tarkib.mixing import rendering

_REMEDY = "run dvc repro, or dvc checkout to have the tables and shards that belong together"


@dataclass(frozen=True)
class Mixtures:
    """Mixtures of one mode, in the order of their table.

    Attributes
    ----------
    folder, slices : the folders of the mixtures' and of the slices' shards.
    rows : the mixtures; all of one split if one was asked for.
    components : of each mixture, by its id; never empty.
    places : of every slice and its neighbours, by its id.
    """

    folder: Path
    slices: Path
    rows: list[dict]
    components: dict[str, list[dict]]
    places: dict[str, rendering.Neighbourhood]


@dataclass(frozen=True)
class Slices:
    """Slices, in the order of their table, and what was annotated of each, by its id (None: nothing was)."""

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
    mode : that the mixtures must have; None for any.
    slices : the slices that mixtures were made of; by default the folder ``slices`` beside `folder`.

    Raises TarkibError where the folder is no data set, lacks the split or the mode, or does not fit its slices.
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
            raise TarkibError(
                f"{option} {value}: {folder} is a folder of slices; {option} is for mixtures, leave it out"
            )
    return _slices(folder, split)


def _mixtures(folder: Path, split: str | None, mode: str | None, slices: Path) -> Mixtures:
    rows = tables.MIXTURES.read(folder / "mixtures.parquet")
    modes = sorted({row["mode"] for row in rows})
    if mode is not None and mode not in modes:
        raise TarkibError(
            f"--mode {mode}: the mixtures in {folder} are of mode {', '.join(modes)}; leave --mode out, or mix anew "
            f"with dvc exp run -S augment.mode={mode}"
        )
    rows = _of_split([row for row in rows if mode in (None, row["mode"])], split, folder / "mixtures.parquet")
    if not (slices / "slices.parquet").is_file():
        raise TarkibError(f"{slices}: not a folder of slices; name the mixtures' own with --slices, or run dvc repro")
    places = rendering.places(tables.SLICES.read(slices / "slices.parquet"))
    components = rendering.by_mixture(tables.COMPONENTS.read(folder / "components.parquet"))
    for row in rows:
        of_it = components.get(row["mixture_id"], [])
        if not of_it:
            raise TarkibError(f"{folder / 'components.parquet'}: nothing of mixture {row['mixture_id']}; {_REMEDY}")
        for one in of_it:
            if one["slice_id"] not in places:
                raise TarkibError(
                    f"{folder}: mixture {row['mixture_id']} was made of slice {one['slice_id']}, which {slices} "
                    f"does not hold; {_REMEDY}, or name the right slices with --slices"
                )
    return Mixtures(folder, slices, rows, {row["mixture_id"]: components[row["mixture_id"]] for row in rows}, places)


def _slices(folder: Path, split: str | None) -> Slices:
    rows = _of_split(tables.SLICES.read(folder / "slices.parquet"), split, folder / "slices.parquet")
    beside = folder.resolve().parent / "annotations.parquet"
    if not beside.is_file():
        return Slices(folder, rows, None)
    annotations = {row["slice_id"]: row for row in tables.ANNOTATIONS.read(beside)}
    for row in rows:
        if row["slice_id"] not in annotations:
            raise TarkibError(f"{beside}: nothing of slice {row['slice_id']} in {folder}; {_REMEDY}")
    return Slices(folder, rows, annotations)


def _of_split(rows: list[dict], split: str | None, file: Path) -> list[dict]:
    chosen = [row for row in rows if split in (None, row["split"])]
    if not chosen:
        there = ", ".join(sorted({row["split"] for row in rows}))
        if there:
            raise TarkibError(
                f"--split {split}: {file} holds nothing of it, only {there}; ask for that, or run dvc repro"
            )
        raise TarkibError(f"{file}: holds no rows; run dvc repro")
    return chosen
