import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import avioflow
import numpy as np
import pytest
import soundfile
from conftest import noise, write
from tones import tone

from tarkib import audio
from tarkib.audio import ffmpeg, sndfile
from tarkib.errors import TarkibError

NOTES = b"my notes on the radif " * 50


def aac(path: Path, samples: np.ndarray, rate: int = 24_000) -> Path:
    """An AAC file of samples, shape (channels, n)."""
    avioflow.save(str(path), np.atleast_2d(samples), avioflow.AudioWriteOptions("adts", sample_rate=rate))
    return path


def refused(path: Path, message: str) -> None:
    """The file is refused with this message, which does not repeat the path."""
    with pytest.raises(TarkibError, match=message) as error:
        audio.load(path)
    assert str(path.parent) not in str(error.value)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 192_000])
def test_any_rate_becomes_24_khz(tmp_path, rate):
    sound = audio.load(write(tmp_path / "tone.wav", tone(rate), rate, subtype="FLOAT"))
    assert (sound.file_sample_rate, sound.file_seconds, sound.samples.dtype) == (rate, 2.0, np.float32)
    assert abs(sound.samples.size - 48_000) <= 2
    middle = slice(4_800, 43_200)  # away from the resampler's edges
    np.testing.assert_allclose(sound.samples[middle], tone(24_000)[middle], atol=2e-3)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [(".wav", "PCM_U8", 0.01), (".wav", "PCM_24", 1e-5), (".flac", "PCM_16", 1e-4), (".aiff", "PCM_16", 1e-4)],
)
def test_sample_formats_whatever_the_ending(tmp_path, suffix, subtype, tolerance):
    path = write(tmp_path / f"tone{suffix}", tone(24_000), subtype=subtype)
    for name in (path.name, "tone.part1"):
        path = path.rename(tmp_path / name)
        np.testing.assert_allclose(audio.load(path).samples, tone(24_000), atol=tolerance)
        assert audio.seconds(path) == 2.0


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.aac", "aac.mp3", "aac.wav", "aac.sound"])
def test_lossy_formats_and_wrong_endings(tmp_path, name):
    path = tmp_path / name
    if "aac" in name:
        aac(tmp_path / "a.aac", tone(24_000)).rename(path)
    else:
        write(path, tone(24_000))
    sound = audio.load(path)
    assert abs(sound.file_seconds - 2.0) < 0.2
    assert abs(audio.rms(sound.samples[4_800:43_200]) - 0.5 / np.sqrt(2)) < 0.03
    assert name == "aac.mp3" or abs(audio.seconds(path) - 2.0) < 0.2


def test_the_extra_brings_the_other_formats_too(tmp_path, monkeypatch):
    """It does not write m4a and wma, so there is nothing to read back here: its readers must be there."""
    assert {"aac", "alac", "wmav1", "wmav2", "wmalossless"} <= set(avioflow.get_supported_decoders())
    assert {"m4a", "mp4", "asf", "aac"} <= set(",".join(avioflow.get_supported_input_formats()).split(","))
    monkeypatch.setitem(sys.modules, "avioflow", None)
    (tmp_path / "a.m4a").write_bytes(b"sound")
    refused(tmp_path / "a.m4a", r"this \.m4a file needs a decoder: pip install 'tarkib\[formats\]'")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.wav", b"", "the file is empty"),
        *((f"a{suffix}", NOTES, "cannot be decoded") for suffix in (".wav", ".mp3", ".flac", ".txt", ".m4a")),
    ],
)
def test_files_without_sound_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)
    assert audio.seconds(tmp_path / name) == 0.0


def test_a_sound_of_no_samples_and_rates_that_no_recording_has_are_refused(tmp_path):
    refused(write(tmp_path / "a.wav", np.zeros(0, np.float32)), "holds no samples")
    for rate in (1, 999, 1_000_000):
        refused(write(tmp_path / "a.wav", tone(24_000), rate), f"its header gives a sample rate of {rate} Hz")


@pytest.mark.parametrize(
    ("suffix", "message"),
    [(".wav", "cut short"), (".flac", "cannot be decoded .*flac decoder lost sync"), (".aiff", "cut short")],
)
def test_a_truncated_file(tmp_path, suffix, message):
    path = write(tmp_path / f"a{suffix}", noise(10))
    os.truncate(path, path.stat().st_size // 2)
    refused(path, message)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = np.insert(noise(70.0), 65 * audio.SAMPLE_RATE, value)
    refused(write(tmp_path / "a.wav", samples, subtype="FLOAT"), r"NaN or infinite samples, the first at 65\.00 s")


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (8_000, 2)])
def test_a_stream_is_the_whole_in_blocks(tmp_path, rate, channels):
    samples = noise(130.0, rate=rate)
    path = write(tmp_path / "a.flac", np.stack([samples] * channels, axis=1), rate)
    blocks = list(audio.Stream(path))
    assert len(blocks) >= 3
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    expected = audio.resample(soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0], rate)
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-5)
    assert audio.seconds(path) == audio.load(path, 130.0).file_seconds == 130
    with pytest.raises(TarkibError, match="is longer than 50 s; cut it"):
        audio.load(path, 50.0)


def test_threads_decode_at_the_same_time(tmp_path, monkeypatch):
    both, before, read = threading.Barrier(2, timeout=20), sndfile._STDERR.value, soundfile.SoundFile.read

    def meeting(file, *arguments, **options):
        both.wait()
        assert sndfile._STDERR.value == sndfile._NULL
        return read(file, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", meeting)
    paths = [write(tmp_path / f"{k}.flac", noise(2.0, seed=k)) for k in range(2)]
    with ThreadPoolExecutor(2) as pool:
        assert [len(sound.samples) for sound in pool.map(audio.load, paths)] == [2 * audio.SAMPLE_RATE] * 2
    assert sndfile._STDERR.value == before


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
    refused(tmp_path / "mute.mp4", "Could not find audio stream")


def test_special_files_are_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    refused(tmp_path / "a.wav", r"is not a regular file \(a FIFO\)")
    assert audio.seconds(tmp_path / "a.wav") == 0.0
    assert audio.plain(tmp_path / "a.wav") is None
    with pytest.raises(TarkibError, match=r"is not a regular file \(a device\)"):
        audio.load(Path("/dev/zero"))


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path, monkeypatch):
    refused(tmp_path / "a.wav", r"cannot be read \(No such file or directory\)")
    path = write(tmp_path / "a.wav", tone(24_000))
    monkeypatch.setattr(Path, "open", mock.Mock(side_effect=PermissionError(13, "Permission denied", str(path))))
    refused(path, r"cannot be read \(Permission denied\)")
    assert audio.seconds(path) == 0.0


def test_plain_files_are_those_that_libsndfile_reads_as_they_are(tmp_path):
    path = write(tmp_path / "a.wav", tone(24_000))
    assert audio.plain(path).frames == 48_000
    path.write_bytes(path.read_bytes() + bytes(4_001) + b"more")
    assert audio.plain(path) is None
    assert audio.plain(tmp_path / "none.wav") is None


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


def test_a_decoder_that_crashes_costs_its_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    # WavPack: one block of silence at 44.1 kHz, whose content is no WavPack.
    head = struct.pack("<4sIHBBIIIII", b"wvpk", 88, 0x410, 0, 0, 44_100, 0, 44_100, 9 << 23 | 1, 0)
    path.write_bytes(head + bytes(64))
    refused(path, "cannot be decoded")
    for name in ("_SERVE", "_ASK"):
        monkeypatch.setattr(ffmpeg, name, "import os; os.abort()")
    for name in ("a.wv", "a.sound"):
        (tmp_path / name).write_bytes(path.read_bytes() if name == "a.wv" else b"damaged" * 100)
        refused(tmp_path / name, "its decoder crashed")
    assert audio.seconds(tmp_path / "a.sound") == 0.0


def test_ffmpeg_decodes_in_blocks_and_in_another_process_the_same(tmp_path, monkeypatch):
    path = aac(tmp_path / "a.aac", noise(130, rate=8_000), 8_000)
    blocks = [block for block in audio.Stream(path) if len(block)]
    assert len(blocks) >= 3
    expected = np.concatenate(blocks)
    assert audio.rms(expected[120 * 24_000 : 129 * 24_000]) > 0.05
    monkeypatch.setattr(ffmpeg, "_is_safe", lambda _: False)
    np.testing.assert_array_equal(audio.load(path).samples, expected)


def test_a_file_of_ffmpegs_that_ends_early_is_remarked_on(tmp_path, monkeypatch):
    path = aac(tmp_path / "a.aac", tone(24_000))
    monkeypatch.setattr(ffmpeg, "seconds", lambda _: (4.0, True))
    (remark,) = audio.load(path).remarks
    assert re.fullmatch(r"it ends at 2\.\d\d of 4\.00 s; is it cut short\?", remark)
    monkeypatch.setattr(ffmpeg, "seconds", lambda _: (4.0, False))
    assert audio.load(path).remarks == ()
