"""The tables between the stages: parquet files whose columns are the contract, checked on write and on read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tarkib.errors import TarkibError
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.text import some

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Table:
    """A kind of table: its name and its columns, of which only the nullable ones may hold null."""

    name: str
    schema: pa.Schema

    def write(self, path: Path | str, rows: Iterable[dict]) -> None:
        """Write rows, dicts with exactly this table's columns; equal rows give equal bytes.

        Raises ValueError where a row breaks the contract: that is a defect of the code that made it.
        """
        rows = list(rows)
        columns = set(self.schema.names)
        for row in rows:
            if row.keys() != columns:
                raise ValueError(f"{self.name}: columns {sorted(row.keys() ^ columns)} are missing or unknown")
        table = pa.Table.from_pylist(rows, schema=self.schema)
        empty = self._null_columns(table)
        if empty:
            raise ValueError(f"{self.name}: null in {empty}")
        with atomic_file(path) as partial:
            pq.write_table(table, partial, compression="zstd")

    def read(self, path: Path | str) -> list[dict]:
        """Read rows; null is None.

        Raises TarkibError where the file is missing, unreadable, or not such a table.
        """
        path = Path(path)
        remedy = "run dvc repro (or dvc checkout) to have it made anew"
        try:
            table = pq.read_table(path)
        except FileNotFoundError as error:
            raise TarkibError(f"{path}: not there; {remedy}") from error
        except (pa.ArrowException, OSError) as error:
            raise TarkibError(f"{path}: cannot be read ({' '.join(str(error).split())}); {remedy}") from error
        if not table.schema.equals(self.schema):
            raise TarkibError(f"{path}: is not a table of {self.name}: {self._differences(table.schema)}; {remedy}")
        if empty := self._null_columns(table):
            raise TarkibError(f"{path}: null in {', '.join(empty)}; {remedy}")
        return table.to_pylist()

    def _differences(self, found: pa.Schema) -> str:
        """How a schema differs from this table's, in words."""
        both = [name for name in self.schema.names if name in found.names]
        columns = {
            "without": [name for name in self.schema.names if name not in both],
            "unknown": [name for name in found.names if name not in both],
            "of another type": [name for name in both if not found.field(name).equals(self.schema.field(name))],
        }
        return "; ".join(f"{what}: {some(names)}" for what, names in columns.items() if names) or "another order"

    def _null_columns(self, table: pa.Table) -> list[str]:
        return [one.name for one in self.schema if not one.nullable and table[one.name].null_count]


def spread(rows: Sequence[_Row], count: int) -> list[_Row]:
    """At most `count` rows, evenly spread from the first to the last, in their order.

    >>> spread("abcdefghi", 3), spread("ab", 3)
    (['a', 'e', 'i'], ['a', 'b'])
    """
    if count >= len(rows):
        return list(rows)
    if count <= 1:
        return list(rows[:count])
    return [rows[(2 * i * (len(rows) - 1) + count - 1) // (2 * (count - 1))] for i in range(count)]


def _table(name: str, **columns: pa.DataType | tuple[pa.DataType, None]) -> Table:
    """Declare a table; a column given as (type, None) may hold null."""
    fields = [
        pa.field(column, kind[0] if isinstance(kind, tuple) else kind, nullable=isinstance(kind, tuple))
        for column, kind in columns.items()
    ]
    return Table(name, pa.schema(fields))


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()

RECORDINGS = _table(
    "recordings",
    recording_id=_TEXT,
    path=_TEXT,
    sha256=_TEXT,
    instrument=(_TEXT, None),
    dastgah=(_TEXT, None),
    tonic_hz=(_FLOAT, None),
    bpm=(_FLOAT, None),
    performer=(_TEXT, None),
    seconds=(_FLOAT, None),
    sample_rate=(_INT, None),
    status=_TEXT,
    reason=(_TEXT, None),
)
SLICES = _table(
    "slices",
    slice_id=_TEXT,
    recording_id=_TEXT,
    number=_INT,
    instrument=_TEXT,
    dastgah=(_TEXT, None),
    split=_TEXT,
    start_s=_FLOAT,
    rms_dbfs=_FLOAT,
    shard=_TEXT,
    offset=_INT,
    size=_INT,
)
ANNOTATIONS = _table(
    "annotations",
    slice_id=_TEXT,
    bpm=(_FLOAT, None),
    bpm_confidence=_FLOAT,
    bpm_source=_TEXT,
    bpm_octaves=pa.list_(pa.field("element", _FLOAT)),
    beat_s=(_FLOAT, None),
    tonic_hz=(_FLOAT, None),
    tonic_confidence=_FLOAT,
    tonic_source=_TEXT,
    dastgah=(_TEXT, None),
    dastgah_confidence=_FLOAT,
    dastgah_source=_TEXT,
    family=(_TEXT, None),
    family_confidence=_FLOAT,
)
MIXTURES = _table(
    "mixtures",
    mixture_id=_TEXT,
    split=_TEXT,
    mode=_TEXT,
    instruments=pa.list_(pa.field("element", _TEXT)),
    target_bpm=(_FLOAT, None),
    dastgah=(_TEXT, None),
    room_rt60_s=(_FLOAT, None),
    room_wet_db=(_FLOAT, None),
    shard=_TEXT,
    offset=_INT,
    size=_INT,
)
COMPONENTS = _table(
    "components",
    mixture_id=_TEXT,
    slice_id=_TEXT,
    recording_id=_TEXT,
    instrument=_TEXT,
    dastgah=(_TEXT, None),
    bpm=(_FLOAT, None),
    offset_s=_FLOAT,
    stretch=_FLOAT,
    shift_cents=_FLOAT,
    gain_db=_FLOAT,
    metered=_BOOL,
)
