import io

import matplotlib.image
import numpy as np
import pytest

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.preview import spectrogram

TIME = np.arange(CLIP_SAMPLES) / SAMPLE_RATE


@pytest.mark.parametrize("hz", [80.0, 440.0, 1_000.0, 3_000.0, 9_000.0])
def test_a_tone_is_brightest_where_its_tick_stands(hz):
    levels = spectrogram.levels(np.sin(2 * np.pi * hz * TIME).astype(np.float32))
    row = np.argmax(levels[:, 400].astype(float))
    height = 1 - row / (spectrogram.HEIGHT - 1)
    assert height == pytest.approx(spectrogram.height_of(hz), abs=2 / spectrogram.HEIGHT)
    assert levels[:, 400].max() >= spectrogram.RANGE_DB - 1


def test_a_click_is_brightest_where_its_second_stands():
    samples = np.zeros(CLIP_SAMPLES, np.float32)
    samples[3 * SAMPLE_RATE] = 1.0
    levels = spectrogram.levels(samples)
    assert levels.shape == (spectrogram.HEIGHT, 5 * spectrogram.WIDTH_PER_SECOND)
    loud = np.argmax(levels[20])
    assert loud == pytest.approx(3 * spectrogram.WIDTH_PER_SECOND, abs=1)


@pytest.mark.parametrize(("quiet_db", "level"), [(-40.0, 40), (-70.0, 10), (-100.0, 0)])
def test_a_decibel_is_a_level(quiet_db, level):
    samples = np.sin(2 * np.pi * 1_000 * TIME).astype(np.float32)
    samples[CLIP_SAMPLES // 2 :] *= 10 ** (quiet_db / 20)
    assert spectrogram.levels(samples)[:, 600].max() == pytest.approx(level, abs=1)


def test_silence_is_dark():
    assert not spectrogram.levels(np.zeros(CLIP_SAMPLES, np.float32)).any()


def test_the_picture_shows_the_levels_in_the_palette_s_colours():
    samples = np.random.default_rng(0).standard_normal(CLIP_SAMPLES).astype(np.float32)
    png = spectrogram.png(samples)
    shown = np.rint(255 * matplotlib.image.imread(io.BytesIO(png))[..., :3]).astype(int)
    colours = np.array([list(bytes.fromhex(one[1:])) for one in spectrogram.palette()])
    np.testing.assert_array_equal(shown, colours[spectrogram.levels(samples)])
    assert png == spectrogram.png(samples)
