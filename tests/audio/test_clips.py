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

SOUNDS = [(f"clip-{i}", noise(0.3 + i, seed=i)) for i in range(3)]


@pytest.fixture
def places(tmp_path):
    return list(clips.write_shard(tmp_path / clips.shard_name(0), SOUNDS))


def test_a_clip_is_one_read_away_whole_or_in_part(tmp_path, places):
    assert places[0].shard == "shard-00000.tar"
    with ClipStore(tmp_path) as store:
        for place, (_, samples) in reversed(list(zip(places, SOUNDS, strict=True))):
            np.testing.assert_allclose(store.read(place), samples, atol=0.5 / 32_768)
        np.testing.assert_array_equal(store.read(places[1], 100, 300), store.read(places[1])[100:300])
        pcm = store.read(places[1], dtype="int16")
        assert pcm.dtype == np.int16
        np.testing.assert_array_equal(pcm / np.float32(32_768), store.read(places[1]))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read(places[2]), store.read(places[2]))


def test_a_shard_unpacks_to_files_that_any_player_opens(tmp_path, places):
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        assert {(member.mtime, member.uid, member.gid, member.mode) for member in tar} == {(0, 0, 0, 0o644)}
        for name, samples in SOUNDS:
            info = soundfile.info(tar.extractfile(f"{name}.flac"))
            assert (info.samplerate, info.channels, info.subtype, info.frames) == (24_000, 1, "PCM_16", samples.size)


def test_equal_clips_give_equal_bytes_and_storing_twice_changes_nothing_further(tmp_path, places):
    list(clips.write_shard(tmp_path / "b.tar", SOUNDS))
    assert (tmp_path / "shard-00000.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    once = clips.decode(clips.encode(noise(1)))
    np.testing.assert_array_equal(clips.decode(clips.encode(once)), once)
    # Samples beyond full scale are clipped and do not wrap.
    np.testing.assert_allclose(clips.decode(clips.encode(np.array([2.0, -2.0], np.float32))), [1.0, -1.0], atol=1e-4)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place("shard-00000.tar", 100, 50), r"shard-00000.tar: no clip at byte 100, .*dvc repro"),
        (Place("shard-00000.tar", 10**9, 50), r"shard-00000.tar: no clip at byte \d+, .*dvc repro"),
        (Place("shard-00003.tar", 512, 10), r"shard-00003.tar: No such file .*dvc repro"),
    ],
)
def test_a_wrong_place_is_an_error_with_the_remedy(tmp_path, places, place, message):
    with pytest.raises(TarkibError, match=message):
        ClipStore(tmp_path).read(place)


def test_places_of_many_clips_are_those_of_their_rows():
    places = [("b.tar", 512, 10), ("a.tar", 2**40, 7), ("shard-100000.tar", 1536, 2**33)]
    rows = [dict(zip(Place._fields, place, strict=True)) for place in places]
    many = Places(iter(rows))
    assert list(many) == places
    assert [type(value) for value in many[-1]] == [str, int, int]
    assert len(Places([])) == 0


def test_a_damaged_clip_is_one_line_that_names_its_shard(tmp_path, places):
    shard, place = tmp_path / "shard-00000.tar", places[1]
    content = bytearray(shard.read_bytes())
    content[place.offset + place.size // 2] ^= 0x10
    shard.write_bytes(content)
    with pytest.raises(TarkibError, match=rf"^{shard}: the clip at byte {place.offset} is damaged \(.*dvc repro"):
        ClipStore(tmp_path).read(place)


def test_shards_that_end_before_their_clips_are_an_error(tmp_path, places):
    rows = [place._asdict() for place in places]
    end = max(row["offset"] + row["size"] for row in rows)
    os.truncate(tmp_path / "shard-00000.tar", end)
    clips.check(tmp_path, rows)
    os.truncate(tmp_path / "shard-00000.tar", end - 1)
    with pytest.raises(TarkibError, match=rf"^shard-00000.tar: has {end - 1} of the {end} bytes .*run again$"):
        clips.check(tmp_path, rows)
