"""Who plays together in the test pieces: traditional ensembles and arbitrary ones, the ten classes about balanced."""

from collections.abc import Sequence

import numpy as np

from tarkib.mixing.ensembles import TRADITIONAL

_SIZES = (1, 2, 3, 4, 5)
_SIZE_SHARES = (0.06, 0.22, 0.34, 0.28, 0.10)


def draw_ensembles(seed: Sequence[int], count: int, instruments: Sequence[str]) -> list[tuple[str, ...]]:
    """Ensembles of 1 to 5 of `instruments` for `count` pieces; each depends on `seed`, its index and those before it.

    Every other piece is one of the traditional ensembles, where these instruments suffice; those are favoured who
    have played least so far.
    """
    played = dict.fromkeys(instruments, 0)
    known = [one for kind in TRADITIONAL for one in kind if len(one) <= _SIZES[-1] and set(one) <= set(instruments)]
    ensembles = []
    for i in range(count):
        rng = np.random.default_rng([*seed, i])
        if known and i % 2:
            spread = [float(np.mean([played[name] for name in ensemble])) + rng.normal(0, 0.7) for ensemble in known]
            ensemble = known[int(np.argmin(spread))]
        else:
            size = min(int(rng.choice(_SIZES, p=_SIZE_SHARES)), len(instruments))
            spread = [played[name] + rng.normal(0, 0.7) for name in instruments]
            ensemble = tuple(instruments[k] for k in np.argsort(spread)[:size])
        for name in ensemble:
            played[name] += 1
        ensembles.append(ensemble)
    return ensembles
