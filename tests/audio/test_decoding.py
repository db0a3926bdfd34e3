import contextlib
import ctypes
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import avioflow
import numpy as np
import pytest
import soundfile
from conftest import noise, write
from tones import tone

from tarkib import audio
from tarkib.audio import ffmpeg
from tarkib.audio.sndfile import quiet
from tarkib.errors import TarkibError


def aac(path: Path, samples: np.ndarray, rate: int = 24_000) -> Path:
    """An AAC file of samples, shape (channels, n)."""
    avioflow.save(str(path), np.atleast_2d(samples), avioflow.AudioWriteOptions("adts", sample_rate=rate))
    return path


@pytest.fixture(scope="module")
def long_aac(tmp_path_factory) -> Path:
    """Longer than two blocks."""
    return aac(tmp_path_factory.mktemp("aac") / "a.aac", noise(130, rate=8_000), 8_000)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 192_000])
def test_any_rate_becomes_24_khz(tmp_path, rate):
    sound = audio.load(write(tmp_path / "tone.wav", tone(rate), rate, subtype="FLOAT"))
    assert sound.file_sample_rate == rate
    assert sound.file_seconds == 2.0
    assert sound.samples.dtype == np.float32
    assert abs(sound.samples.size - 48_000) <= 2
    middle = slice(4_800, 43_200)  # away from the resampler's edges
    np.testing.assert_allclose(sound.samples[middle], tone(24_000)[middle], atol=2e-3)


def test_channels_are_averaged(tmp_path):
    channels = np.stack([tone(24_000), 0.5 * tone(24_000), np.zeros(48_000, np.float32)], axis=1)
    sound = audio.load(write(tmp_path / "three.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, tone(24_000) * 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [(".wav", "PCM_U8", 0.01), (".wav", "PCM_24", 1e-5), (".flac", "PCM_16", 1e-4), (".aiff", "PCM_16", 1e-4)],
)
def test_sample_formats(tmp_path, suffix, subtype, tolerance):
    sound = audio.load(write(tmp_path / f"tone{suffix}", tone(24_000), subtype=subtype))
    np.testing.assert_allclose(sound.samples, tone(24_000), atol=tolerance)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.aac"])
def test_lossy_formats(tmp_path, name):
    path = tmp_path / name
    if name == "a.aac":
        aac(path, tone(24_000))
    else:
        write(path, tone(24_000))
    sound = audio.load(path)
    assert abs(sound.file_seconds - 2.0) < 0.2
    assert abs(audio.rms(sound.samples[4_800:43_200]) - 0.5 / np.sqrt(2)) < 0.03
    assert abs(audio.seconds(path) - 2.0) < 0.2


def test_the_extra_brings_the_other_formats_too():
    """It does not write m4a and wma, so there is nothing to read back here: its readers must be there."""
    assert {"aac", "alac", "wmav1", "wmav2", "wmalossless"} <= set(avioflow.get_supported_decoders())
    readers = ",".join(avioflow.get_supported_input_formats()).split(",")
    assert {"m4a", "mp4", "asf", "aac"} <= set(readers)


def test_without_the_extra_its_formats_name_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "avioflow", None)
    (tmp_path / "a.m4a").write_bytes(b"sound")
    with pytest.raises(TarkibError, match=r"this \.m4a file needs a decoder: pip install 'tarkib\[formats\]'"):
        audio.load(tmp_path / "a.m4a")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "the file is empty"),
        *((f"a{suffix}", b"my notes on the radif " * 50, "cannot be decoded") for suffix in (".mp3", ".flac", ".txt")),
        # The message is libsndfile's for its own formats, even where FFmpeg was tried last.
        ("a.wav", b"my notes on the radif " * 50, "Format not recognised"),
        ("a.m4a", b"my notes on the radif " * 50, "cannot be decoded"),
    ],
)
def test_files_without_sound_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TarkibError, match=message) as error:
        audio.load(tmp_path / name)
    assert str(tmp_path) not in str(error.value)
    assert audio.seconds(tmp_path / name) == 0.0


def test_a_sound_of_no_samples(tmp_path):
    with pytest.raises(TarkibError, match="holds no samples"):
        audio.load(write(tmp_path / "a.wav", np.zeros(0, np.float32)))


@pytest.mark.parametrize(
    ("suffix", "message"),
    [(".wav", "cut short"), (".flac", "cannot be decoded .*flac decoder lost sync"), (".aiff", "cut short")],
)
def test_a_truncated_file(tmp_path, suffix, message):
    path = write(tmp_path / f"a{suffix}", noise(10))
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TarkibError, match=message):
        audio.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = noise(70.0)
    samples[65 * audio.SAMPLE_RATE] = value
    with pytest.raises(TarkibError, match=r"NaN or infinite samples, the first at 65\.00 s"):
        list(audio.Stream(write(tmp_path / "a.wav", samples, subtype="FLOAT")))


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (8_000, 2)])
def test_a_stream_is_the_whole_in_blocks(tmp_path, rate, channels):
    samples = noise(130.0, rate=rate)
    path = write(tmp_path / "a.flac", np.stack([samples] * channels, axis=1), rate)
    blocks = list(audio.Stream(path))
    assert len(blocks) >= 3
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    expected = audio.resample(soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0], rate)
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-5)
    assert audio.seconds(path) == 130


def test_the_sound_of_a_video_is_read(tmp_path):
    """Made by FFmpeg's program, where it is installed: the extra writes no video."""
    program = shutil.which("ffmpeg") or pytest.skip("ffmpeg is not installed")
    sound = write(tmp_path / "tone.wav", tone(44_100), 44_100)
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5"]
    for name, options in {"a.mp4": [*picture, "-shortest"], "b.mkv": [*picture, "-shortest"], "c.m4a": []}.items():
        subprocess.run([program, "-loglevel", "error", "-i", sound, *options, tmp_path / name], check=True)
        loaded = audio.load(tmp_path / name)
        assert abs(loaded.file_seconds - 2.0) < 0.1
        assert abs(audio.rms(loaded.samples[4_800:43_200]) - 0.5 / np.sqrt(2)) < 0.03
    subprocess.run([program, "-loglevel", "error", *picture, "-t", "1", tmp_path / "mute.mp4"], check=True)
    with pytest.raises(TarkibError, match="Could not find audio stream"):
        audio.load(tmp_path / "mute.mp4")


def test_a_file_with_an_unknown_ending_is_read(tmp_path):
    sound = write(tmp_path / "tone.wav", tone(24_000), subtype="FLOAT").rename(tmp_path / "tone.part1")
    np.testing.assert_allclose(audio.load(sound).samples, tone(24_000))
    assert audio.seconds(sound) == 2.0


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.sound"])
def test_a_wrong_ending(tmp_path, name):
    assert audio.load(aac(tmp_path / "a.aac", tone(24_000)).rename(tmp_path / name)).file_seconds == pytest.approx(
        2, abs=0.2
    )


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    with pytest.raises(TarkibError, match=f"its header gives a sample rate of {rate} Hz"):
        audio.load(write(tmp_path / "odd.wav", tone(24_000), rate))


def test_special_files_are_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(TarkibError, match=r"is not a regular file \(a FIFO\)"):
        audio.load(tmp_path / "a.wav")
    assert audio.seconds(tmp_path / "a.wav") == 0.0
    assert audio.plain(tmp_path / "a.wav") is None
    with pytest.raises(TarkibError, match=r"is not a regular file \(a device\)"):
        audio.load(Path("/dev/zero"))


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(TarkibError, match=r"cannot be read \(No such file or directory\)"):
        audio.load(tmp_path / "a.wav")
    path = write(tmp_path / "a.wav", tone(24_000))

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(TarkibError, match=r"cannot be read \(Permission denied\)"):
        audio.load(path)
    assert audio.seconds(path) == 0.0


def test_a_file_longer_than_the_caller_takes_is_refused_before_it_is_decoded(tmp_path):
    path = write(tmp_path / "long.flac", np.zeros(8_000 * 300, np.int16), 8_000)
    assert audio.load(path, 300.0).file_seconds == 300
    with pytest.raises(TarkibError, match="is longer than 100 s; cut it"):
        audio.load(path, 100.0)


def test_plain_files_are_those_that_libsndfile_reads_as_they_are(tmp_path):
    path = write(tmp_path / "a.wav", tone(24_000))
    assert audio.plain(path).frames == 48_000
    path.write_bytes(path.read_bytes() + bytes(4_001) + b"more")
    assert audio.plain(path) is None
    assert audio.plain(tmp_path / "none.wav") is None


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries use another name")
def test_output_of_c_code_does_not_reach_the_terminal(capfd):
    library = ctypes.CDLL(None)
    stream = ctypes.c_void_p.in_dll(library, "stderr")

    def prints(text: bytes) -> None:
        library.fputs(text, ctypes.c_void_p(stream.value))
        library.fflush(None)

    with quiet():
        with quiet():
            prints(b"inner")
        prints(b"outer")
        print("of Python", file=sys.stderr)
    prints(b"after")
    assert capfd.readouterr().err == "of Python\nafter"


@pytest.mark.parametrize("channels", [(2, 1), (1, 2)])
def test_channels_and_rate_that_change_inside_a_file(tmp_path, channels):
    first = aac(tmp_path / "a.aac", np.stack([tone(24_000)] * channels[0]))
    second = aac(tmp_path / "b.aac", np.stack([tone(12_000)] * channels[1]), 12_000)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    samples = audio.load(first).samples
    assert samples.size == pytest.approx(4 * 24_000, abs=12_000)
    for begin in (12_000, 72_000):
        spectrum = np.abs(np.fft.rfft(samples[begin : begin + 12_000]))
        assert np.argmax(spectrum) * 2 == pytest.approx(440, abs=4)


@pytest.mark.parametrize("error", [ValueError("shapes"), TypeError("kind"), struct.error("size")])
def test_any_exception_of_a_decoder_is_an_error_of_the_file(tmp_path, monkeypatch, error):
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", raises)
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(write(tmp_path / "a.wav", tone(24_000)))


def test_hundredths_that_a_decoder_drops_are_not_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(24_000))
    read = soundfile.SoundFile.read
    for lost, message in {11_000: None, 13_000: "cut short: its header promises 2.00 s, 1.46 s"}.items():
        monkeypatch.setattr(
            soundfile.SoundFile, "read", lambda *args, lost=lost, **options: read(*args, **options)[lost:]
        )
        with pytest.raises(TarkibError, match=message) if message else contextlib.nullcontext():
            audio.load(path)


def test_a_decoder_that_crashes_costs_its_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    # WavPack: one block of silence at 44.1 kHz, whose content is no WavPack.
    head = struct.pack("<4sIHBBIIIII", b"wvpk", 88, 0x410, 0, 0, 44_100, 0, 44_100, 9 << 23 | 1, 0)
    path.write_bytes(head + bytes(64))
    assert audio.seconds(path) == 1.0
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(path)
    for name in ("_SERVE", "_ASK"):
        monkeypatch.setattr(ffmpeg, name, "import os; os.abort()")
    for name in ("a.wv", "a.sound"):
        (tmp_path / name).write_bytes(path.read_bytes() if name == "a.wv" else b"damaged" * 100)
        with pytest.raises(TarkibError, match="its decoder crashed"):
            audio.load(tmp_path / name)
    assert audio.seconds(tmp_path / "a.sound") == 0.0


def test_ffmpeg_decodes_in_blocks_and_in_another_process_the_same(long_aac, monkeypatch):
    blocks = [block for block in audio.Stream(long_aac) if len(block)]
    assert len(blocks) >= 3
    expected = np.concatenate(blocks)
    assert audio.rms(expected[120 * 24_000 : 129 * 24_000]) > 0.05
    monkeypatch.setattr(ffmpeg, "_wavpack_head", lambda _: b"wvpk".ljust(32))
    np.testing.assert_array_equal(audio.load(long_aac).samples, expected)


def test_a_file_of_ffmpegs_that_ends_early_is_remarked_on(tmp_path, monkeypatch):
    path = aac(tmp_path / "a.aac", tone(24_000))
    monkeypatch.setattr(ffmpeg, "seconds", lambda _: (4.0, True))
    (remark,) = audio.load(path).remarks
    assert re.fullmatch(r"it ends at 2\.\d\d of 4\.00 s; is it cut short\?", remark)
    monkeypatch.setattr(ffmpeg, "seconds", lambda _: (4.0, False))
    assert audio.load(path).remarks == ()
