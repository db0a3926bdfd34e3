import resource
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tarkib.runtime.cache import Cache

KEY = "ab" * 32
ARRAYS = {"one": np.arange(1000, dtype=np.float32), "nan": np.array([np.nan, 1.0]), "few": np.zeros((0, 3), bool)}


def same(found) -> bool:
    """Equal to the last bit, kinds and shapes too."""
    return found is not None and {k: (v.dtype, v.shape, v.tobytes()) for k, v in found.items()} == {
        k: (v.dtype, v.shape, v.tobytes()) for k, v in ARRAYS.items()
    }


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_arrays_are_made_once_kept_to_the_last_bit_and_made_again_after_deletion(tmp_path):
    cache, calls = Cache(tmp_path / "new/folder"), []
    assert cache.get(KEY) is None
    for _ in range(2):
        assert same(cache.get_or_make(KEY, lambda: calls.append(1) or ARRAYS))
        assert same(cache.get(KEY))
        assert len(calls) == 1
    assert cache.get("cd" * 32) is None
    assert cache.problem is None
    shutil.rmtree(tmp_path / "new")
    assert same(cache.get_or_make(KEY, lambda: calls.append(1) or ARRAYS))
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["truncated", "emptied", "a byte changed", "a pickle"])
def test_a_damaged_entry_counts_as_absent_and_is_made_anew(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.put(KEY, ARRAYS)
    path = cache.path(KEY)
    whole = path.read_bytes()
    middle = whole.index(ARRAYS["one"].tobytes()[100:200]) + 50
    if damage == "a pickle":
        np.savez(path, one=np.array([{"not": "data"}], object))
    else:
        changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        contents = {"truncated": whole[: len(whole) // 2], "emptied": b"", "a byte changed": changed}
        path.write_bytes(contents[damage])
    assert cache.get(KEY) is None
    assert same(cache.get_or_make(KEY, lambda: ARRAYS))
    assert same(cache.get(KEY))


def limited_put(folder: Path, most_bytes: int) -> str | None:
    """Put in a process that may write no more than so many bytes to a file: as on a full disk, a write breaks off."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    cache = Cache(folder)
    assert same(cache.get_or_make(KEY, lambda: ARRAYS))
    return cache.problem


def test_where_nothing_can_be_written_the_result_still_comes(tmp_path):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(limited_put, tmp_path, 500).result() == f"{tmp_path}: File too large"
    assert files(tmp_path) == []
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file")
    assert same(cache.get_or_make(KEY, lambda: ARRAYS))
    assert str(tmp_path / "file") in cache.problem
