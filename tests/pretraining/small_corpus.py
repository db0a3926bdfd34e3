"""What the tests of pre-training share: a folder of small recordings, and parameters for seconds of work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write

from tarkib.audio import SAMPLE_RATE
from tarkib.params import Pretrain
from tarkib.pretraining import Corpus, cut


def melody(seconds: float, seed: int, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Notes of two seconds on a few pitches with faint noise, float32 of shape (n,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitches = rng.choice([220.0, 440.0, 660.0], int(seconds) + 1)
    tone = sum(np.sin(2 * np.pi * k * pitches[(time / 2).astype(int)] * time) / k for k in (1, 2, 3))
    return (0.2 * tone + 0.003 * rng.standard_normal(time.size)).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four recordings, 11 to 14 seconds each."""
    root = tmp_path_factory.mktemp("unlabelled")
    for i in range(4):
        write(root / f"any/{i}.flac", melody(11.0 + i, seed=i))
    return root


@pytest.fixture(scope="module")
def corpus(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus of these recordings."""
    return cut(recordings, tmp_path_factory.mktemp("cut"), workers=1)


def pretrain_params(**changed: Any) -> Pretrain:
    """The section `pretrain` of the parameters, small, with some values changed."""
    values = {"seed": 1, "recordings": "data/unlabelled", "start": "mert-tiny-random", "steps": 4, "batch_size": 2}
    values |= {"learning_rate": 2e-3, "weight_decay": 0.01, "warmup_fraction": 0.1, "clusters": 8}
    values |= {"mask_share": 0.5, "mask_frames": 20, "musical_weight": 1.0}
    return Pretrain(**{**values, **changed})
