"""What is exported: clips of mixtures or slices with their metadata, checked before anything is written."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tarkib import tables
from tarkib.audio.clips import CLIPS_PER_SHARD, Place
from tarkib.errors import TarkibError
from tarkib.vocabulary import INSTRUMENTS

_REMEDY = "run dvc repro (or dvc checkout) to have it made anew"
_PLACE = frozenset(Place._fields)
# An id becomes a file name and a key: a slash would leave the folder, and WebDataset ends the key at the first dot.
_ID = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip: its id, the shard of its split that it goes to, where its FLAC file is, and its metadata."""

    clip_id: str
    shard: int
    place: Place
    metadata: dict


@dataclass(frozen=True)
class Source:
    """A data set to export.

    `kind` is ``"mixtures"`` or ``"slices"``; `schema` has the columns of a clip's metadata, all of which may be null;
    `splits` the clips of each split, training first, in the order of their table.
    """

    folder: Path
    kind: str
    schema: pa.Schema
    splits: dict[str, list[Clip]]

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return sum(map(len, self.splits.values()))


def read(folder: Path) -> Source:
    """Read the tables of a folder of mixtures or slices.

    A clip's metadata are its table's columns but for shard, offset and size; behind the instruments ``labels``, their
    indices in `INSTRUMENTS`; and for a mixture ``components``, a list of dicts.

    Raises TarkibError where the folder is no such folder, holds no clip, lacks a shard, or contradicts itself.
    """
    if not folder.is_dir():
        raise TarkibError(f"{folder}: no such folder; give one of mixtures or slices, data/mixtures say")
    for kind, reader in _READERS.items():
        if (folder / f"{kind}.parquet").is_file():
            return reader(folder)
    files = " nor ".join(f"{kind}.parquet" for kind in _READERS)
    raise TarkibError(f"{folder}: has neither {files}; give a folder of mixtures or slices, data/mixtures say")


def _mixtures(folder: Path) -> Source:
    rows = tables.MIXTURES.read(folder / "mixtures.parquet")
    components: dict[str, list[dict]] = {row["mixture_id"]: [] for row in rows}
    file = folder / "components.parquet"
    for row in tables.COMPONENTS.read(file):
        mixture_id = row.pop("mixture_id")
        if mixture_id not in components:
            raise TarkibError(f"{file}: mixture {mixture_id!r} is not in mixtures.parquet; {_REMEDY}")
        components[mixture_id].append(row)
    for row in rows:
        row["components"] = components[row["mixture_id"]]
        if [one["instrument"] for one in row["components"]] != row["instruments"]:
            raise TarkibError(
                f"{file}: the components of mixture {row['mixture_id']!r} are not its instruments; {_REMEDY}"
            )
    part = pa.struct([_loose(field) for field in tables.COMPONENTS.schema if field.name != "mixture_id"])
    schema = _columns(tables.MIXTURES, "instruments").append(pa.field("components", pa.list_(part)))
    return _source(folder, "mixtures", schema, rows, lambda row: row["instruments"])


def _slices(folder: Path) -> Source:
    rows = tables.SLICES.read(folder / "slices.parquet")
    return _source(folder, "slices", _columns(tables.SLICES, "instrument"), rows, lambda row: [row["instrument"]])


_READERS = {"mixtures": _mixtures, "slices": _slices}


def _columns(table: tables.Table, before_labels: str) -> pa.Schema:
    fields = []
    for field in table.schema:
        if field.name not in _PLACE:
            fields.append(_loose(field))
        if field.name == before_labels:
            fields.append(pa.field("labels", pa.list_(pa.int64())))
    return pa.schema(fields)


def _loose(field: pa.Field) -> pa.Field:
    """A field as `datasets` writes it itself: nullable, and a list's elements named as Arrow names them."""
    kind = pa.list_(field.type.value_type) if pa.types.is_list(field.type) else field.type
    return pa.field(field.name, kind)


def _source(
    folder: Path, kind: str, schema: pa.Schema, rows: list[dict], instruments: Callable[[dict], list[str]]
) -> Source:
    file = folder / f"{kind}.parquet"
    if not rows:
        raise TarkibError(f"{file}: has no rows, so there is nothing to export; {_REMEDY}")
    id_column = schema.names[0]
    _check_names(file, [row[id_column] for row in rows], {row["split"] for row in rows})
    _check_shards(folder, {row["shard"] for row in rows})
    splits: dict[str, list[Clip]] = {split: [] for split in sorted({row["split"] for row in rows})}
    for row in rows:
        unknown = [name for name in instruments(row) if name not in INSTRUMENTS]
        if unknown:
            raise TarkibError(f"{file}: {row[id_column]}: instrument {unknown[0]!r} is none of the ten; {_REMEDY}")
        clips = splits[row["split"]]
        row["labels"] = [INSTRUMENTS.index(name) for name in instruments(row)]
        metadata = {name: row[name] for name in schema.names}
        clips.append(Clip(row[id_column], len(clips) // CLIPS_PER_SHARD, Place.of(row), metadata))
    return Source(folder, kind, schema, splits)


def _check_names(file: Path, ids: list[str], splits: Iterable[str]) -> None:
    for name in (*sorted(splits), *ids):
        if not _ID.fullmatch(name):
            raise TarkibError(f"{file}: {name!r} cannot be part of a file's name; {_REMEDY}")
    clip_id, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise TarkibError(f"{file}: {clip_id!r} stands there {times} times; {_REMEDY}")


def _check_shards(folder: Path, shards: Iterable[str]) -> None:
    missing = [name for name in sorted(shards) if not (folder / name).is_file()]
    if missing:
        raise TarkibError(f"{folder}: {', '.join(missing)} not there; {_REMEDY}")
