import math

import pytest

from tarkib.annotation import octaves


@pytest.mark.parametrize(("bpm", "target"), [(100.0, 120.0), (50.0, 60.0), (71.3, 180.0), (139.0, 97.1), (200.0, 97.1)])
def test_a_tempo_is_brought_to_the_target_modulo_octave(bpm, target):
    """The original had the rate upside down, so that tempi moved apart."""
    ratio = octaves.ratio(bpm, target)
    assert 1 / math.sqrt(2) <= ratio <= math.sqrt(2)
    assert octaves.apart(bpm * ratio, target) == pytest.approx(0, abs=1e-9)


def test_equal_ratios_compare_equal():
    """Without rounding these differ in their last bits, and a processor would decide."""
    assert len({octaves.apart(value * 1.04, value) for value in (50.0, 60.1, 77.7, 100.0, 133.3)}) == 1


VALUES = [
    *([100.0], [60.0, 120.0], [100.0, 141.0], [100.0, 110.0, 52.0], [70.0, 98.9], [61.0, 75.0, 88.0, 200.0]),
    *([100.0, 102.0, 138.0], [60.0, 60.1, 60.2, 89.0], [90.0, 120.0, 160.0], [60.0, 80.0, 180.0], [50.0, 63.0, 79.4]),
]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("most", [1.1, 1.25, 1.5])
def test_values_meet_where_the_total_change_is_least(values, most):
    """Against a search of the whole octave."""

    def change(target):
        changes = [abs(math.log2(octaves.ratio(one, target))) for one in values]
        return sum(changes) if max(changes) <= math.log2(most) + 1e-4 else math.inf

    best = min(change(2 ** (6 + step / 20_000)) for step in range(20_000))
    points = octaves.meeting_points(values, most)
    assert bool(points) == octaves.within_reach(values, most) == (best < math.inf)
    for point in points:
        assert change(point) == pytest.approx(best, abs=1e-3)


def test_one_or_more_values_stay_as_they_are():
    assert octaves.meeting_points([100.0, 110.0], 1.25) == [100.0, 110.0]
    assert octaves.meeting_points([100.0, 110.0, 104.0], 1.25) == [104.0]
    assert octaves.meeting_points([], 1.25) == []
    assert octaves.within_reach([], 1.0)
