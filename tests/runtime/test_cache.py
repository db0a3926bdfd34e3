import resource
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from tarkib.runtime.cache import Cache

KEY = "ab" * 32
ARRAYS = {"one": np.arange(1000, dtype=np.float32), "nan": np.array([np.nan, 1.0]), "few": np.zeros((0, 3), bool)}


def same(found, arrays) -> bool:
    """Equal to the last bit, kinds and shapes too."""
    return found is not None and {k: (v.dtype, v.shape, v.tobytes()) for k, v in found.items()} == {
        k: (v.dtype, v.shape, v.tobytes()) for k, v in arrays.items()
    }


def test_what_is_put_is_got_to_the_last_bit(tmp_path):
    cache = Cache(tmp_path / "new/folder")
    assert cache.get(KEY) is None
    assert cache.put(KEY, ARRAYS)
    assert same(cache.get(KEY), ARRAYS)
    assert cache.get("cd" * 32) is None
    assert cache.problem is None


def test_a_thing_is_made_once_and_again_after_deletion(tmp_path):
    cache, calls = Cache(tmp_path / "cache"), []

    def make():
        calls.append(1)
        return ARRAYS

    assert same(cache.get_or_make(KEY, make), ARRAYS)
    assert same(cache.get_or_make(KEY, make), ARRAYS)
    assert len(calls) == 1
    shutil.rmtree(tmp_path / "cache")
    assert same(cache.get_or_make(KEY, make), ARRAYS)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["truncated", "emptied", "a byte changed", "zeros", "something else", "a pickle"])
def test_a_damaged_entry_counts_as_absent_and_is_made_anew(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.put(KEY, ARRAYS)
    path = cache.path(KEY)
    whole = path.read_bytes()
    middle = whole.index(ARRAYS["one"].tobytes()[100:200]) + 50
    if damage == "a pickle":
        np.savez(path, one=np.array([{"not": "data"}], object))
    else:
        path.write_bytes(
            {
                "truncated": whole[: len(whole) // 2],
                "emptied": b"",
                "a byte changed": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
                "zeros": bytes(len(whole)),
                "something else": b"not an archive",
            }[damage]
        )
    assert cache.get(KEY) is None
    assert same(cache.get_or_make(KEY, lambda: ARRAYS), ARRAYS)
    assert same(cache.get(KEY), ARRAYS)


def limited_put(folder: Path, most_bytes: int) -> bool:
    """Put in a process that may write no more than so many bytes to a file: as on a full disk, a write breaks off."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    cache = Cache(folder)
    kept = cache.put(KEY, ARRAYS)
    assert (cache.problem is None) == kept
    return kept


def test_a_full_disk_costs_the_entry_and_nothing_else(tmp_path):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert not pool.submit(limited_put, tmp_path, 500).result()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert Cache(tmp_path).get(KEY) is None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(limited_put, tmp_path, 500_000).result()
    assert same(Cache(tmp_path).get(KEY), ARRAYS)


def test_where_there_can_be_no_folder_the_result_still_comes(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file")
    assert same(cache.get_or_make(KEY, lambda: ARRAYS), ARRAYS)
    assert str(tmp_path / "file") in cache.problem


def put_often(folder: Path) -> bool:
    cache = Cache(folder)
    return all(cache.put(KEY, ARRAYS) and same(cache.get(KEY), ARRAYS) for _ in range(30))


def test_many_may_write_and_read_one_entry_at_once(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert all(pool.map(put_often, [tmp_path] * 2))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.npz"]


def test_a_killed_writer_leaves_no_entry_and_the_next_one_deletes_what_it_left(tmp_path):
    code = f"""
import os, signal
import numpy as np
from pathlib import Path
from tarkib.runtime.cache import Cache
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Cache(Path({str(tmp_path)!r})).put({KEY!r}, {{"one": np.arange(10)}})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.partial"))) == 1
    cache = Cache(tmp_path)
    assert cache.get(KEY) is None
    cache.put(KEY, ARRAYS)
    assert same(cache.get(KEY), ARRAYS)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.npz"]
