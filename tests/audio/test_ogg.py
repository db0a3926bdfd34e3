import re

import numpy as np
import pytest
import scipy.signal
from conftest import noise, write

from tarkib import audio


@pytest.mark.parametrize(("name", "subtype"), [("a.ogg", "VORBIS"), ("a.opus", "OPUS")])
def test_chained_streams_are_read_one_after_the_other(tmp_path, name, subtype):
    format_ = {"format": "OGG", "subtype": subtype}
    first = write(tmp_path / f"1{name}", noise(7, 1), 24_000, **format_)
    second = write(tmp_path / f"2{name}", noise(7, 2, 48_000), 48_000, **format_)
    chained = tmp_path / name
    chained.write_bytes(first.read_bytes() + second.read_bytes())
    sound = audio.load(chained)
    assert sound.file_seconds == pytest.approx(14, abs=0.05)
    assert audio.seconds(chained) == pytest.approx(14, abs=0.05)
    assert sound.remarks == ()
    one = audio.load(first).samples
    np.testing.assert_array_equal(sound.samples[: one.size], one)
    np.testing.assert_array_equal(sound.samples[one.size :], audio.load(second).samples)
    np.testing.assert_array_equal(np.concatenate(list(audio.Stream(chained))), sound.samples)
    assert audio.plain(chained) is None


def test_a_single_stream_is_read_as_it_is(tmp_path):
    assert audio.plain(write(tmp_path / "a.ogg", noise(7))).frames == 7 * 24_000


def test_damage_between_pages_hides_no_stream(tmp_path):
    one = write(tmp_path / "a.ogg", noise(7)).read_bytes()
    path = tmp_path / "b.ogg"
    path.write_bytes(one + b"no page" * 500 + one)
    assert audio.load(path).file_seconds == pytest.approx(14, abs=0.05)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_lost_pages_repeat_nothing_and_are_remarked_on(tmp_path, subtype):
    path = write(tmp_path / "a.ogg", noise(30, rate=48_000), 48_000, format="OGG", subtype=subtype)
    whole = path.read_bytes()
    pages = [one.start() for one in re.finditer(b"OggS", whole)]
    half = len(pages) // 2
    path.write_bytes(whole[: pages[half]] + whole[pages[half + 3] :])
    sound = audio.load(path)
    assert sound.file_seconds < 29.5
    (remark,) = sound.remarks
    assert remark.startswith("of its 30.00 s")
    end = sound.samples[-24_000:]
    start = max(0, sound.samples.size - 8 * 24_000)
    before = sound.samples[start:-24_000]
    assert np.abs(scipy.signal.correlate(before, end, "valid")).max() < 0.5 * (end @ end)


def test_chains_of_any_length_are_whole(tmp_path):
    """Lengths in seconds are rounded; samples are counted."""
    rng = np.random.default_rng(1)
    for k in range(12):
        parts = [
            write(tmp_path / f"{k}-{n}.ogg", noise(int(rng.integers(20_000, 80_000)) / 24_000, n)).read_bytes()
            for n in range(3)
        ]
        (tmp_path / "chain.ogg").write_bytes(b"".join(parts))
        assert audio.load(tmp_path / "chain.ogg").remarks == ()


def test_a_part_that_is_damaged_is_remarked_on_and_the_others_are_read(tmp_path):
    first = write(tmp_path / "a.ogg", noise(4)).read_bytes()
    (tmp_path / "chain.ogg").write_bytes(first + first[:300] + first)
    sound = audio.load(tmp_path / "chain.ogg")
    assert sound.file_seconds == pytest.approx(8, abs=0.05)
    (remark,) = sound.remarks
    assert remark.startswith("part 2 of 3 is damaged")
