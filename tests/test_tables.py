import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tarkib import tables
from tarkib.errors import TarkibError

MIXTURE = {
    "mixture_id": "train-000000",
    "split": "train",
    "mode": "bpm",
    "instruments": ["ney", "tar"],
    "target_bpm": 90.5,
    "dastgah": None,
    "room_rt60_s": None,
    "room_wet_db": None,
    "shard": "shard-00000.tar",
    "offset": 512,
    "size": 1000,
}


def test_rows_come_back_and_equal_rows_give_equal_bytes(tmp_path):
    rows = [MIXTURE, {**MIXTURE, "target_bpm": None}]
    for name in "ab":
        tables.MIXTURES.write(tmp_path / name, rows)
    assert tables.MIXTURES.read(tmp_path / "a") == rows
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.fixture
def path(tmp_path):
    """A table of one mixture."""
    tables.MIXTURES.write(tmp_path / "m.parquet", [MIXTURE])
    return tmp_path / "m.parquet"


@pytest.mark.parametrize(
    "row",
    [
        {**MIXTURE, "split": None},
        {**MIXTURE, "extra": 1},
        {key: value for key, value in MIXTURE.items() if key != "size"},
        {**MIXTURE, "offset": "far"},
    ],
)
def test_a_broken_contract_is_refused_on_write(tmp_path, row):
    with pytest.raises((ValueError, TypeError)):
        tables.MIXTURES.write(tmp_path / "m.parquet", [MIXTURE, row])
    assert list(tmp_path.iterdir()) == []


def test_how_a_table_differs_is_said_by_its_columns(path):
    with pytest.raises(TarkibError, match="is not a table of components"):
        tables.COMPONENTS.read(path)
    whole = pq.read_table(path)
    pq.write_table(whole.drop_columns("offset").append_column("note", [[""]]), path)
    with pytest.raises(TarkibError, match=r"is not a table of mixtures of this version \(columns note, offset\)"):
        tables.MIXTURES.read(path)
    pq.write_table(whole.set_column(10, "size", [[1.0]]), path)
    with pytest.raises(TarkibError, match="types or order of columns"):
        tables.MIXTURES.read(path)


def test_null_where_none_may_be_is_refused_on_read(path):
    loose = pa.schema([field.with_nullable(True) for field in tables.MIXTURES.schema])
    pq.write_table(pa.Table.from_pylist([{**MIXTURE, "split": None}], schema=loose), path)
    with pytest.raises(TarkibError, match=r"m.parquet"):
        tables.MIXTURES.read(path)


@pytest.mark.parametrize("damage", ["missing", "text", "cut"])
def test_a_damaged_file_names_the_remedy(path, damage):
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"no table" if damage == "text" else path.read_bytes()[:-100])
    with pytest.raises(TarkibError, match=r"m.parquet: .*dvc repro"):
        tables.MIXTURES.read(path)


@pytest.mark.parametrize(("total", "count"), [(1, 3), (7, 1), (7, 3), (100, 99), (2000, 12)])
def test_what_is_chosen_is_spread_from_the_first_to_the_last(total, count):
    chosen = tables.spread(range(total), count)
    assert len(chosen) == min(total, count)
    assert (chosen[0], chosen[-1]) == (0, total - 1 if count > 1 else 0)
    steps = [b - a for a, b in itertools.pairwise(chosen)]
    assert not steps or 1 <= min(steps) <= max(steps) <= min(steps) + 1
