import numpy as np
import pytest
from conftest import noise, write

from tarkib import audio


@pytest.mark.parametrize("has_length", [True, False])
def test_joined_files_are_read_to_the_end(tmp_path, has_length):
    first = write(tmp_path / "1.flac", noise(3, 1))
    second = write(tmp_path / "2.flac", noise(4, 2, 48_000), 48_000)
    path = tmp_path / "joined.flac"
    contents = [bytearray(one.read_bytes()) for one in (first, second)]
    if not has_length:
        for one in contents:
            one[22:26] = bytes(4)
    path.write_bytes(contents[0] + contents[1])
    sound = audio.load(path)
    assert audio.seconds(path) == sound.file_seconds == pytest.approx(7)
    assert sound.remarks == ()
    np.testing.assert_array_equal(sound.samples[: 3 * 24_000], audio.load(first).samples)
    np.testing.assert_array_equal(sound.samples[3 * 24_000 :], audio.load(second).samples)


@pytest.mark.parametrize("said", [1, 24_000, 60_000])
def test_a_length_that_is_too_small_is_remarked_on_and_all_is_read(tmp_path, said):
    path = write(tmp_path / "a.flac", noise(12))
    whole = audio.load(path).samples
    content = bytearray(path.read_bytes())
    content[22:26] = said.to_bytes(4, "big")
    path.write_bytes(content + bytes(128))
    sound = audio.load(path)
    np.testing.assert_array_equal(sound.samples, whole)
    assert sound.remarks == ("its header gives too small a length; all was read",)


def test_a_whole_file_is_read_as_it_is(tmp_path):
    for seconds in (0.1, 7.0, 30.0):
        assert audio.plain(write(tmp_path / "a.flac", noise(seconds))) is not None


def test_a_flipped_bit_is_remarked_on(tmp_path):
    path = write(tmp_path / "a.flac", noise(12))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (remark,) = audio.load(path).remarks
    assert remark.startswith("FFmpeg decoded it where libsndfile failed (Error : unknown error in flac decoder)")
