"""Sound from files, and what is measured of it.

Conventions
-----------
Inside the project sound is mono, float32 with full scale 1.0, shape ``(n,)``, at `SAMPLE_RATE`; a clip has
`CLIP_SAMPLES` samples, which is `CLIP_SECONDS`.

`decoding` reads files; `wav`, `ogg`, `flac` and `mpeg` find the sound in files whose headers are wrong, that are joined
or damaged, and `splice` gives it to the decoder as a file of its own; `channels` and `scale` decide how samples become
mono and of full scale 1.0; `rates`, `levels` and `pieces` work on samples.
"""

from tarkib.audio.decoding import SUFFIXES, Sound, Stream, check_file, load, plain, seconds, stream
from tarkib.audio.levels import amplitude, decibels, rms
from tarkib.audio.pieces import fit, pieces
from tarkib.audio.rates import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE, check_rate, resample
from tarkib.audio.scale import check_samples

__all__ = [
    "CLIP_SAMPLES",
    "CLIP_SECONDS",
    "SAMPLE_RATE",
    "SUFFIXES",
    "Sound",
    "Stream",
    "amplitude",
    "check_file",
    "check_rate",
    "check_samples",
    "decibels",
    "fit",
    "load",
    "pieces",
    "plain",
    "resample",
    "rms",
    "seconds",
    "stream",
]
