import numpy as np
import pytest

from tarkib.models.masking import depths, spans


def test_spans_are_distinct_starts_of_the_asked_length():
    mask = spans(np.random.default_rng(0), 500, 374, 0.3, 10, 2)
    assert 0.2 < mask.mean() < 0.3
    assert len({row.tobytes() for row in mask}) == 500
    starts = spans(np.random.default_rng(1), 200, 60, 0.5, 1, 0).sum(axis=1)
    assert set(starts) == {30}
    assert spans(np.random.default_rng(2), 3, 4, 0.1, 10, 2).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95, 1.0])
def test_depth_is_the_distance_to_the_nearest_visible_frame(share):
    mask = np.random.default_rng(3).random(60) < share
    visible = np.flatnonzero(~mask)
    expected = [min(abs(visible - t)) if visible.size else 60 for t in range(60)]
    assert depths(mask).tolist() == expected
