"""WAV, FLAC and Ogg files that are joined, cut short, or whose headers are wrong."""

import io
import re
import struct

import numpy as np
import pytest
import scipy.signal
import soundfile
from conftest import noise, write
from tones import tone

from tarkib import audio
from tarkib.audio import decoding
from tarkib.errors import TarkibError

RATE = 44_100
LIST = b"LIST\x0c\0\0\0INFOISFT\0\0\0\0"


def wav(seconds: float = 7.0, **options) -> bytearray:
    """A WAV file of a tone."""
    file = io.BytesIO()
    soundfile.write(file, tone(RATE, seconds), RATE, **{"format": "WAV", "subtype": "PCM_16", **options})
    return bytearray(file.getvalue())


def with_size(content: bytearray, size: int) -> bytes:
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    return bytes(content)


def check(path, seconds: float = 7.0) -> tuple[str, ...]:
    """Its samples are all there, however it is read. Returns the remarks."""
    sound = audio.load(path)
    assert sound.file_seconds == seconds
    np.testing.assert_allclose(sound.samples[2_400:-2_400], tone(24_000, seconds)[2_400:-2_400], atol=3e-3)
    assert audio.seconds(path) == seconds
    return sound.remarks


@pytest.mark.parametrize(
    ("size", "options"),
    [
        *((size, {}) for size in (0, 2 * RATE, 2 * RATE + 1, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36, 0xFFFFFFFF)),
        (5 * 2 * RATE - 7, {"subtype": "FLOAT"}),
        (0, {"subtype": "FLOAT"}),
        (0xFFFFFFFF, {"format": "WAVEX"}),
    ],
)
def test_a_wrong_size_is_remarked_on_and_all_is_read(tmp_path, size, options):
    content = wav(**options)
    path = tmp_path / "a.wav"
    path.write_bytes(with_size(content, size))
    available = len(content) - content.index(b"data") - 8
    remark = f"its header wrongly promises {size:,} bytes of sound; the {available:,} that follow were read"
    assert check(path) == (remark,)
    assert audio.plain(path) is None


JUNK = np.random.default_rng(1).integers(128, 256, 512, dtype=np.uint8).tobytes()
ID3V2 = b"ID3\4\0\0\0\0\1\0" + bytes(128)


@pytest.mark.parametrize(
    "tail",
    [b"", b"\0", LIST, b"zzzz\4\0\0\0abcd", ID3V2, b"TAG" + bytes(125), *(JUNK[:size] for size in (12, 20, 512))],
    ids=len,
)
def test_a_size_behind_which_a_chunk_or_a_few_bytes_follow_is_right(tmp_path, tail):
    path = tmp_path / "a.wav"
    path.write_bytes(wav() + tail)
    assert check(path) == ()
    assert audio.plain(path) is not None


def test_a_file_that_is_cut_short_or_holds_no_sound_is_refused(tmp_path):
    path, content = tmp_path / "a.wav", wav()
    for part, message in (
        (content[:100_000], "is cut short: its header promises 617,400 bytes of sound, 99,956 are"),
        (wav(0.0), "holds no samples"),
        (content[:12] + content[content.index(b"data") :], "cannot be decoded"),
    ):
        path.write_bytes(part)
        with pytest.raises(TarkibError, match=message):
            audio.load(path)
        assert audio.seconds(path) == 0.0


@pytest.mark.parametrize(("text", "padding"), [(b"recorder", b""), (b"by me", b""), (b"by me", b"\0")])
def test_a_chunk_of_odd_size_with_and_without_its_padding_byte(tmp_path, text, padding):
    content, path = wav(), tmp_path / "a.wav"
    at = content.index(b"data")
    chunk = b"LIST" + struct.pack("<I", 4 + 8 + len(text)) + b"INFOISFT" + struct.pack("<I", len(text)) + text
    path.write_bytes(content[:at] + chunk + padding + content[at:])
    assert check(path) == ()
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(TarkibError, match=r"promises 617,400 bytes of sound, 199,\d\d\d are there"):
        audio.load(path)


def test_rf64_and_bw64(tmp_path):
    path = write(tmp_path / "a.wav", tone(RATE, 7.0), RATE, format="RF64", subtype="PCM_16")
    assert check(path) == ()
    content = path.read_bytes()
    path.write_bytes(b"BW64" + content[4:])
    assert check(path) == ()
    at = content.index(b"ds64") + 8 + 8
    path.write_bytes(content[:at] + bytes(8) + content[at + 8 :])  # killed before the true size was written
    assert "wrongly promises" in check(path)[0]


@pytest.mark.parametrize("tail", [b"", LIST])
def test_a_size_over_4_gb_wraps_around(tmp_path, tail):
    """A sparse file: its length is read, not its sound."""
    path = tmp_path / "a.wav"
    samples = (5 * 2**30) // 2
    header = wav(0.0)[:44]
    with path.open("wb") as file:
        file.write(with_size(header, samples * 2 % 2**32))
        file.seek(len(header) + samples * 2 - 2)
        file.write(b"\1\0" + tail)
    assert audio.seconds(path) == pytest.approx(samples / RATE)
    assert "the 5,368,709,120 that follow were read" in decoding._layout(path).remarks[0]
    assert len(next(iter(audio.Stream(path)))) == pytest.approx(60 * 24_000, abs=2_400)


@pytest.mark.parametrize("cut", [0, 1_000])
def test_of_joined_wav_files_the_first_is_read_and_the_rest_is_remarked_on(tmp_path, cut):
    content, path = bytes(wav()), tmp_path / "a.wav"
    path.write_bytes(content + content[: len(content) - cut])
    remark = f"another WAV file of {len(content) - cut:,} bytes was joined to it, which was not read; split it"
    assert check(path) == (remark,)


@pytest.mark.parametrize("has_length", [True, False])
def test_joined_flac_files_are_read_to_the_end(tmp_path, has_length):
    paths = [write(tmp_path / "1.flac", noise(3, 1)), write(tmp_path / "2.flac", noise(4, 2, 48_000), 48_000)]
    expected = np.concatenate([audio.load(path).samples for path in paths])
    contents = [path.read_bytes() for path in paths]
    if not has_length:
        contents = [content[:22] + bytes(4) + content[26:] for content in contents]
    path = tmp_path / "joined.flac"
    path.write_bytes(b"".join(contents))
    sound = audio.load(path)
    assert audio.seconds(path) == sound.file_seconds == pytest.approx(7)
    assert sound.remarks == ()
    np.testing.assert_array_equal(sound.samples, expected)


@pytest.mark.parametrize("length", [0, 1, 60_000, 2**36 - 1])
def test_a_flac_whose_length_is_missing_or_wrong_is_read_to_its_end(tmp_path, length, monkeypatch):
    path = write(tmp_path / "a.flac", noise(12))
    samples = audio.load(path).samples
    content = bytearray(path.read_bytes())
    # The last 36 bits before the checksum of the sound: how many samples there are.
    content[21:26] = ((content[21] & 0xF0) << 32 | length).to_bytes(5, "big")
    path.write_bytes(content + bytes(128))
    monkeypatch.setattr("tarkib.audio.ffmpeg.is_installed", lambda: False)
    sound = audio.load(path)
    np.testing.assert_array_equal(sound.samples, samples)
    is_short = 0 < length < 2**36 - 1
    assert sound.remarks == (("its header gives too small a length; all was read",) if is_short else ())
    assert audio.seconds(path) == 12


def test_whole_and_damaged_flac_files(tmp_path):
    for seconds in (0.1, 7.0, 30.0):
        path = write(tmp_path / "a.flac", noise(seconds))
        assert audio.plain(path) is not None
    content = bytearray(path.read_bytes())
    path.write_bytes(content + b"TAG".ljust(128, b"\0") + bytes(5_000))
    assert audio.load(path).samples.size == 30 * 24_000
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (remark,) = audio.load(path).remarks
    assert remark.startswith("FFmpeg decoded it where libsndfile failed (Error : unknown error in flac decoder)")


@pytest.mark.parametrize(("name", "subtype"), [("a.ogg", "VORBIS"), ("a.opus", "OPUS")])
def test_chained_ogg_streams_are_read_one_after_the_other(tmp_path, name, subtype):
    rates = (24_000, 48_000)
    paths = [write(tmp_path / f"{k}{name}", noise(4, 1, k), k, format="OGG", subtype=subtype) for k in rates]
    chain = tmp_path / name
    chain.write_bytes(b"".join(path.read_bytes() for path in paths))
    sound = audio.load(chain)
    assert sound.file_seconds == pytest.approx(8, abs=0.05)
    assert audio.seconds(chain) == pytest.approx(8, abs=0.05)
    assert sound.remarks == ()
    np.testing.assert_array_equal(sound.samples, np.concatenate([audio.load(path).samples for path in paths]))
    assert audio.plain(paths[0]) is not None
    assert audio.plain(chain) is None


def test_damage_between_pages_hides_no_stream_and_a_damaged_part_is_remarked_on(tmp_path):
    content, path = write(tmp_path / "a.ogg", noise(4)).read_bytes(), tmp_path / "chain.ogg"
    for between, remark in ((b"no page" * 500, ""), (content[:300], "part 2 of 3 is damaged")):
        path.write_bytes(content + between + content)
        sound = audio.load(path)
        assert sound.file_seconds == pytest.approx(8, abs=0.05)
        assert "".join(sound.remarks).startswith(remark)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_lost_pages_repeat_nothing_and_are_remarked_on(tmp_path, subtype):
    path = write(tmp_path / "a.ogg", noise(20, rate=48_000), 48_000, format="OGG", subtype=subtype)
    content = path.read_bytes()
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    half = len(pages) // 2
    path.write_bytes(content[: pages[half]] + content[pages[half + 3] :])
    sound = audio.load(path)
    assert sound.file_seconds < 19.5
    (remark,) = sound.remarks
    assert " s of its 20.00 s are missing" in remark
    end, before = sound.samples[-24_000:], sound.samples[:-24_000]
    assert np.abs(scipy.signal.correlate(before, end, "valid")).max() < 0.5 * (end @ end)
