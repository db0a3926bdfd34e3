import numpy as np
import pytest
from conftest import noise, write

from tarkib import audio

REMARK = "its channels are in opposite phase and cancel each other; the louder one was taken"


@pytest.mark.parametrize("right", [-1.0, -0.8, -1.3])
def test_of_channels_in_opposite_phase_the_louder_one_is_taken(tmp_path, right):
    left = noise(8, level=0.05)
    path = write(tmp_path / "a.wav", np.stack([left, right * left], axis=1), subtype="FLOAT")
    sound = audio.load(path)
    np.testing.assert_allclose(sound.samples, left if abs(right) <= 1 else right * left)
    assert sound.remarks == (REMARK,)


@pytest.mark.parametrize(
    "channels",
    [
        (noise(8), noise(8)),
        (noise(8), noise(8, 1)),
        (noise(8), 0 * noise(8)),
        (noise(8), 0.5 * noise(8, 1) - 0.5 * noise(8)),
    ],
)
def test_of_all_other_channels_the_mean_is_taken(tmp_path, channels):
    sound = audio.load(write(tmp_path / "a.wav", np.stack(channels, axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, np.mean(channels, axis=0), atol=1e-6)
    assert sound.remarks == ()


def test_an_offset_hides_no_opposite_phase(tmp_path):
    left = noise(8, level=0.05)
    path = write(tmp_path / "a.wav", np.stack([left + 0.5, 0.5 - left], axis=1), subtype="FLOAT")
    assert audio.load(path).remarks == (REMARK,)


def test_an_announcement_in_phase_changes_nothing_and_a_short_end_follows(tmp_path):
    spoken, music = noise(60, 1, 8_000), noise(62, 2, 8_000)
    path = write(
        tmp_path / "a.wav",
        np.stack([np.append(spoken, music), np.append(spoken, -music)], axis=1),
        8_000,
        subtype="FLOAT",
    )
    blocks = list(audio.Stream(path))
    sound = audio.load(path)
    np.testing.assert_array_equal(np.concatenate(blocks), sound.samples)
    assert audio.rms(sound.samples[: 59 * 24_000]) == pytest.approx(0.1, rel=0.05)
    for second in (70, 100, 120, 121):
        assert audio.rms(sound.samples[second * 24_000 : (second + 1) * 24_000]) == pytest.approx(0.1, rel=0.05)


def test_a_last_second_does_not_change_what_the_minutes_before_it_said(tmp_path):
    """Of so little sound, two channels may be opposite by chance."""
    sound = noise(61, 1, 8_000)
    other = np.append(sound[: 60 * 8_000], -sound[60 * 8_000 :])
    path = write(tmp_path / "a.wav", np.stack([sound, other], axis=1), 8_000, subtype="FLOAT")
    assert REMARK not in audio.load(path).remarks


def test_channels_that_are_opposite_from_some_second_on_lose_nothing(tmp_path):
    sound = noise(58, 1, 8_000)
    other = np.append(sound[: 10 * 8_000], -sound[10 * 8_000 :])
    loaded = audio.load(write(tmp_path / "a.wav", np.stack([sound, other], axis=1), 8_000, subtype="FLOAT"))
    assert REMARK in loaded.remarks
    # The decision falls on borders of about five seconds.
    for second in (2, 8, 16, 30, 57):
        assert audio.rms(loaded.samples[second * 24_000 : (second + 1) * 24_000]) == pytest.approx(0.1, rel=0.05)
