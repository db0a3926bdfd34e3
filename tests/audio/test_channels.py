import numpy as np
import pytest
from conftest import noise, write

from tarkib import audio

REMARK = "its channels are in opposite phase and cancel each other; the louder one was taken"


def load(folder, left: np.ndarray, right: np.ndarray, rate: int = 24_000) -> audio.Sound:
    return audio.load(write(folder / "a.wav", np.stack([left, right], axis=1), rate, subtype="FLOAT"))


def levels(sound: audio.Sound, *seconds: int) -> list[float]:
    return [audio.rms(sound.samples[second * 24_000 : (second + 1) * 24_000]) for second in seconds]


@pytest.mark.parametrize(("right", "offset"), [(-1.0, 0.0), (-0.8, 0.0), (-1.3, 0.0), (-0.8, 0.5)])
def test_of_channels_in_opposite_phase_the_louder_one_is_taken(tmp_path, right, offset):
    left = noise(8, level=0.05)
    sound = load(tmp_path, left + np.float32(offset), right * left + np.float32(offset))
    expected = left if abs(right) <= 1 else right * left
    np.testing.assert_allclose(sound.samples, expected + np.float32(offset), atol=1e-7)
    assert sound.remarks == (REMARK,)


@pytest.mark.parametrize("right", [noise(8), noise(8, 1), 0 * noise(8), 0.5 * noise(8, 1) - 0.5 * noise(8)])
def test_of_all_other_channels_the_mean_is_taken(tmp_path, right):
    sound = load(tmp_path, noise(8), right)
    np.testing.assert_allclose(sound.samples, (noise(8) + right) / 2, atol=1e-6)
    assert sound.remarks == ()


def test_an_announcement_in_phase_changes_nothing_and_a_short_end_follows(tmp_path):
    speech, music = noise(60, 1, 8_000), noise(62, 2, 8_000)
    sound = load(tmp_path, np.append(speech, music), np.append(speech, -music), 8_000)
    assert levels(sound, 30, 70, 100, 120, 121) == pytest.approx([0.1] * 5, rel=0.05)


def test_a_last_second_does_not_change_the_decision_before_it(tmp_path):
    """Of so little sound, two channels may be opposite by chance."""
    sound = noise(61, 1, 8_000)
    other = np.append(sound[: 60 * 8_000], -sound[60 * 8_000 :])
    assert REMARK not in load(tmp_path, sound, other, 8_000).remarks


def test_channels_that_are_opposite_from_some_second_on_lose_nothing(tmp_path):
    sound = noise(58, 1, 8_000)
    loaded = load(tmp_path, sound, np.append(sound[: 10 * 8_000], -sound[10 * 8_000 :]), 8_000)
    assert REMARK in loaded.remarks
    # The decision falls on borders of about five seconds.
    assert levels(loaded, 2, 8, 16, 30, 57) == pytest.approx([0.1] * 5, rel=0.05)
