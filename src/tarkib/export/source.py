"""The clips of a folder of mixtures or slices with their metadata, checked before anything is written."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tarkib import tables
from tarkib.audio.clips import CLIPS_PER_SHARD, Place
from tarkib.errors import TarkibError
from tarkib.vocabulary import INSTRUMENTS

_REMEDY = "run dvc repro (or dvc checkout) to restore it"
_TABLES = {"mixtures": tables.MIXTURES, "slices": tables.SLICES}
# An id becomes a file name and a key: a slash would leave the folder, and WebDataset ends the key at the first dot.
_ID = re.compile(r"[\w-]+")


class Clip(NamedTuple):
    """A clip: the shard of its split that it goes to, and where its FLAC file lies now."""

    clip_id: str
    shard: int
    place: Place
    metadata: dict


class Source(NamedTuple):
    """A data set to export."""

    kind: str
    """``mixtures`` or ``slices``"""
    schema: pa.Schema
    """columns of the metadata, all nullable"""
    splits: dict[str, list[Clip]]
    """training first, clips in the order of their table"""

    @property
    def clips(self) -> int:
        """Number of clips."""
        return sum(map(len, self.splits.values()))


def read(folder: Path) -> Source:
    """Read the tables of a folder of mixtures or slices.

    A clip's metadata are the columns of its table without shard, offset and size; after the instruments ``labels``,
    their indices in `INSTRUMENTS`; and for a mixture ``components``, a list of dicts.

    Raises
    ------
    TarkibError : the folder is no data set, has no clip, lacks a shard, or its tables contradict each other.
    """
    kind = next((kind for kind in _TABLES if (folder / f"{kind}.parquet").is_file()), None)
    if kind is None:
        raise TarkibError(
            f"{folder}: has neither mixtures.parquet nor slices.parquet; give a folder of mixtures or slices, for "
            "example data/mixtures"
        )
    table, file = _TABLES[kind], folder / f"{kind}.parquet"
    rows = table.read(file)
    if not rows:
        raise TarkibError(f"{file}: has no rows, so there is nothing to export; {_REMEDY}")
    schema = _schema(table)
    if kind == "mixtures":
        schema = schema.append(_add_components(rows, folder / "components.parquet"))
    _check(folder, file, rows, table.schema.names[0])
    splits: dict[str, list[Clip]] = {split: [] for split in sorted({row["split"] for row in rows})}
    for row in rows:
        clip_id, clips = row[table.schema.names[0]], splits[row["split"]]
        instruments = row.get("instruments") or [row["instrument"]]
        for name in instruments:
            if name not in INSTRUMENTS:
                raise TarkibError(f"{file}: {clip_id}: {name!r} is not one of the ten instruments; {_REMEDY}")
        row["labels"] = [INSTRUMENTS.index(name) for name in instruments]
        metadata = {name: row[name] for name in schema.names}
        clips.append(Clip(clip_id, len(clips) // CLIPS_PER_SHARD, Place.of(row), metadata))
    return Source(kind, schema, splits)


def _add_components(rows: list[dict], file: Path) -> pa.Field:
    """Add to each mixture the list of its components, and return the field that describes it."""
    components: dict[str, list[dict]] = {row["mixture_id"]: [] for row in rows}
    for component in tables.COMPONENTS.read(file):
        mixture_id = component.pop("mixture_id")
        if mixture_id not in components:
            raise TarkibError(f"{file}: mixture {mixture_id!r} is not in mixtures.parquet; {_REMEDY}")
        components[mixture_id].append(component)
    for row in rows:
        row["components"] = components[row["mixture_id"]]
        if [component["instrument"] for component in row["components"]] != row["instruments"]:
            raise TarkibError(
                f"{file}: the components of mixture {row['mixture_id']!r} are not its instruments; {_REMEDY}"
            )
    fields = [_nullable(field) for field in tables.COMPONENTS.schema if field.name != "mixture_id"]
    return pa.field("components", pa.list_(pa.struct(fields)))


def _schema(table: tables.Table) -> pa.Schema:
    fields = []
    for field in table.schema:
        if field.name not in Place._fields:
            fields.append(_nullable(field))
        if field.name in ("instrument", "instruments"):
            fields.append(pa.field("labels", pa.list_(pa.int64())))
    return pa.schema(fields)


def _nullable(field: pa.Field) -> pa.Field:
    """Return a field as `datasets` writes it: nullable, and a list's elements named as Arrow names them."""
    kind = pa.list_(field.type.value_type) if pa.types.is_list(field.type) else field.type
    return pa.field(field.name, kind)


def _check(folder: Path, file: Path, rows: list[dict], id_column: str) -> None:
    ids = Counter(row[id_column] for row in rows)
    for name in (*sorted({row["split"] for row in rows}), *ids):
        if not _ID.fullmatch(name):
            raise TarkibError(f"{file}: {name!r} cannot be part of a file name; {_REMEDY}")
    clip_id, times = ids.most_common(1)[0]
    if times > 1:
        raise TarkibError(f"{file}: {clip_id!r} occurs {times} times; {_REMEDY}")
    missing = [name for name in sorted({row["shard"] for row in rows}) if not (folder / name).is_file()]
    if missing:
        raise TarkibError(f"{folder}: {', '.join(missing)} is missing; {_REMEDY}")
