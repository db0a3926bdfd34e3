import shutil
import subprocess
import sys
from pathlib import Path

import avioflow
import numpy as np
import pytest
import scipy.signal
import soundfile
from conftest import noise, write

from tarkib import audio
from tarkib.errors import TarkibError


def tone(rate: int, seconds: float = 2.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100, 192_000])
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


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_formats(tmp_path, suffix):
    sound = audio.load(write(tmp_path / f"tone{suffix}", tone(24_000)))
    assert abs(sound.file_seconds - 2.0) < 0.1
    assert abs(audio.rms(sound.samples[4_800:43_200]) - 0.5 / np.sqrt(2)) < 0.02


def test_a_format_of_the_extra(tmp_path):
    path = tmp_path / "tone.aac"
    avioflow.save(str(path), tone(24_000)[np.newaxis], avioflow.AudioWriteOptions("adts", sample_rate=24_000))
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


def test_an_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(TarkibError, match="the file is empty"):
        audio.load(tmp_path / "a.wav")


def test_a_sound_of_no_samples(tmp_path):
    with pytest.raises(TarkibError, match="holds no samples"):
        audio.load(write(tmp_path / "a.wav", np.zeros(0, np.float32)))


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".m4a"])
def test_text_named_as_sound(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_text("these are my notes on the radif " * 50)
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(path)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
def test_a_truncated_file(tmp_path, suffix):
    whole = write(tmp_path / f"whole{suffix}", noise(10)).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TarkibError, match=r"cut short|cannot be decoded"):
        audio.load(path)


def test_a_truncated_mp3_is_read_as_far_as_it_goes(tmp_path):
    """Its length may have been a guess, so it is no reason to refuse a whole one."""
    whole = write(tmp_path / "whole.mp3", noise(10)).read_bytes()
    assert audio.load(tmp_path / "whole.mp3").missing_seconds == 0.0
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    sound = audio.load(tmp_path / "cut.mp3")
    assert 4.0 < sound.file_seconds < 6.0
    assert sound.file_seconds + sound.missing_seconds == pytest.approx(10, abs=0.2)


def test_what_a_stream_cannot_tell_the_header_can(tmp_path):
    whole = write(tmp_path / "whole.mp3", noise(10)).read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: len(whole) // 2])
    there = sum(map(len, audio.stream(tmp_path / "cut.mp3"))) / audio.SAMPLE_RATE
    assert 4.0 < there < 6.0
    assert audio.promised_seconds(tmp_path / "cut.mp3") == pytest.approx(10, abs=0.2)
    assert audio.cut_short(there, 10 - there) == f"it ends at {there:.2f} of 10.00 s; is it cut short?"
    assert audio.cut_short(9.6, 0.4) == ""


def test_what_ffmpeg_decodes_promises_nothing(tmp_path):
    path = str(tmp_path / "a.aac")
    avioflow.save(path, tone(24_000)[np.newaxis], avioflow.AudioWriteOptions("adts", sample_rate=24_000))
    assert audio.seconds(Path(path)) > 0
    assert audio.promised_seconds(Path(path)) == 0.0


@pytest.fixture
def joined(tmp_path) -> Path:
    """Two MP3 files one after the other; libsndfile stops at the end of the first, whose length is told."""
    files = [write(tmp_path / name, noise(length, seed)) for name, length, seed in (("a.mp3", 7, 1), ("b.mp3", 5, 2))]
    (tmp_path / "joined.mp3").write_bytes(b"".join(file.read_bytes() for file in files))
    return tmp_path / "joined.mp3"


def test_joined_mp3_files_are_heard_to_the_end(joined):
    sound = audio.load(joined)
    assert sound.file_seconds == pytest.approx(12, abs=0.2)
    assert sound.missing_seconds == 0.0
    assert sum(map(len, audio.stream(joined))) == sound.samples.size
    second = audio.load(joined.with_name("b.mp3")).samples
    near = sound.samples[-len(second) - 4_000 :]
    at = int(np.argmax(scipy.signal.correlate(near, second, "valid")))
    assert np.corrcoef(near[at : at + len(second)], second)[0, 1] > 0.99


def test_joined_mp3_files_are_remarked_on_where_nothing_reads_them_to_the_end(joined, monkeypatch):
    monkeypatch.setitem(sys.modules, "avioflow", None)
    sound = audio.load(joined)
    assert sound.file_seconds == pytest.approx(7, abs=0.1)
    assert sound.file_seconds + sound.missing_seconds == pytest.approx(12, abs=0.2)
    assert audio.promised_seconds(joined) == pytest.approx(12, abs=0.2)


def test_a_variable_mp3_without_a_length_is_heard_to_the_end(tmp_path):
    """Its length is guessed from how it begins: here with silence, which takes few bytes."""
    samples = np.concatenate([noise(2), np.zeros(20 * 24_000, np.float32), noise(40)])
    whole = write(tmp_path / "whole.mp3", samples, bitrate_mode="VARIABLE", compression_level=0.5).read_bytes()
    begins = whole.index(b"\xff", whole.index(b"Xing"))
    (tmp_path / "bare.mp3").write_bytes(whole[begins:])
    assert audio.load(tmp_path / "bare.mp3").file_seconds == pytest.approx(62, abs=0.2)


def test_a_flac_written_by_a_stream_has_no_length_and_is_read(tmp_path, monkeypatch):
    content = bytearray(write(tmp_path / "a.flac", tone(24_000)).read_bytes())
    # The last 36 bits before the checksum of the sound: how many samples there are.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "stream.flac").write_bytes(content)
    assert audio.load(tmp_path / "stream.flac").samples.size == 48_000
    assert audio.seconds(tmp_path / "stream.flac") < 10
    monkeypatch.setitem(sys.modules, "avioflow", None)
    with pytest.raises(TarkibError, match=r"this \.flac file needs a decoder"):
        audio.load(tmp_path / "stream.flac")


def test_a_wav_written_by_a_stream_has_no_length_and_is_read(tmp_path):
    content = bytearray(write(tmp_path / "a.wav", tone(24_000), subtype="PCM_16").read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "stream.wav").write_bytes(content)
    assert audio.load(tmp_path / "stream.wav").samples.size == 48_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, bad):
    samples = tone(24_000)
    samples[36_000] = bad
    with pytest.raises(TarkibError, match=r"NaN or infinite samples, the first at 1.50 s"):
        audio.load(write(tmp_path / "a.wav", samples, subtype="FLOAT"))


def test_levels():
    assert audio.decibels(audio.rms(np.full(10, 0.1, np.float32))) == pytest.approx(-20, abs=1e-4)
    assert audio.decibels(0.0) == -120.0
    assert audio.rms(np.zeros(0)) == 0.0
    assert audio.amplitude(-20) == pytest.approx(0.1)


def test_fit():
    np.testing.assert_array_equal(audio.fit(np.ones(3), 5), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(audio.fit(np.arange(5), 3), [0, 1, 2])


def test_length_of_what_cannot_be_read_is_a_guess(tmp_path):
    (tmp_path / "a.wav").write_text("no sound")
    assert audio.seconds(tmp_path / "a.wav") == 0.0
    assert audio.seconds(write(tmp_path / "b.flac", tone(8_000), 8_000)) == soundfile.info(tmp_path / "b.flac").duration


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (44_100, 2), (16_000, 1)])
def test_a_stream_is_the_whole_in_blocks(tmp_path, rate, channels):
    samples = noise(130.0, rate=rate)
    path = write(tmp_path / "a.flac", np.stack([samples] * channels, axis=1), rate)
    blocks = list(audio.stream(path))
    assert len(blocks) >= 3
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    np.testing.assert_allclose(np.concatenate(blocks), audio.load(path).samples, atol=1e-5)


def test_a_stream_refuses_what_loading_refuses(tmp_path):
    spoilt = noise(70.0)
    spoilt[65 * audio.SAMPLE_RATE] = np.nan
    write(tmp_path / "nan.wav", spoilt, subtype="FLOAT")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.flac").write_text("no music")
    write(tmp_path / "none.wav", np.zeros(0, np.float32))
    for name, message in {
        "nan.wav": r"NaN or infinite samples, the first at 65\.00 s",
        "empty.wav": "the file is empty",
        "text.flac": "cannot be decoded",
        "none.wav": "holds no samples",
    }.items():
        with pytest.raises(TarkibError, match=message):
            list(audio.stream(tmp_path / name))


def test_a_stream_of_ffmpegs_formats_is_the_whole_in_blocks(tmp_path):
    path = tmp_path / "tone.aac"
    avioflow.save(str(path), noise(130.0)[np.newaxis], avioflow.AudioWriteOptions("adts", sample_rate=24_000))
    blocks = list(audio.stream(path))
    assert len(blocks) == 3
    np.testing.assert_array_equal(np.concatenate(blocks), audio.load(path).samples)


def test_the_sound_of_a_video_is_heard(tmp_path):
    """Made by FFmpeg's program, where it is installed: the extra writes no video."""
    ffmpeg = shutil.which("ffmpeg") or pytest.skip("ffmpeg is not installed")
    sound = write(tmp_path / "tone.wav", tone(44_100), 44_100)
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5"]
    for name, options in {"a.mp4": [*picture, "-shortest"], "b.mkv": [*picture, "-shortest"], "c.m4a": []}.items():
        subprocess.run([ffmpeg, "-loglevel", "error", "-i", sound, *options, tmp_path / name], check=True)
        heard = audio.load(tmp_path / name)
        assert abs(heard.file_seconds - 2.0) < 0.1
        assert abs(audio.rms(heard.samples[4_800:43_200]) - 0.5 / np.sqrt(2)) < 0.03
    subprocess.run([ffmpeg, "-loglevel", "error", *picture, "-t", "1", tmp_path / "mute.mp4"], check=True)
    with pytest.raises(TarkibError, match="Could not find audio stream"):
        audio.load(tmp_path / "mute.mp4")


def test_an_ending_that_says_nothing_is_tried(tmp_path):
    sound = write(tmp_path / "tone.wav", tone(24_000), subtype="FLOAT").rename(tmp_path / "tone.part1")
    np.testing.assert_allclose(np.concatenate(list(audio.stream(sound))), tone(24_000))
    assert audio.seconds(sound) == 2.0
    written = tmp_path / "tone.aac"
    avioflow.save(str(written), tone(24_000)[np.newaxis], avioflow.AudioWriteOptions("adts", sample_rate=24_000))
    assert abs(sum(map(len, audio.stream(written.rename(tmp_path / "tone.sound")))) - 48_000) < 4_800
    (tmp_path / "notes.txt").write_text("no sound")
    with pytest.raises(TarkibError, match="cannot be decoded"):
        list(audio.stream(tmp_path / "notes.txt"))


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    path = write(tmp_path / "odd.wav", tone(24_000), rate)
    for read in (audio.load, lambda path: list(audio.stream(path))):
        with pytest.raises(TarkibError, match=f"says that it has {rate} samples a second"):
            read(path)
