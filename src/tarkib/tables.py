"""The tables between the stages: parquet files whose columns are the contract, checked on write and on read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tarkib.errors import TarkibError
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.text import some

_REMEDY = "run dvc repro (or dvc checkout) to make it again"

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Table:
    """A kind of table: its name and its columns, of which only the nullable ones may hold null."""

    name: str
    schema: pa.Schema

    def write(self, path: Path | str, rows: Iterable[dict]) -> None:
        """Write dicts with exactly this table's columns, else ValueError; equal rows give equal bytes."""
        rows = list(rows)
        columns = set(self.schema.names)
        for row in rows:
            if row.keys() != columns:
                raise ValueError(f"{self.name}: columns {sorted(row.keys() ^ columns)} are missing or unknown")
        table = pa.Table.from_pylist(rows, schema=self.schema)
        if nulls := self._columns_with_null(table):
            raise ValueError(f"{self.name}: null in {nulls}")
        with atomic_file(path) as partial:
            pq.write_table(table, partial, compression="zstd")

    def read(self, path: Path | str) -> list[dict]:
        """Rows, with None for null; TarkibError where the file is missing, damaged or not such a table."""
        try:
            table = pq.read_table(path)
        except FileNotFoundError as error:
            raise TarkibError(f"{path}: not there; {_REMEDY}") from error
        except (pa.ArrowException, OSError) as error:
            raise TarkibError(f"{path}: cannot be read ({' '.join(str(error).split())}); {_REMEDY}") from error
        if not table.schema.equals(self.schema):
            columns = set(table.schema.names) ^ set(self.schema.names)
            other = f"columns {some(sorted(columns))}" if columns else "types or order of columns"
            raise TarkibError(f"{path}: is not a table of {self.name} of this version ({other}); {_REMEDY}")
        if nulls := self._columns_with_null(table):
            raise TarkibError(f"{path}: null in {', '.join(nulls)}; {_REMEDY}")
        return table.to_pylist()

    def _columns_with_null(self, table: pa.Table) -> list[str]:
        return [column.name for column in self.schema if not column.nullable and table[column.name].null_count]


def spread(rows: Sequence[_Row], count: int) -> list[_Row]:
    """At most `count` rows, evenly spread from the first to the last.

    >>> spread("abcdefghi", 3), spread("ab", 3)
    (['a', 'e', 'i'], ['a', 'b'])
    """
    return [rows[k] for k in np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


_TYPES = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
_TYPES |= {f"[{name}]": pa.list_(pa.field("element", kind)) for name, kind in _TYPES.items()}


def declare(name: str, columns: str) -> Table:
    """Declare a table by its columns, separated by blanks: `name:type`, text by default; `name?` may hold null."""
    declared = [column.partition(":") for column in columns.split()]
    fields = [
        pa.field(name.rstrip("?"), _TYPES[kind or "text"], nullable=name.endswith("?")) for name, _, kind in declared
    ]
    return Table(name, pa.schema(fields))


class Roots(NamedTuple):
    """The folders that the paths of recordings begin in, by origin: data.raw, and the orchestra's."""

    own: Path
    demo: Path

    def file(self, row: Mapping[str, Any]) -> Path:
        """The file of a row of the table of recordings."""
        return getattr(self, row["origin"]) / row["path"]


RECORDINGS = declare(
    "recordings",
    "recording_id origin path sha256 instrument? dastgah? avaz? tonic_hz?:float bpm?:float performer? "
    "seconds?:float sample_rate?:int status reason?",
)
SLICES = declare(
    "slices",
    "slice_id recording_id origin number:int instrument dastgah? avaz? split start_s:float rms_dbfs:float "
    "shard offset:int size:int",
)
ANNOTATIONS = declare(
    "annotations",
    "slice_id bpm?:float bpm_confidence:float bpm_source bpm_octaves:[float] beat_s?:float "
    "tonic_hz?:float tonic_confidence:float tonic_source "
    "dastgah? dastgah_confidence:float dastgah_source family? family_confidence:float",
)
MIXTURES = declare(
    "mixtures",
    "mixture_id split mode instruments:[text] target_bpm?:float dastgah? room_rt60_s?:float room_wet_db?:float "
    "shard offset:int size:int",
)
COMPONENTS = declare(
    "components",
    "mixture_id slice_id recording_id origin instrument dastgah? bpm?:float offset_s:float stretch:float "
    "shift_cents:float gain_db:float metered:bool",
)
PREDICTIONS = declare("predictions", "sample_id recording instrument label?:bool probability:float predicted:bool")
"""One row for each test clip and class; `label` is null where the class is not labelled."""
