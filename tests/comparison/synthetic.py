"""Synthetic predictions: a test set, and modes whose classifiers score more or less well on it."""

from collections.abc import Mapping, Sequence

import numpy as np

from tarkib.comparison.experiments import DONE, Experiment
from tarkib.comparison.predictions import Clips, Predictions, Run
from tarkib.vocabulary import INSTRUMENTS

FIXED = {"data.raw": "data/demo/raw", "data.test": "data/demo/test", "evaluate.seed": 1, "model.revision": None}


def clips(recordings: int = 24, each: int = 3, seed: int = 0) -> Clips:
    """A test set of recordings with some clips each, in which a third of the classes play."""
    targets = np.random.default_rng(seed).random((recordings * each, len(INSTRUMENTS))) < 0.3
    names = tuple(f"recording-{k // each:02d}" for k in range(len(targets)))
    return Clips(tuple(f"clip-{k:03d}" for k in range(len(targets))), names, INSTRUMENTS, targets.astype(float))


def predicted(of: Clips, skill: float, seed: int, noise: float = 1.0) -> Predictions:
    """Predictions of a classifier whose logits are `skill` away from 0 on the right side, give or take `noise`.

    A part of the noise is common to all classifiers, as clips are easy or hard for every one.
    """
    shape = of.targets.shape
    common = np.random.default_rng(99).standard_normal(shape)
    own = np.random.default_rng([seed, round(1e6 * (skill + 10))]).standard_normal(shape)
    logits = skill * np.where(of.targets == 1, 1.0, -1.0) + 1.5 * common + noise * own
    probabilities = 1 / (1 + np.exp(-logits))
    return Predictions(of, probabilities, probabilities >= 0.45, {})


def runs(of: Clips, skills: Mapping[str, float], seeds: Sequence[int] = (1, 2), noise: float = 1.0) -> dict:
    """Predictions of modes with skills, each with seeds."""
    return {(mode, seed): predicted(of, skill, seed, noise) for mode, skill in skills.items() for seed in seeds}


def experiments(of: Mapping[Run, Predictions]) -> list[Experiment]:
    """The experiments of predictions."""
    return [Experiment(mode, seed, DONE, f"{mode}-seed{seed}-1234567", "a" * 40) for mode, seed in of]
