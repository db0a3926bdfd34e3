import numpy as np
import pytest
from conftest import noise, write

from tarkib import audio


def test_joined_files_are_read_to_the_end(tmp_path):
    first = write(tmp_path / "1.flac", noise(3, 1))
    second = write(tmp_path / "2.flac", noise(4, 2, 48_000), 48_000)
    path = tmp_path / "joined.flac"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    sound = audio.load(path)
    assert audio.seconds(path) == sound.file_seconds == pytest.approx(7)
    assert sound.remarks == ()
    np.testing.assert_array_equal(sound.samples[: 3 * 24_000], audio.load(first).samples)
    np.testing.assert_array_equal(sound.samples[3 * 24_000 :], audio.load(second).samples)
