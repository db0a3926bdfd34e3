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
from tarkib.audio.quiet import quiet
from tarkib.errors import TarkibError


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


def test_a_flac_written_by_a_stream_has_no_length_and_is_read(tmp_path, monkeypatch):
    content = bytearray(write(tmp_path / "a.flac", tone(24_000)).read_bytes())
    # The last 36 bits before the checksum of the sound: how many samples there are.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "stream.flac").write_bytes(content)
    monkeypatch.setitem(sys.modules, "avioflow", None)
    sound = audio.load(tmp_path / "stream.flac")
    assert sound.samples.size == 48_000
    assert sound.remarks == ()
    assert audio.seconds(tmp_path / "stream.flac") == 2.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, bad):
    samples = tone(24_000)
    samples[36_000] = bad
    with pytest.raises(TarkibError, match=r"NaN or infinite samples, the first at 1.50 s"):
        audio.load(write(tmp_path / "a.wav", samples, subtype="FLOAT"))


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
    blocks = list(audio.Stream(path))
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
            list(audio.Stream(tmp_path / name))


def test_a_stream_of_ffmpegs_formats_is_the_whole_in_blocks(tmp_path):
    path = tmp_path / "tone.aac"
    avioflow.save(str(path), noise(130.0)[np.newaxis], avioflow.AudioWriteOptions("adts", sample_rate=24_000))
    blocks = [block for block in audio.Stream(path) if len(block)]
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
    np.testing.assert_allclose(np.concatenate(list(audio.Stream(sound))), tone(24_000))
    assert audio.seconds(sound) == 2.0
    written = tmp_path / "tone.aac"
    avioflow.save(str(written), tone(24_000)[np.newaxis], avioflow.AudioWriteOptions("adts", sample_rate=24_000))
    assert abs(sum(map(len, audio.Stream(written.rename(tmp_path / "tone.sound")))) - 48_000) < 4_800
    (tmp_path / "notes.txt").write_text("no sound")
    with pytest.raises(TarkibError, match="cannot be decoded"):
        list(audio.Stream(tmp_path / "notes.txt"))


@pytest.mark.parametrize("rate", [1, 999, 1_000_000])
def test_a_rate_that_no_recording_has_is_refused(tmp_path, rate):
    path = write(tmp_path / "odd.wav", tone(24_000), rate)
    for read in (audio.load, lambda path: list(audio.Stream(path))):
        with pytest.raises(TarkibError, match=f"its header gives a sample rate of {rate} Hz"):
            read(path)


def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    for read in (audio.load, lambda path: list(audio.Stream(path)), audio.check_file):
        with pytest.raises(TarkibError, match=r"is not a regular file \(a FIFO\)"):
            read(tmp_path / "a.wav")
    assert audio.seconds(tmp_path / "a.wav") == 0.0
    assert audio.plain(tmp_path / "a.wav") is None
    with pytest.raises(TarkibError, match=r"is not a regular file \(a device\)"):
        audio.load(Path("/dev/zero"))


def test_a_file_that_may_not_be_read_is_refused_as_such(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(24_000))

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(TarkibError, match=r"cannot be read \(Permission denied\)"):
        audio.load(path)
    assert audio.seconds(path) == 0.0


def test_a_file_longer_than_the_caller_takes_is_refused_before_it_is_decoded(tmp_path):
    path = write(tmp_path / "long.flac", np.zeros(24_000 * 600, np.int16))
    assert audio.load(path, 600.0).file_seconds == 600
    with pytest.raises(TarkibError, match="is longer than 100 s; cut it"):
        audio.load(path, 100.0)


def test_what_is_plain_is_what_libsndfile_reads_as_it_is(tmp_path):
    path = write(tmp_path / "a.wav", tone(24_000))
    assert audio.plain(path).frames == 48_000
    path.write_bytes(path.read_bytes() + bytes(4_001) + b"more")
    assert audio.plain(path) is None
    assert audio.plain(tmp_path / "none.wav") is None


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries name it otherwise")
def test_what_c_code_prints_does_not_reach_the_terminal(capfd):
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


def aac(path: Path, samples: np.ndarray, rate: int = 24_000) -> bytes:
    """An AAC file of samples, shape (channels, n)."""
    avioflow.save(str(path), samples, avioflow.AudioWriteOptions("adts", sample_rate=rate))
    return path.read_bytes()


@pytest.mark.parametrize("channels", [(2, 1), (1, 2)])
def test_channels_and_rate_that_change_inside_a_file(tmp_path, channels):
    first, second = np.stack([tone(24_000)] * channels[0]), np.stack([tone(12_000)] * channels[1])
    path = tmp_path / "joined.aac"
    path.write_bytes(aac(tmp_path / "a.aac", first) + aac(tmp_path / "b.aac", second, 12_000))
    samples = audio.load(path).samples
    assert samples.size == pytest.approx(4 * 24_000, abs=12_000)
    for second in (0.5, 3.0):
        there = samples[int(second * 24_000) :][:12_000]
        assert np.argmax(np.abs(np.fft.rfft(there))) * 2 == pytest.approx(440, abs=4)


@pytest.mark.parametrize("name", ["tone.mp3", "tone.wav", "tone.ogg", "tone.flac"])
def test_a_wrong_ending(tmp_path, name):
    (tmp_path / name).write_bytes(aac(tmp_path / "a.aac", tone(24_000)[np.newaxis]))
    assert audio.load(tmp_path / name).file_seconds == pytest.approx(2, abs=0.2)


def test_the_message_is_libsndfiles_and_does_not_repeat_the_path(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"no sound" * 100)
    with pytest.raises(TarkibError) as caught:
        audio.load(tmp_path / "a.m4a")
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "a.wav").write_bytes(b"no sound" * 100)
    with pytest.raises(TarkibError, match="Format not recognised"):
        audio.load(tmp_path / "a.wav")
    whole = write(tmp_path / "a.flac", noise(10)).read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TarkibError, match="flac decoder lost sync"):
        audio.load(tmp_path / "a.flac")


@pytest.mark.parametrize("error", [ValueError("shapes"), TypeError("kind"), struct.error("size")])
def test_whatever_a_decoder_raises_is_the_files_fault(tmp_path, monkeypatch, error):
    def raises(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", raises)
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(write(tmp_path / "a.wav", tone(24_000)))


def test_a_flac_of_a_wild_length_is_read(tmp_path):
    content = bytearray(write(tmp_path / "a.flac", tone(24_000)).read_bytes())
    content[21] |= 0x0F
    (tmp_path / "wild.flac").write_bytes(content)
    assert audio.load(tmp_path / "wild.flac").samples.size == 48_000


def test_bytes_behind_a_flac_are_not_decoded(tmp_path):
    path = write(tmp_path / "a.flac", tone(24_000))
    path.write_bytes(path.read_bytes() + b"TAG".ljust(128, b"\0") + bytes(5_000))
    assert audio.load(path).samples.size == 48_000


def test_hundredths_that_a_decoder_drops_are_not_missed(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(24_000))
    read = soundfile.SoundFile.read
    for lost, message in {11_000: None, 13_000: "cut short: its header promises 2.00 s, 1.46 s"}.items():
        monkeypatch.setattr(
            soundfile.SoundFile, "read", lambda *args, lost=lost, **options: read(*args, **options)[lost:]
        )
        with pytest.raises(TarkibError, match=message) if message else contextlib.nullcontext():
            audio.load(path)


def wavpack(samples: int, content: bytes = bytes(64)) -> bytes:
    """A WavPack file of one block, at 44.1 kHz."""
    head = struct.pack("<4sIHBBIIIII", b"wvpk", 24 + len(content), 0x410, 0, 0, samples, 0, samples, 9 << 23 | 1, 0)
    return head + content


def test_a_decoder_that_crashes_costs_its_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(wavpack(44_100))
    assert audio.seconds(path) == 1.0
    with pytest.raises(TarkibError, match="cannot be decoded"):
        audio.load(path)
    monkeypatch.setattr(ffmpeg, "_SERVE", "import os; os.abort()")
    with pytest.raises(TarkibError, match="its decoder crashed"):
        audio.load(path.rename(tmp_path / "a.wv"))


def test_what_another_process_decodes_is_the_same(tmp_path, monkeypatch):
    path = tmp_path / "a.aac"
    aac(path, noise(130)[np.newaxis])
    here = audio.load(path).samples
    monkeypatch.setattr(ffmpeg, "_wavpack_head", lambda _: b"wvpk".ljust(32))
    np.testing.assert_array_equal(audio.load(path).samples, here)


def test_a_file_of_ffmpegs_that_ends_early_is_remarked_on(tmp_path, monkeypatch):
    path = tmp_path / "a.aac"
    aac(path, tone(24_000)[np.newaxis])
    monkeypatch.setattr(ffmpeg, "seconds", lambda _: (4.0, True))
    (remark,) = audio.load(path).remarks
    assert re.fullmatch(r"it ends at 2\.\d\d of 4\.00 s; is it cut short\?", remark)
    monkeypatch.setattr(ffmpeg, "seconds", lambda _: (4.0, False))
    assert audio.load(path).remarks == ()
