"""Scores of a made-up test set."""

import numpy as np
import pytest

from tarkib.evaluation import scores


@pytest.fixture(scope="session")
def one_clip():
    """One clip of one instrument: figures without intervals, and no class that could be averaged."""
    return scores.score(np.eye(1, 10), np.full((1, 10), 0.4), 0.5, groups=["a"], rng=np.random.default_rng(1), rounds=2)
