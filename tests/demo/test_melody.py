from itertools import pairwise

import numpy as np
import pytest

from tarkib.demo.melody import MOVING_FIFTH, SHARES, compose
from tarkib.demo.rhythm import METRES, drumming, pulse_times
from tarkib.vocabulary import DASTGAHS, SCALES


def tunes(dastgah, count, bpm=100.0):
    return [compose(np.random.default_rng([5, i]), dastgah, 220.0, 40.0, bpm) for i in range(count)]


@pytest.mark.parametrize("dastgah", DASTGAHS)
def test_notes_lie_in_the_scale_for_as_long_as_in_the_radif_and_phrases_come_to_rest(dastgah):
    moving, shares = MOVING_FIFTH.get(dastgah, 0), np.array(SHARES[dastgah])
    metred, free = tunes(dastgah, 40), tunes(dastgah, 4, bpm=None)
    assert {note.cents % 1200 for tune in metred + free for note in tune.notes} <= {*SCALES[dastgah], moving}
    rests = {phrase[-1].cents % 1200 for tune in metred for phrase in tune.phrases[:-1]}
    assert rests <= {0, SCALES[dastgah][1 + int(np.argmax(shares[1:]))], moving}
    seconds = np.zeros(7)
    for note in (note for tune in metred for note in tune.notes):
        seconds[np.abs(np.array(SCALES[dastgah]) - note.cents % 1200).argmin()] += note.seconds
    share, wanted = seconds / seconds.sum(), shares / shares.sum()
    # Phrases led to their rest by steps leave a trace: a degree's share may be some points off, not its rank.
    assert np.abs(share - wanted).max() < 0.09
    assert np.corrcoef(share, wanted)[0, 1] > 0.7


def test_notes_follow_one_another_on_the_pulses_or_have_none():
    tune, free = tunes("nava", 1)[0], tunes("segah", 1, bpm=None)[0]
    assert {note.start for note in tune.notes} <= set(tune.pulses)
    assert all(a.start < b.start and a.end <= b.start + 1e-9 for a, b in pairwise(tune.notes))
    assert (free.metre, free.free_until, len(free.pulses)) == (None, free.seconds, 0)
    gaps = np.diff([note.start for note in free.notes])
    assert np.std(gaps) / np.mean(gaps) > 0.5


def test_a_free_opening_gives_way_to_the_metre():
    tune = compose(np.random.default_rng(1), "mahur", 220.0, 30.0, 96.0, free_until=8.0)
    assert 6 < tune.free_until < 13
    assert tune.pulses[0] == tune.free_until
    before = [note for note in tune.notes if note.start < tune.free_until]
    assert {note.weight for note in before} == {0}
    assert {note.start for note in tune.notes[len(before) :]} <= set(tune.pulses)


@pytest.mark.parametrize("metre", METRES.values(), ids=METRES)
def test_a_metre_fills_its_bars_and_keeps_the_tempo(metre):
    assert {sum(map(int, cell)) for cell in metre.melody.split()} == {metre.pulses}
    assert {len(pattern) for pattern in metre.drums.split()} == {metre.pulses}
    assert set(metre.drums) <= set("Ttbpr. ")
    for bpm in (61.0, 120.0, 169.0):
        pulses = pulse_times(np.random.default_rng(1), metre, bpm, 0.5, 30.0)
        assert (pulses[0], (len(pulses) - 1) % metre.pulses) == (0.5, 0)
        assert pulses[-1] >= 29.9
        assert 60 / (np.diff(pulses).mean() * metre.per_beat) == pytest.approx(bpm, rel=1e-3)
        assert np.abs(np.diff(pulses) * metre.per_beat * bpm / 60 - 1).max() < 0.03


def test_drummers_mark_the_first_pulse_of_the_bar():
    metre = METRES["6/8"]
    pulses = pulse_times(np.random.default_rng(2), metre, 90, 0.1, 30.0)
    hits = drumming(np.random.default_rng(3), metre, pulses, 30.0, busy=0.8)
    toms = np.array([hit.start for hit in hits if hit.kind == "T"])
    bars = pulses[: -1 : metre.pulses]
    assert np.abs(bars[bars < 29.5][:, None] - toms).min(axis=1).max() < 0.03
    assert all(0 < hit.level <= 1 and 0 <= hit.start < 30 for hit in hits)
