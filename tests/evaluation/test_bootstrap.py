import numpy as np
import pytest

from tarkib.errors import TarkibError
from tarkib.evaluation import bootstrap

GROUPS = ["a", "a", "a", "b", "c", "c"]


def share_of(flags):
    """A statistic: the weighted mean of flags."""
    return lambda weights: {"share": weights @ np.asarray(flags, float) / weights.sum(axis=1)}


def test_whole_recordings_are_drawn():
    weights = np.concatenate(list(bootstrap.resamples(GROUPS, 200, np.random.default_rng(1))))
    assert weights.shape == (200, 6)
    assert np.all(weights[:, [0, 1, 4]] == weights[:, [1, 2, 5]])
    # Three recordings are drawn each time, one of them often twice.
    assert np.all(weights[:, [0, 3, 4]].sum(axis=1) == 3)
    assert set(weights[:, 0]) == {0, 1, 2, 3}


def test_draws_do_not_depend_on_the_blocks(monkeypatch):
    whole = np.concatenate(list(bootstrap.resamples(GROUPS, 50, np.random.default_rng(1))))
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 40)
    blocks = list(bootstrap.resamples(GROUPS, 50, np.random.default_rng(1)))
    assert len(blocks) == 9
    assert np.array_equal(np.concatenate(blocks), whole)


def test_interval_is_the_quantiles_of_the_resamples():
    flags = [1, 0, 1, 1, 0, 0]
    weights = np.concatenate(list(bootstrap.resamples(GROUPS, 999, np.random.default_rng(3))))
    expected = np.quantile(weights @ flags / weights.sum(axis=1), [0.025, 0.975])
    ends = bootstrap.intervals(share_of(flags), GROUPS, np.random.default_rng(3), rounds=999)["share"]
    assert ends == pytest.approx(expected, abs=0)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        # 40 recordings of 3 clips that share one fate: as good as 40 clips, not 120.
        flags = np.repeat(rng.random(40) < 0.5, 3)
        low, high = bootstrap.intervals(share_of(flags), [str(i // 3) for i in range(120)], rng, rounds=100)["share"]
        covered += low <= 0.5 <= high
    # Resampling clips instead of recordings would cover about 0.74.
    assert 0.86 <= covered / 100 <= 0.99


def test_rounds_without_the_figure_are_left_out():
    def statistic(weights):
        there = weights[:, 3] > 0
        return {"mostly": np.where(there, weights[:, 3], np.nan), "seldom": np.where(there, np.nan, 1.0)}

    ends = bootstrap.intervals(statistic, GROUPS, np.random.default_rng(1), rounds=400)
    assert ends["mostly"].tolist() == [1.0, 3.0]
    assert np.isnan(ends["seldom"]).all()


def test_a_figure_that_few_rounds_have_gets_no_interval():
    def statistic(weights):
        return {"rare": np.where(weights.min(axis=1) > 0, 1.0, np.nan)}

    # All of three recordings turn up in 6 of 27 resamples.
    assert np.isnan(bootstrap.intervals(statistic, GROUPS, np.random.default_rng(1), rounds=400)["rare"]).all()


@pytest.mark.parametrize("groups", [["a"], ["a", "a"]])
def test_one_recording_gives_no_interval(groups):
    ends = bootstrap.intervals(share_of([1] * len(groups)), groups, np.random.default_rng(1), rounds=20)
    assert ends["share"].shape == (2,)
    assert np.isnan(ends["share"]).all()


def test_no_clips_is_an_error_for_the_user():
    with pytest.raises(TarkibError, match="no clips"):
        bootstrap.intervals(share_of([]), [], np.random.default_rng(1))


def test_no_rounds_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap.intervals(share_of([1]), ["a"], np.random.default_rng(1), rounds=0)
