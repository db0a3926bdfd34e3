from itertools import pairwise

import numpy as np
import pytest

from tarkib.demo.melody import MOVING_FIFTH, SHARES, compose
from tarkib.vocabulary import DASTGAHS, SCALES


def tunes(dastgah, count, bpm=100.0, seconds=40.0):
    return [compose(np.random.default_rng([5, i]), dastgah, 220.0, seconds, bpm) for i in range(count)]


@pytest.mark.parametrize("dastgah", DASTGAHS)
@pytest.mark.parametrize("bpm", [100.0, None])
def test_notes_lie_in_the_scale(dastgah, bpm):
    allowed = {*SCALES[dastgah], MOVING_FIFTH.get(dastgah, 0)}
    assert {note.cents % 1200 for tune in tunes(dastgah, 4, bpm) for note in tune.notes} <= allowed


@pytest.mark.parametrize("dastgah", DASTGAHS)
def test_time_on_the_degrees_follows_the_radif(dastgah):
    share = np.zeros(7)
    for tune in tunes(dastgah, 40):
        for note in tune.notes:
            share[np.abs(np.array(SCALES[dastgah]) - note.cents % 1200).argmin()] += note.seconds
    share /= share.sum()
    wanted = np.array(SHARES[dastgah]) / sum(SHARES[dastgah])
    # Phrases led to their rest by steps leave a trace: a degree's share may be some points off, not its rank.
    assert np.abs(share - wanted).max() < 0.09
    assert np.corrcoef(share, wanted)[0, 1] > 0.7


def test_the_moving_fifth_is_mostly_low():
    fifths = [note.cents % 1200 for tune in tunes("shur", 30) for note in tune.notes if note.cents % 1200 in (650, 700)]
    assert 0.6 < fifths.count(650) / len(fifths) < 0.98


@pytest.mark.parametrize("dastgah", DASTGAHS)
def test_phrases_come_to_rest(dastgah):
    dwelt_on = SCALES[dastgah][1 + int(np.argmax(SHARES[dastgah][1:]))]
    for tune in tunes(dastgah, 5):
        rests = {phrase[-1].cents % 1200 for phrase in tune.phrases[:-1]}
        assert rests <= {0, dwelt_on, MOVING_FIFTH.get(dastgah, 0)}


def test_motion_is_mostly_by_step():
    sizes = [
        abs(b.cents - a.cents) for tune in tunes("mahur", 10) for phrase in tune.phrases for a, b in pairwise(phrase)
    ]
    assert np.mean(np.array(sizes) <= 200) > 0.75


def test_notes_follow_one_another_on_the_pulses():
    tune = tunes("nava", 1)[0]
    starts = np.array([note.start for note in tune.notes])
    assert (np.diff(starts) > 0).all()
    assert set(starts) <= set(tune.pulses)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(tune.notes))


def test_a_free_tune_has_no_metre():
    tune = tunes("segah", 1, bpm=None)[0]
    assert tune.metre is None
    assert tune.free_until == tune.seconds
    assert len(tune.pulses) == 0
    gaps = np.diff([note.start for note in tune.notes])
    assert np.std(gaps) / np.mean(gaps) > 0.5


def test_a_free_opening_gives_way_to_the_metre():
    tune = compose(np.random.default_rng(1), "mahur", 220.0, 30.0, 96.0, free_until=8.0)
    assert 6 < tune.free_until < 13
    assert tune.pulses[0] == tune.free_until
    before = [note for note in tune.notes if note.start < tune.free_until]
    assert before
    assert all(note.weight == 0 for note in before)
    assert {note.start for note in tune.notes} - {note.start for note in before} <= set(tune.pulses)
