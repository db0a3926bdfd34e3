"""The clips of a folder of mixtures or slices with their metadata."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from tarkib import tables
from tarkib.audio.clips import CLIPS_PER_SHARD, Place
from tarkib.errors import TarkibError
from tarkib.vocabulary import INSTRUMENTS

_REMEDY = "run dvc repro (or dvc checkout) to restore it"
_TABLES = {"mixtures": tables.MIXTURES, "slices": tables.SLICES}


class Clip(NamedTuple):
    """A clip: the shard of its split that it goes to, and where its FLAC file is now."""

    clip_id: str
    shard: int
    place: Place
    metadata: dict


class Source(NamedTuple):
    """A data set to export: ``mixtures`` or ``slices``, the columns of its metadata, and its clips by split."""

    kind: str
    schema: pa.Schema
    splits: dict[str, list[Clip]]

    @property
    def clips(self) -> int:
        """Number of clips."""
        return sum(map(len, self.splits.values()))


def read(folder: Path) -> Source:
    """Read the tables of a folder of mixtures or slices.

    A clip's metadata are the columns of its table without shard, offset and size; after the instruments ``labels``,
    their indices in `INSTRUMENTS`; and for a mixture ``components``, a list of dicts. Splits are in alphabetical order,
    clips in that of their table.

    Raises TarkibError where the folder is no data set or has no clip; `tarkib verify` compares the tables.
    """
    kind = next((kind for kind in _TABLES if (folder / f"{kind}.parquet").is_file()), None)
    if kind is None:
        raise TarkibError(f"{folder}: has neither mixtures.parquet nor slices.parquet; give data/mixtures, for example")
    table, file = _TABLES[kind], folder / f"{kind}.parquet"
    rows, id_column = table.read(file), table.schema.names[0]
    if not rows:
        raise TarkibError(f"{file}: has no rows, so there is nothing to export; {_REMEDY}")
    schema = _schema(table)
    components = _components(folder / "components.parquet") if kind == "mixtures" else {}
    splits: dict[str, list[Clip]] = {split: [] for split in sorted({row["split"] for row in rows})}
    for row in rows:
        clip_id, clips = row[id_column], splits[row["split"]]
        instruments = row.get("instruments") or [row["instrument"]]
        row |= {"labels": [INSTRUMENTS.index(name) for name in instruments], "components": components.get(clip_id)}
        metadata = {name: row[name] for name in schema.names}
        clips.append(Clip(clip_id, len(clips) // CLIPS_PER_SHARD, Place.of(row), metadata))
    return Source(kind, schema, splits)


def _components(file: Path) -> dict[str, list[dict]]:
    components = defaultdict(list)
    for component in tables.COMPONENTS.read(file):
        components[component.pop("mixture_id")].append(component)
    return components


def _schema(table: tables.Table) -> pa.Schema:
    """The columns as `datasets` writes them: nullable, and a list's elements named as Arrow names them."""
    fields = []
    for field in table.schema:
        if field.name not in Place._fields:
            kind = pa.list_(field.type.value_type) if pa.types.is_list(field.type) else field.type
            fields.append(pa.field(field.name, kind))
        if field.name in ("instrument", "instruments"):
            fields.append(pa.field("labels", pa.list_(pa.int64())))
    if table is tables.MIXTURES:
        parts = [pa.field(field.name, field.type) for field in tables.COMPONENTS.schema if field.name != "mixture_id"]
        fields.append(pa.field("components", pa.list_(pa.struct(parts))))
    return pa.schema(fields)
