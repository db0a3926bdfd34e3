import numpy as np
import pytest
from conftest import noise, write
from tones import tone

from tarkib import audio
from tarkib.errors import TarkibError


def test_levels_are_about_the_mean():
    assert audio.decibels(audio.rms(np.tile(np.float32([0.1, -0.1]), 50))) == pytest.approx(-20, abs=1e-4)
    assert audio.decibels(0.0) == audio.decibels(audio.rms(np.full(120_000, 0.5, np.float32))) == -120.0
    assert audio.rms(np.zeros(0)) == 0.0
    assert audio.amplitude(-20) == pytest.approx(0.1)
    assert audio.rms(noise(5) + np.float32(0.5)) == pytest.approx(audio.rms(noise(5)), rel=1e-4)


@pytest.mark.parametrize(("bits", "subtype"), [(16, "FLOAT"), (24, "DOUBLE"), (32, "FLOAT")])
def test_floats_in_the_scale_of_integers_are_scaled_back_with_a_remark(tmp_path, bits, subtype):
    whole = np.rint(tone(24_000, 7.0).astype(np.float64) * 2 * (2 ** (bits - 1) - 129))
    sound = audio.load(write(tmp_path / "a.wav", whole, subtype=subtype))
    np.testing.assert_allclose(sound.samples, 2 * tone(24_000, 7.0), atol=2e-2 if bits == 16 else 1e-4)
    assert sound.remarks == (
        f"its samples are in the scale of {bits}-bit integers, and were divided by {2 ** (bits - 1):,}",
    )


def test_a_resampled_file_in_the_scale_of_16_bits_is_scaled_back_too(tmp_path):
    path = write(tmp_path / "a.wav", tone(24_000) * 65_000.5, subtype="FLOAT")
    assert np.abs(audio.load(path).samples).max() < 1.0


@pytest.mark.parametrize("peak", [1.2, 16.0])
def test_samples_slightly_beyond_full_scale_stay(tmp_path, peak):
    sound = audio.load(write(tmp_path / "a.wav", 2 * peak * tone(24_000), subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, 2 * peak * tone(24_000), rtol=1e-6)
    assert sound.remarks == ()


@pytest.mark.parametrize(("peak", "level"), [(100.5, "40 dB"), (1e30, "600 dB")])
def test_amplitudes_that_no_scale_explains_are_refused(tmp_path, peak, level):
    path = write(tmp_path / "a.wav", 2 * peak * tone(24_000).astype(np.float64), subtype="DOUBLE")
    with pytest.raises(TarkibError, match=rf"peaks at .* s, {level} above full scale \(1\.0\), which is no sound"):
        audio.load(path)


def test_the_scale_is_that_of_the_whole_file(tmp_path):
    """It begins with a minute of noise of a few steps, which alone would be sound of full scale."""
    samples = np.append(np.rint(np.random.default_rng(0).uniform(-1, 1, 8_000 * 61)), np.rint(60_000 * tone(8_000)))
    path = write(tmp_path / "a.wav", samples, 8_000, subtype="FLOAT")
    assert audio.decibels(audio.rms(next(iter(audio.Stream(path))))) < -80
    samples[-8_000] = 1e30
    with pytest.raises(TarkibError, match=r"peaks at 1e\+30 at 62\.00 s"):
        list(audio.Stream(write(tmp_path / "a.wav", samples, 8_000, subtype="FLOAT")))


REMARK = "its channels are in opposite phase and cancel each other; the louder one was taken"


def load(folder, left: np.ndarray, right: np.ndarray, rate: int = 24_000) -> audio.Sound:
    return audio.load(write(folder / "a.wav", np.stack([left, right], axis=1), rate, subtype="FLOAT"))


def levels(sound: audio.Sound, *seconds: int) -> list[float]:
    return [audio.rms(sound.samples[second * 24_000 : (second + 1) * 24_000]) for second in seconds]


@pytest.mark.parametrize(("right", "offset"), [(-1.0, 0.0), (-0.8, 0.5), (-1.3, 0.0)])
def test_of_channels_in_opposite_phase_the_louder_one_is_taken(tmp_path, right, offset):
    left = noise(8, level=0.05)
    sound = load(tmp_path, left + np.float32(offset), right * left + np.float32(offset))
    expected = left if abs(right) <= 1 else right * left
    np.testing.assert_allclose(sound.samples, expected + np.float32(offset), atol=1e-7)
    assert sound.remarks == (REMARK,)


@pytest.mark.parametrize("others", [[noise(8)], [noise(8, 1), 0 * noise(8)], [0.5 * noise(8, 1) - 0.5 * noise(8)]])
def test_of_all_other_channels_the_mean_is_taken(tmp_path, others):
    channels = np.stack([noise(8), *others], axis=1)
    sound = audio.load(write(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, channels.mean(axis=1), atol=1e-6)
    assert sound.remarks == ()


@pytest.mark.parametrize(
    ("signs", "remarked"),
    [
        ((1, 60, -1, 62), True),  # an announcement in phase changes nothing, and the short end follows
        ((1, 60, 1, 0, -1, 1), False),  # of a last second, two channels may be opposite by chance
        ((1, 10, -1, 48), True),  # the decision falls on borders of about five seconds
    ],
)
def test_every_five_seconds_are_decided_by_themselves(tmp_path, signs, remarked):
    sign = np.repeat(signs[::2], np.multiply(signs[1::2], 8_000)).astype(np.float32)
    sound = noise(len(sign) / 8_000, 1, 8_000)
    loaded = load(tmp_path, sound, sign * sound, 8_000)
    assert (REMARK in loaded.remarks) == remarked
    assert levels(loaded, 2, 8, 16, 30, 57) == pytest.approx([0.1] * 5, rel=0.05)
    if remarked:
        end = len(sign) // 8_000
        assert levels(loaded, end - 2, end - 1) == pytest.approx([0.1] * 2, rel=0.05)
