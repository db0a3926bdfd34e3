import os
import pickle
import tarfile

import numpy as np
import pytest
import soundfile
from conftest import noise

from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Place, Places
from tarkib.errors import TarkibError


@pytest.fixture
def some():
    return [(f"clip-{i}", noise(0.3 + i, seed=i)) for i in range(4)]


def test_a_clip_is_one_read_away(tmp_path, some):
    places = list(clips.write_shard(tmp_path / clips.shard_name(7), some))
    assert places[0].shard == "shard-00007.tar"
    with ClipStore(tmp_path) as store:
        for place, (_, samples) in reversed(list(zip(places, some, strict=True))):
            np.testing.assert_allclose(store.read(place), samples, atol=0.5 / 32_768)


def test_a_shard_unpacks_to_files_that_any_player_opens(tmp_path, some):
    list(clips.write_shard(tmp_path / "shard-00000.tar", some))
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        assert {(one.mtime, one.uid, one.gid, one.mode) for one in tar} == {(0, 0, 0, 0o644)}
        for name, samples in some:
            info = soundfile.info(tar.extractfile(f"{name}.flac"))
            assert (info.samplerate, info.channels, info.subtype, info.frames) == (24_000, 1, "PCM_16", samples.size)


def test_equal_clips_give_equal_bytes(tmp_path, some):
    for name in ("a.tar", "b.tar"):
        list(clips.write_shard(tmp_path / name, some))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_storing_twice_changes_nothing_further():
    once = clips.decode(clips.encode(noise(1)))
    np.testing.assert_array_equal(clips.decode(clips.encode(once)), once)


def test_beyond_full_scale_is_clipped_not_wrapped():
    np.testing.assert_allclose(clips.decode(clips.encode(np.array([2.0, -2.0], np.float32))), [1.0, -1.0], atol=1e-4)


def test_stored_numbers_are_the_samples(tmp_path, some):
    place = next(clips.write_shard(tmp_path / "shard-00000.tar", some))
    store = ClipStore(tmp_path)
    pcm = store.read(place, dtype="int16")
    assert pcm.dtype == np.int16
    np.testing.assert_array_equal(pcm / np.float32(32_768), store.read(place))


def test_a_store_travels_to_other_processes(tmp_path, some):
    places = list(clips.write_shard(tmp_path / "shard-00000.tar", some))
    store = ClipStore(tmp_path)
    store.read(places[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read(places[1]), store.read(places[1]))


@pytest.mark.parametrize("place", [Place("shard-00000.tar", 100, 50), Place("shard-00000.tar", 10**9, 50)])
def test_a_wrong_place_is_told(tmp_path, some, place):
    list(clips.write_shard(tmp_path / "shard-00000.tar", some))
    with pytest.raises(TarkibError, match=r"shard-00000.tar: no clip at byte \d+; .*dvc repro"):
        ClipStore(tmp_path).read(place)


def test_a_missing_shard_is_told(tmp_path):
    with pytest.raises(TarkibError, match=r"shard-00003.tar: No such file .*dvc repro"):
        ClipStore(tmp_path).read(Place("shard-00003.tar", 512, 10))


def test_places_of_many_clips_are_those_of_their_rows():
    rows = [
        {"shard": name, "offset": offset, "size": size, "split": "train"}
        for name, offset, size in (("b.tar", 512, 10), ("a.tar", 2**40, 7), ("b.tar", 1536, 2**33))
    ]
    places = Places(iter(rows))
    assert list(places) == [Place("b.tar", 512, 10), Place("a.tar", 2**40, 7), Place("b.tar", 1536, 2**33)]
    assert list(places) == [Place.of(row) for row in rows]
    assert [type(value) for value in places[-1]] == [str, int, int]
    with pytest.raises(IndexError):
        places[3]
    assert len(Places([])) == 0


def test_a_damaged_clip_is_one_line_that_names_its_shard(tmp_path, some):
    shard = tmp_path / "shard-00000.tar"
    place = list(clips.write_shard(shard, some))[1]
    whole = bytearray(shard.read_bytes())
    whole[place.offset + place.size // 2] ^= 0x10
    shard.write_bytes(whole)
    with pytest.raises(
        TarkibError, match=rf"^{shard}: the clip at byte {place.offset} is damaged \(.*dvc repro"
    ) as said:
        ClipStore(tmp_path).read(place)
    assert "\n" not in str(said.value)


def test_what_a_table_names_is_there(tmp_path, some):
    rows = [place._asdict() for place in clips.write_shard(tmp_path / "shard-00000.tar", some)]
    clips.check(tmp_path, rows)
    last = max(row["offset"] + row["size"] for row in rows)
    os.truncate(tmp_path / "shard-00000.tar", last)
    clips.check(tmp_path, rows)
    os.truncate(tmp_path / "shard-00000.tar", last - 1)
    with pytest.raises(TarkibError, match=rf"^shard-00000.tar: has {last - 1} of the {last} bytes .*run again$"):
        clips.check(tmp_path, rows)
    (tmp_path / "shard-00000.tar").unlink()
    with pytest.raises(TarkibError, match=rf"^shard-00000.tar: has 0 of the {last} bytes"):
        clips.check(tmp_path, rows)
