import numpy as np
import pytest
from conftest import write
from tones import tone

from tarkib import audio
from tarkib.errors import TarkibError


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floats_in_the_scale_of_integers_are_scaled_back_and_that_is_said(tmp_path, bits, subtype):
    whole = np.rint(tone(24_000, 7.0).astype(np.float64) * 2 * (2 ** (bits - 1) - 129))
    sound = audio.load(write(tmp_path / "a.wav", whole, subtype=subtype))
    np.testing.assert_allclose(sound.samples, 2 * tone(24_000, 7.0), atol=2e-2 if bits == 16 else 1e-4)
    assert sound.remarks == (
        f"its samples are in the scale of {bits}-bit integers, and were divided by {2 ** (bits - 1):,}",
    )


def test_a_resampled_file_in_the_scale_of_16_bits_is_scaled_back_too(tmp_path):
    channels = np.stack([tone(24_000) * 65_000.5, tone(24_000) * 10_000.1], axis=1)
    path = write(tmp_path / "a.wav", channels, subtype="FLOAT")
    assert np.abs(audio.load(path).samples).max() < 1.0
    np.testing.assert_array_equal(np.concatenate(list(audio.Stream(path))), audio.load(path).samples)


@pytest.mark.parametrize("peak", [1.2, 2.5, 16.0])
def test_what_passes_full_scale_a_little_stays_as_it_is(tmp_path, peak):
    sound = audio.load(write(tmp_path / "a.wav", 2 * peak * tone(24_000), subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, 2 * peak * tone(24_000), rtol=1e-6)
    assert sound.remarks == ()


@pytest.mark.parametrize(("peak", "said"), [(100.5, "40 dB"), (1e9, "180 dB"), (1e30, "600 dB")])
def test_what_no_scale_explains_is_refused(tmp_path, peak, said):
    path = write(tmp_path / "a.wav", 2 * peak * tone(24_000).astype(np.float64), subtype="DOUBLE")
    for read in (audio.load, lambda one: list(audio.Stream(one))):
        with pytest.raises(TarkibError, match=rf"peaks at .* s, {said} above full scale \(1\.0\), which is no sound"):
            read(path)


def test_one_wild_sample_late_in_a_file_is_found(tmp_path):
    samples = tone(8_000, 130.0)
    samples[125 * 8_000] = 1e30
    with pytest.raises(TarkibError, match=r"peaks at 1e\+30 at 125\.00 s"):
        list(audio.Stream(write(tmp_path / "a.wav", samples, 8_000, subtype="FLOAT")))


def test_the_scale_is_that_of_the_whole_file(tmp_path):
    """It begins with a minute of noise of a few steps, which alone would be sound of full scale."""
    samples = np.append(np.rint(np.random.default_rng(0).uniform(-1, 1, 8_000 * 61)), np.rint(60_000 * tone(8_000)))
    blocks = list(audio.Stream(write(tmp_path / "a.wav", samples, 8_000, subtype="FLOAT")))
    assert audio.decibels(audio.rms(blocks[0])) < -80


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "VORBIS"])
def test_other_formats_are_read_once(tmp_path, subtype, monkeypatch):
    path = write(tmp_path / ("a.ogg" if subtype == "VORBIS" else "a.wav"), tone(24_000), subtype=subtype)
    monkeypatch.setattr("tarkib.audio.decoding.full_scale", lambda _: pytest.fail("read twice"))
    assert abs(audio.load(path).samples.size - 48_000) < 100
