"""Sound from files, and what is measured of it.

Inside the project sound is mono, float32 with full scale 1.0, shape ``(n,)``, at `SAMPLE_RATE`; a clip has
`CLIP_SAMPLES` samples, which is `CLIP_SECONDS`.
"""

# ruff: noqa: F401
from tarkib.audio.decoding import SUFFIXES, Sound, Stream, check_kind, load, plain, seconds
from tarkib.audio.samples import (
    CLIP_SAMPLES,
    CLIP_SECONDS,
    SAMPLE_RATE,
    Mix,
    amplitude,
    check_rate,
    check_samples,
    decibels,
    fit,
    pieces,
    resample,
    rms,
)
