import numpy as np
import pytest

from tarkib.evaluation import bootstrap

GROUPS = ["a", "a", "a", "b", "c", "c"]


def share_of(flags):
    """A statistic: the weighted mean of flags."""
    return lambda weights: {"share": weights @ np.asarray(flags, float) / weights.sum(axis=1)}


def resamples(rounds, seed):
    return list(bootstrap.resamples(GROUPS, rounds, np.random.default_rng(seed)))


def intervals(statistic, groups=GROUPS, rounds=400, seed=1):
    return bootstrap.intervals(statistic, groups, np.random.default_rng(seed), rounds=rounds)


def test_whole_recordings_are_drawn_independently_of_the_blocks(monkeypatch):
    (weights,) = resamples(200, 1)
    assert weights.shape == (200, 6)
    assert np.all(weights[:, [0, 1, 4]] == weights[:, [1, 2, 5]])
    # Three recordings are drawn each time, one of them often twice.
    assert np.all(weights[:, [0, 3, 4]].sum(axis=1) == 3)
    assert set(weights[:, 0]) == {0, 1, 2, 3}
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 40)
    blocks = resamples(200, 1)
    assert len(blocks) == 34
    assert np.array_equal(np.concatenate(blocks), weights)


def test_interval_is_the_quantiles_of_the_resamples():
    flags = [1, 0, 1, 1, 0, 0]
    (weights,) = resamples(999, 3)
    expected = np.quantile(weights @ flags / weights.sum(axis=1), [0.025, 0.975])
    assert intervals(share_of(flags), rounds=999, seed=3)["share"] == pytest.approx(expected, abs=0)


def test_rounds_without_the_figure_are_left_out_and_few_rounds_give_no_interval():
    def statistic(weights):
        there = weights[:, 3] > 0
        return {
            "mostly": np.where(there, weights[:, 3], np.nan),
            "undefined": np.where(there, np.nan, 1.0),
            # All of three recordings turn up in 6 of 27 resamples.
            "rare": np.where(weights.min(axis=1) > 0, 1.0, np.nan),
        }

    ends = intervals(statistic)
    assert ends["mostly"].tolist() == [1.0, 3.0]
    assert np.isnan([ends["undefined"], ends["rare"]]).all()


@pytest.mark.parametrize("groups", [["a"], ["a", "a"]])
def test_one_recording_gives_no_interval(groups):
    ends = intervals(share_of([1] * len(groups)), groups)["share"]
    assert ends.shape == (2,)
    assert np.isnan(ends).all()
