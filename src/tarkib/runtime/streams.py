"""Random streams: a generator is seeded from (seed, stream, index ...), so no two draw the same numbers."""

from enum import IntEnum, unique

import numpy as np


@unique
class Stream(IntEnum):
    """What a generator draws. The numbers are part of the results: never change or reuse one."""

    DEMO_PERFORMER = 0
    DEMO_ROOM = 1
    DEMO_SOLO = 2
    DEMO_LENGTH = 3
    DEMO_ENSEMBLE = 4
    DEMO_PIECE = 5
    SPLIT = 6
    MIX_INSTRUMENTS = 10
    MIX_SLICES = 11
    MIX_REVERB = 12
    EVALUATION_BOOTSTRAP = 30
    COMPARISON_BOOTSTRAP = 40
    SPEC_AUGMENT = 41
    AUGMENTATION = 42
    PRETRAIN_HELD_OUT = 50
    PRETRAIN_ORDER = 51
    PRETRAIN_EXCERPT = 52
    PRETRAIN_CLUSTERS = 53


def generator(seed: int, stream: Stream, *index: int) -> np.random.Generator:
    """The generator of one item of a stream; `seed` (of a section of params.yaml) and `index` are at least 0."""
    return np.random.default_rng([seed, stream, *index])
