import io
import struct

import numpy as np
import pytest
import soundfile
from conftest import write
from tones import tone

from tarkib import audio
from tarkib.audio import decoding
from tarkib.errors import TarkibError

RATE = 44_100


def content(seconds: float = 7.0, **options) -> bytearray:
    """A WAV file of a tone."""
    file = io.BytesIO()
    soundfile.write(file, tone(RATE, seconds), RATE, **{"format": "WAV", "subtype": "PCM_16", **options})
    return bytearray(file.getvalue())


def with_size(whole: bytearray, size: int) -> bytes:
    at = whole.index(b"data") + 4
    whole[at : at + 4] = struct.pack("<I", size)
    return bytes(whole)


def check(path, seconds: float = 7.0) -> tuple[str, ...]:
    """Its samples are all there, however it is read. Returns the remarks."""
    sound = audio.load(path)
    assert sound.file_seconds == seconds
    np.testing.assert_allclose(sound.samples[2_400:-2_400], tone(24_000, seconds)[2_400:-2_400], atol=3e-3)
    np.testing.assert_array_equal(np.concatenate(list(audio.Stream(path))), sound.samples)
    assert audio.seconds(path) == seconds
    return sound.remarks


@pytest.mark.parametrize(
    "size", [0, 2 * RATE, 2 * RATE + 1, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36, 0xFFFFFFFF, 5 * 2 * RATE - 7]
)
@pytest.mark.parametrize("options", [{}, {"subtype": "FLOAT"}, {"format": "WAVEX"}])
def test_a_size_that_cannot_be_meant_is_remarked_on_and_all_is_read(tmp_path, size, options):
    whole = content(**options)
    path = tmp_path / "a.wav"
    path.write_bytes(with_size(whole, size))
    there = len(whole) - whole.index(b"data") - 8
    assert check(path) == (f"its header wrongly promises {size:,} bytes of sound; the {there:,} that follow were read",)
    assert audio.plain(path) is None


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\0",
        b"LIST\x0c\0\0\0INFOISFT\0\0\0\0",
        b"zzzz\4\0\0\0abcd",
        b"ID3\4\0\0\0\0\1\0" + bytes(128),
        b"TAG" + bytes(125),
    ],
)
def test_a_size_behind_which_the_file_ends_or_a_chunk_begins_is_meant(tmp_path, tail):
    path = tmp_path / "a.wav"
    path.write_bytes(content() + tail)
    assert check(path) == ()
    assert audio.plain(path) is not None


@pytest.mark.parametrize("size", [12, 14, 20, 512])
@pytest.mark.parametrize("options", [{}, {"subtype": "FLOAT"}])
def test_a_few_bytes_behind_the_sound_are_none(tmp_path, size, options):
    junk = np.random.default_rng(size).integers(128, 256, size, dtype=np.uint8).tobytes()
    (tmp_path / "a.wav").write_bytes(bytes(content(**options)) + junk)
    assert check(tmp_path / "a.wav") == ()


def test_a_smaller_size_beyond_the_end_is_a_file_that_is_cut_short(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content()[:100_000])
    with pytest.raises(TarkibError, match=r"is cut short: its header promises 617,400 bytes of sound, 99,956 are"):
        audio.load(path)
    assert audio.seconds(path) == 0.0


def with_list(text: bytes, padding: bytes) -> bytes:
    """A LIST chunk of odd size before the sound."""
    whole = content()
    at = whole.index(b"data")
    chunk = b"LIST" + struct.pack("<I", 4 + 8 + len(text)) + b"INFOISFT" + struct.pack("<I", len(text)) + text
    return bytes(whole[:at]) + chunk + padding + bytes(whole[at:])


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_an_odd_chunk_with_and_without_its_padding_byte(tmp_path, padding):
    path = tmp_path / "a.wav"
    path.write_bytes(with_list(b"recorder", padding=b""))
    assert check(path) == ()
    path.write_bytes(with_list(b"recorded by me!", padding))
    assert check(path) == ()
    path.write_bytes(with_list(b"recorded by me!", padding)[:200_000])
    with pytest.raises(TarkibError, match=r"promises 617,400 bytes of sound, 199,\d\d\d are there"):
        audio.load(path)


def test_rf64_and_bw64(tmp_path):
    path = write(tmp_path / "a.wav", tone(RATE, 7.0), RATE, format="RF64", subtype="PCM_16")
    assert check(path) == ()
    whole = path.read_bytes()
    path.write_bytes(b"BW64" + whole[4:])
    assert check(path) == ()
    at = whole.index(b"ds64") + 8 + 8
    path.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])  # killed before the true size was written
    assert "wrongly promises" in check(path)[0]


@pytest.mark.parametrize("tail", [b"", b"LIST\x0c\0\0\0INFOISFT\0\0\0\0"])
def test_a_size_over_4_gb_wraps_around(tmp_path, tail):
    """A sparse file: its length is read, not its sound."""
    path = tmp_path / "a.wav"
    samples = (5 * 2**30) // 2
    header = bytes(content(0.0)[:44])
    with path.open("wb") as file:
        file.write(with_size(bytearray(header), samples * 2 % 2**32))
        file.seek(len(header) + samples * 2 - 2)
        file.write(b"\1\0" + tail)
    assert audio.seconds(path) == pytest.approx(samples / RATE)
    assert "the 5,368,709,120 that follow were read" in decoding._container_layout(path).remarks[0]
    blocks = iter(audio.Stream(path))
    assert len(next(blocks)) == pytest.approx(60 * 24_000, abs=2_400)


def test_a_wav_without_sound_or_format_is_refused_as_what_it_is(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(content(0.0))
    with pytest.raises(TarkibError, match="holds no samples"):
        audio.load(path)
    path.write_bytes(content()[:12] + content()[content().index(b"data") :])
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(path)


@pytest.mark.parametrize("cut", [0, 1_000])
def test_of_joined_files_the_first_is_read_and_the_rest_is_remarked_on(tmp_path, cut):
    whole = bytes(content())
    path = tmp_path / "a.wav"
    path.write_bytes(whole + whole[: len(whole) - cut])
    remark = f"another WAV file of {len(whole) - cut:,} bytes was joined to it, which was not read; split it"
    assert check(path) == (remark,)
