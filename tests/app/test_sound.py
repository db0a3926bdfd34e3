import os

import numpy as np
import pytest
import soundfile
from conftest import noise, write

from tarkib.app import sound
from tarkib.errors import TarkibError


@pytest.mark.parametrize(
    ("name", "options", "media"),
    [
        ("a.wav", {"subtype": "PCM_16"}, "audio/wav"),
        ("a.wav", {"subtype": "FLOAT"}, "audio/wav"),
        ("a.wav", {"format": "WAVEX", "subtype": "PCM_24"}, "audio/wav"),
        ("a.flac", {}, "audio/flac"),
        ("a.ogg", {"subtype": "VORBIS"}, "audio/ogg"),
        ("a.mp3", {}, "audio/mpeg"),
        ("misnamed.html", {"format": "FLAC"}, "audio/flac"),
    ],
)
def test_what_browsers_play_is_left_as_it_is(tmp_path, name, options, media):
    path = write(tmp_path / name, noise(0.5), **options)
    assert sound.playable(path, tmp_path) == path
    assert sound.media_type(path) == media


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.aiff", {}), ("a.wav", {"subtype": "DOUBLE"}), ("a.wav", {"subtype": "MS_ADPCM"}), ("a.au", {})],
)
def test_what_they_do_not_is_made_playable(tmp_path, name, options):
    samples = noise(61.0, rate=8_000)  # more than a block
    path = write(tmp_path / name, samples, 8_000, **options)
    made = sound.playable(path, tmp_path)
    assert made != path
    assert sound.media_type(made) == "audio/flac"
    heard, rate = soundfile.read(made)
    assert len(heard) / rate == pytest.approx(61.0, abs=0.1)
    assert np.std(heard) == pytest.approx(np.std(samples), rel=0.25)


def test_what_does_not_know_its_length_is_made_playable(tmp_path):
    """Two files joined, of which the first one's length is told; browsers go by that."""
    files = [write(tmp_path / name, noise(length)).read_bytes() for name, length in (("a.mp3", 4), ("b.mp3", 3))]
    (tmp_path / "joined.mp3").write_bytes(b"".join(files))
    made = sound.playable(tmp_path / "joined.mp3", tmp_path)
    assert sound.media_type(made) == "audio/flac"
    assert soundfile.info(made).duration == pytest.approx(7, abs=0.2)


def test_what_is_no_sound_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.aiff"
    path.write_text("no music")
    with pytest.raises(TarkibError, match="cannot be decoded"):
        sound.playable(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_only_the_last_few_are_kept(tmp_path):
    paths = [write(tmp_path / f"{k}.aiff", noise(0.2, seed=k)) for k in range(3)]
    plain = write(tmp_path / "plain.wav", noise(0.2))
    made = tmp_path / "made"
    made.mkdir()
    converted = sound.Converted(made, most=2)
    first, second = converted.of(paths[0]), converted.of(paths[1])
    assert converted.of(paths[0]) == first
    assert converted.of(plain) == plain
    third = converted.of(paths[2])
    assert set(made.iterdir()) == {first, third}
    assert converted.of(paths[1]) != second
    assert len(list(made.iterdir())) == 2
    assert all(path.exists() for path in (*paths, plain))


def test_what_was_changed_is_converted_anew(tmp_path):
    path = write(tmp_path / "a.aiff", noise(0.2))
    converted = sound.Converted(tmp_path, most=2)
    assert soundfile.info(converted.of(path)).duration == pytest.approx(0.2, abs=0.01)
    write(path, noise(0.4))
    os.utime(path, ns=(0, 0))
    assert soundfile.info(converted.of(path)).duration == pytest.approx(0.4, abs=0.01)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        converted.of(path)


def test_where_nothing_can_be_written_is_told(tmp_path):
    path = write(tmp_path / "a.aiff", noise(0.5))
    with pytest.raises(TarkibError, match=r"cannot be made playable in .*absent"):
        sound.playable(path, tmp_path / "absent")
