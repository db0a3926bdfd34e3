import numpy as np
import pytest

from tarkib.demo.melody import compose
from tarkib.demo.part import STYLES, arrange
from tarkib.demo.performer import draw_performer
from tarkib.vocabulary import INSTRUMENTS, PERCUSSION, SCALES

PITCHED = [name for name in INSTRUMENTS if name not in PERCUSSION]


def play(instrument, dastgah="segah", seed=0, **options):
    tune = compose(np.random.default_rng([seed, 1]), dastgah, 247.3, 30.0, 100.0)
    performer = draw_performer(np.random.default_rng([seed, 2]), instrument)
    rng = np.random.default_rng([seed, 3])
    return tune, performer, arrange(rng, tune, instrument, performer.low_hz, performer.high_hz, **options)


@pytest.mark.parametrize("instrument", PITCHED)
def test_strokes_are_in_range_and_in_order(instrument):
    _, performer, strokes = play(instrument)
    sung = [stroke.hz for stroke in strokes if stroke.manner not in ("flip", "drone")]
    assert performer.low_hz <= min(sung)
    assert max(sung) <= performer.high_hz
    assert [s.start for s in strokes] == sorted(s.start for s in strokes)
    assert all(0 < s.level <= 1.1 and s.seconds > 0 for s in strokes)


@pytest.mark.parametrize("instrument", PITCHED)
def test_pitches_are_the_scales_and_a_pianos_are_semitones(instrument):
    tune, _, strokes = play(instrument)
    cents = np.array([1200 * np.log2(s.hz / tune.tonic_hz) for s in strokes if s.seconds > 0.1 and s.manner == "plain"])
    if instrument == "piano":
        away = np.abs((cents + 50) % 100 - 50)
        flats = {np.ceil(c / 100 - 0.5) * 100 for c in SCALES["segah"]}
        assert {round(c) % 1200 for c in cents} <= flats | {700.0}
    else:
        away = np.abs((cents[:, None] - np.array(SCALES["segah"]) + 600) % 1200 - 600).min(axis=1)
    assert away.max() < 1e-6


def test_a_follower_is_late():
    tune, _, strokes = play("ney", late=0.2)
    first = tune.notes[0].start
    assert strokes[0].start == pytest.approx(first + 0.2, abs=0.03)


@pytest.mark.parametrize(("instrument", "manner"), [("setar", "drone"), ("avaz", "flip"), ("kamancheh", "slur")])
def test_habits_belong_to_the_instrument(instrument, manner):
    assert any(stroke.manner == manner for stroke in play(instrument)[2])
    assert not any(stroke.manner == "flip" for stroke in play("tar")[2])


def test_a_santur_rolls_its_long_notes():
    _, _, strokes = play("santur")
    gaps = np.diff([stroke.start for stroke in strokes])
    assert ((gaps > 0.04) & (gaps < 0.11)).sum() > 10


def test_two_performers_play_two_versions():
    assert [s.start for s in play("tar", seed=0)[2]] != [s.start for s in play("tar", seed=1)[2]]
    tune = compose(np.random.default_rng(1), "mahur", 220.0, 20.0, 100.0)
    versions = [arrange(np.random.default_rng(seed), tune, "tar", 131.0, 900.0) for seed in (1, 2)]
    assert len(versions[0]) != len(versions[1]) or versions[0][5] != versions[1][5]


def test_every_pitched_instrument_has_a_style():
    assert set(STYLES) == set(PITCHED)
