from pathlib import Path

import numpy as np
import pytest
from conftest import noise, write

from tarkib import mpeg


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_frames_last_as_long_as_the_sound(tmp_path, rate, mode):
    path = write(tmp_path / "a.mp3", noise(9.0, rate=rate), rate, bitrate_mode=mode, compression_level=0.3)
    # A frame of facts comes before, and the last one is filled up.
    assert 9.0 <= mpeg.seconds(path) < 9.0 + 4 * 1152 / rate


def test_tags_and_what_looks_like_frames_in_them_do_not_count(tmp_path):
    path = write(tmp_path / "a.mp3", noise(9.0))
    whole, length = path.read_bytes(), mpeg.seconds(path)
    picture = whole[:5_000]
    size = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
    tagged = b"ID3\x04\0\0" + size + picture + whole + b"TAG" + bytes(125)
    path.write_bytes(tagged)
    assert mpeg.seconds(path) == length
    path.write_bytes(tagged + tagged)
    assert mpeg.seconds(path) == pytest.approx(2 * length)


def test_a_frame_that_is_cut_off_does_not_count_and_a_damaged_place_is_passed(tmp_path):
    path = write(tmp_path / "a.mp3", noise(9.0), bitrate_mode="CONSTANT")
    whole, length = bytearray(path.read_bytes()), mpeg.seconds(path)
    frame = 576 / 24_000
    path.write_bytes(whole[:-1])
    assert mpeg.seconds(path) == pytest.approx(length - frame)
    half = whole.index(whole[:2], len(whole) // 2)
    whole[half : half + 4] = bytes(4)
    path.write_bytes(whole)
    assert mpeg.seconds(path) == pytest.approx(length - frame, abs=frame / 2)


@pytest.mark.parametrize("content", [b"x", b"no music" * 99, b"\xff" * 5_000, np.random.default_rng(0).bytes(200_000)])
def test_what_is_no_mp3_has_next_to_no_frames(tmp_path: Path, content: bytes):
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    assert mpeg.seconds(path) < 0.5
