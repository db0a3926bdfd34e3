"""Sources as annotated slices of a whole orchestra would be: no sound, only what recipes need."""

import numpy as np

from tarkib.mixing.recipes import Source
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION


def orchestra(recordings: int = 14, slices: int = 4, seed: int = 0, instruments=INSTRUMENTS) -> list[Source]:
    """Slices of so many recordings of each instrument, going through the dastgahs; a fifth of them unmetered."""
    rng = np.random.default_rng(seed)
    sources = []
    for name in instruments:
        for recording in range(recordings):
            bpm = float(2 ** rng.uniform(5.9, 7.4)) if rng.random() > 0.2 else None
            pitched = name not in PERCUSSION
            for number in range(slices):
                sources.append(
                    Source(
                        f"{name}-{recording:012d}-{number:04d}",
                        f"{name}-{recording:012d}",
                        name,
                        DASTGAHS[recording % len(DASTGAHS)] if pitched else None,
                        bpm,
                        float(150 * 2 ** rng.uniform(0, 1)) if pitched else None,
                    )
                )
    return sources
