import contextlib
import re

import numpy as np
import pytest
import scipy.signal
from conftest import noise, write

from tarkib import audio
from tarkib.audio import mpeg
from tarkib.errors import TarkibError

APE = b"APETAGEX" + (2000).to_bytes(4, "little")
APE_FOOTER = APE + (60_032).to_bytes(4, "little") + bytes(16)
APE_HEADER = APE + (200).to_bytes(4, "little") + bytes(216)
SKIPPED = " bytes in one place are no MP3 frames and were skipped"


def mp3(folder, seconds=7.0, seed=0, rate=44_100, channels=1, **options) -> bytes:
    """An MP3 file of noise."""
    samples = np.stack([noise(seconds, seed + k, rate) for k in range(channels)], axis=1)
    return write(folder / "part.mp3", samples, rate, **options).read_bytes()


def tag(content: bytes) -> bytes:
    """An ID3v2 tag."""
    return b"ID3\x04\0\0" + bytes(len(content) >> shift & 127 for shift in (21, 14, 7, 0)) + content


def bare(content: bytes) -> bytes:
    """A file without its Info frame."""
    frame = mpeg._frame(content[:4])
    assert content[frame.info_at :][:4] in (b"Info", b"Xing")
    return content[frame.size :]


def check(path, content: bytes, seconds: float, *remarks: str, abs_s: float = 0.05) -> np.ndarray:
    """A file with this content has that length and remarks. Returns its samples."""
    path.write_bytes(content)
    sound = audio.load(path)
    assert sound.file_seconds == pytest.approx(seconds, abs=abs_s)
    actual = [remark for remark in sound.remarks if "Hz it holds" not in remark]
    assert len(actual) == len(remarks)
    assert all(part in remark for part, remark in zip(remarks, actual, strict=True))
    return sound.samples


def ends_with(sound: np.ndarray, last: np.ndarray) -> bool:
    near = sound[-len(last) - 4_000 :]
    at = int(np.argmax(scipy.signal.correlate(near, last, "valid")))
    return np.corrcoef(near[at : at + len(last)], last)[0, 1] > 0.99


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
def test_a_whole_file_is_read_as_it_is(tmp_path, rate, mode):
    check(tmp_path / "a.mp3", mp3(tmp_path, 4, rate=rate, bitrate_mode=mode, compression_level=0.3), 4)
    assert audio.plain(tmp_path / "a.mp3") is not None


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (24_000, 1), (44_100, 2), (48_000, 1)])
def test_joined_files_are_read_to_the_end(tmp_path, rate, channels):
    """Each has its own length in an Info frame, and a tag before it, as FFmpeg writes them."""
    path = tmp_path / "joined.mp3"
    first = mp3(tmp_path, 3, 1, rate, channels)
    second = mp3(tmp_path, 2, 7, rate, channels, bitrate_mode="VARIABLE", compression_level=0.3)
    for between in (tag(b"TSSE" + bytes(60)), b""):
        samples = check(path, tag(bytes(9)) + first + between + second, 5)
        assert ends_with(samples, audio.load(tmp_path / "part.mp3").samples)
        assert audio.seconds(path) == pytest.approx(5, abs=0.05)
        assert audio.plain(path) is None


@pytest.mark.parametrize(
    "between",
    [
        bytes(50) + b"ID3\x03\0\0\xff\xff\xff\xff" + bytes(50),
        bytes(50) + b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + bytes(50),
        bytes(60_000) + APE_FOOTER,
    ],
    ids=["no tag", "a tag beyond the end", "a tag with its size at its end"],
)
def test_a_tag_between_joined_files_hides_no_sound(tmp_path, between):
    parts = [mp3(tmp_path, seconds, seed) for seed, seconds in enumerate((2, 3, 2.5))]
    (tmp_path / "joined.mp3").write_bytes(parts[0] + between + parts[1] + parts[2])
    assert audio.load(tmp_path / "joined.mp3").file_seconds == pytest.approx(7.5, abs=0.1)


def test_joined_files_of_other_rates_channels_and_endings_are_read_to_the_end(tmp_path):
    first, second = mp3(tmp_path, 4, rate=44_100, channels=2), mp3(tmp_path, 3, rate=22_050)
    for content in (first + second, bare(first) + bare(second), first + bare(second)):
        check(tmp_path / "joined.mp3", content, 7, abs_s=0.15)
    for name, head in (("a.wav", b""), ("a.flac", tag(b"words" * 100)), ("a.part1", b"")):
        check(tmp_path / name, head + first + second, 7)


@pytest.mark.parametrize("zeros", [1, 417, 100_000])
def test_zeros_after_the_tag_are_skipped(tmp_path, zeros):
    samples = check(tmp_path / "a.mp3", tag(bytes(50)) + bytes(zeros) + mp3(tmp_path), 7)
    np.testing.assert_array_equal(samples, audio.load(tmp_path / "part.mp3").samples)


@pytest.mark.parametrize(
    ("channels", "mode", "junk"), [(1, "CONSTANT", "noise"), (2, "CONSTANT", "zeros"), (1, "VARIABLE", "zeros")]
)
def test_junk_inside_is_skipped_and_its_size_is_given(tmp_path, channels, mode, junk):
    content = bytearray(mp3(tmp_path, 7, 0, 24_000, channels, bitrate_mode=mode))
    half = len(content) // 2
    content[half : half + 3_000] = np.random.default_rng(0).bytes(3_000) if junk == "noise" else bytes(3_000)
    samples = check(tmp_path / "a.mp3", content, 7 * (1 - 3_500 / len(content)), SKIPPED, abs_s=0.1)
    assert ends_with(samples, audio.load(tmp_path / "part.mp3").samples[-48_000:])


def test_the_frame_in_which_damage_begins_is_skipped_too(tmp_path):
    """It would be a crack, of many times full scale."""
    content = bytearray(mp3(tmp_path, 7, 0, 24_000, bitrate_mode="CONSTANT"))
    begins = [0]
    while begins[-1] < len(content):
        begins.append(begins[-1] + mpeg._frame(bytes(content[begins[-1] :][:4])).size)
    content[begins[100] + 8 : begins[110] + 8] = bytes(begins[110] - begins[100])
    skipped = f"{begins[111] - begins[100]:,} bytes in one place are no MP3 frames"
    check(tmp_path / "a.mp3", content, 7 - 11 * 576 / 24_000, skipped)


def test_junk_between_frames_and_tags_that_look_like_frames_cost_nothing_else(tmp_path):
    content = mp3(tmp_path)
    half = len(content) // 2
    check(tmp_path / "a.mp3", content[:half] + b"no frame" * 1_000 + content[half:], 7, SKIPPED)
    for behind in (b"", APE_HEADER):
        check(tmp_path / "a.mp3", tag(content[:5_000]) + content + behind + b"TAG" + bytes(125), 7)


def test_a_file_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path):
    content = mp3(tmp_path)
    half = content[: len(content) // 2]
    check(tmp_path / "a.mp3", half, 3.5, "of 7.00 s; is it cut short?", abs_s=0.5)
    check(tmp_path / "a.mp3", half + content, 10.5, "no MP3 frames", "it ends at 10.", abs_s=0.5)
    assert re.fullmatch(
        r"it ends at 10\.\d\d of 14\.\d\d s; is it cut short\?", audio.load(tmp_path / "a.mp3").remarks[1]
    )


def test_a_variable_file_without_a_length_is_read_to_the_end(tmp_path):
    """Decoders guess its length from how it begins: here with silence, which takes few bytes."""
    samples = np.concatenate([noise(2), np.zeros(10 * 24_000, np.float32), noise(20)])
    path = write(tmp_path / "a.mp3", samples, bitrate_mode="VARIABLE", compression_level=0.5)
    check(path, bare(path.read_bytes()), 32, abs_s=0.1)


@pytest.mark.parametrize("content", [b"x", b"no music" * 99, b"\xff" * 5_000, np.random.default_rng(0).bytes(200_000)])
def test_files_without_frames_are_refused(tmp_path, content):
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(tmp_path / "a.mp3")


def test_the_decoders_warnings_do_not_reach_the_terminal(tmp_path, capfd):
    content = bytearray(mp3(tmp_path, channels=2, bitrate_mode="VARIABLE", compression_level=0.3))
    for at in range(20_000, len(content) - 5_000, 5_000):
        content[at + 100 : at + 140] = bytes(40)  # damage inside frames, whose heads stay
    (tmp_path / "a.mp3").write_bytes(content[: len(content) - 9_000])
    (tmp_path / "b.mp3").write_bytes(b"no music" * 9_000)
    for name in ("a.mp3", "b.mp3"):
        for read in (audio.load, audio.seconds, audio.plain):
            with contextlib.suppress(TarkibError):
                read(tmp_path / name)
    output = capfd.readouterr()
    assert output.out + output.err == ""
