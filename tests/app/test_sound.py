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


def test_what_is_no_sound_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.aiff"
    path.write_text("no music")
    with pytest.raises(TarkibError, match="cannot be decoded"):
        sound.playable(path, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_is_told(tmp_path):
    path = write(tmp_path / "a.aiff", noise(0.5))
    with pytest.raises(TarkibError, match=r"cannot be made playable in .*absent"):
        sound.playable(path, tmp_path / "absent")
