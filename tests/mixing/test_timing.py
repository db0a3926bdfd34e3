import numpy as np
import pytest

from tarkib.annotation import octaves
from tarkib.audio import SAMPLE_RATE
from tarkib.mixing import recipes, rendering
from tarkib.mixing.recipes import Source


def source(bpm, beat_s, before=True, after=True):
    return Source("aa-1", "aa", "tar", "shur", bpm, 200.0, beat_s, (-5.0 * before, 5.0 + 5.0 * after))


def clicks(bpm: float, beat_s: float) -> list[np.ndarray]:
    """Three slices of a recording with a click on each beat; `beat_s` is the first one of the slice in the middle."""
    whole = np.random.default_rng(0).standard_normal(15 * SAMPLE_RATE).astype(np.float32) * 1e-4
    for second in np.arange((5 + beat_s) % (60 / bpm), 14.9, 60 / bpm):
        whole[int(second * SAMPLE_RATE) :][:50] += 0.5
    return np.split(whole, 3)


def click_times(samples: np.ndarray) -> np.ndarray:
    loud = np.abs(samples) > 0.3 * np.abs(samples).max()
    starts = np.flatnonzero(loud & ~np.roll(loud, 1))
    return starts[np.diff(starts, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 20] / SAMPLE_RATE


def farthest(pair, stretches, begins) -> float:
    """How far a beat of the slower one sounds from the nearest of the other, at most, in seconds."""
    beats = []
    for one, factor, offset_s in zip(pair, stretches, begins, strict=True):
        before, samples, after = clicks(one.bpm, one.beat_s)
        nothing = np.zeros(0, np.float32)
        before = before if one.sounding_s[0] < 0 else nothing
        after = after if one.sounding_s[1] > 5 else nothing
        beats.append(click_times(rendering.component(before, samples, after, offset_s=offset_s, factor=factor)))
    slow, fast = sorted(beats, key=len)
    assert len(slow) >= 4
    return max(np.min(np.abs(fast - beat)) for beat in slow[(slow > 0.5) & (slow < 4.5)])


@pytest.mark.parametrize(
    "pair",
    [
        (source(100.0, 0.1), source(110.0, 0.4)),
        (source(60.0, 0.9), source(126.0, 0.02)),
        (source(150.0, 0.3, before=False), source(80.0, 0.0, after=False)),
        (source(100.0, 0.1, before=False), source(95.0, 0.55, before=False)),
    ],
)
def test_aligned_beats_sound_together_and_others_do_not(pair):
    stretches = [octaves.ratio(one.bpm, pair[0].bpm) for one in pair]
    assert farthest(pair, stretches, recipes.aligned(pair, stretches)) < 0.012
    begins = [recipes.begin(one, factor) for one, factor in zip(pair, stretches, strict=True)]
    assert farthest(pair, stretches, begins) > 0.03


def test_no_component_moves_by_more_than_a_beat_of_its_own_or_into_silence():
    rng = np.random.default_rng(3)
    for _ in range(300):
        sources = [source(*rng.uniform((50, 0), (200, 0.3)).tolist(), bool(rng.integers(2)), True) for _ in range(3)]
        stretches = [octaves.ratio(one.bpm, sources[0].bpm) for one in sources]
        for one, factor, offset_s in zip(sources, stretches, recipes.aligned(sources, stretches), strict=True):
            assert abs(offset_s - recipes.begin(one, factor)) <= 60 / one.bpm + 1e-9
            assert one.sounding_s[0] - 1e-9 <= offset_s <= recipes.latest_begin(one, factor) + 1e-9


def test_a_lone_slice_loses_as_little_sound_as_it_can():
    alone = source(100.0, 0.2, before=False, after=False)
    _, offset_s = recipes.aligned([source(100.0, 0.0), alone], [1.0, 1.0])
    assert offset_s == pytest.approx(0.2) or offset_s == pytest.approx(-0.4)


@pytest.mark.parametrize("other", [source(None, None), source(100.0, None)])
def test_without_a_beat_nothing_moves(other):
    assert recipes.aligned([source(100.0, 0.3), other], [1.0, 1.0]) == [0.0, 0.0]
