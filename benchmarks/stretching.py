"""What the stretcher's settings cost and keep: time, and fidelity after being stretched there and back.

    python -m benchmarks.stretching          # two minutes; prints, and writes into docs/performance.md

Needs the demo's data/slices (make repro).
"""

import argparse
import time
from collections import defaultdict

import librosa
import numpy as np
from python_stretch.Signalsmith import Stretch
from threadpoolctl import threadpool_limits

from benchmarks import tables
from benchmarks.mixing import DOCUMENT, SLICES
from tarkib import audio
from tarkib import tables as columns
from tarkib.audio import SAMPLE_RATE
from tarkib.audio.clips import ClipStore
from tarkib.mixing import rendering
from tarkib.vocabulary import PERCUSSION

_SETTINGS = {
    "the library's default": (120, 30),
    "**ours**": (120, 40),
    "the library's cheaper one": (100, 40),
    "short blocks": (64, 24),
    "sparse": (120, 48),
}
"""Block and interval in milliseconds."""

_FACTORS = (0.85, 1.18)
_PLUCKED = frozenset({"tar", "setar", "santur", "piano"})


def _stretched(samples: np.ndarray, factor: float, block_ms: int, interval_ms: int) -> np.ndarray:
    stretcher = Stretch(1)
    stretcher.configure(1, SAMPLE_RATE * block_ms // 1000, SAMPLE_RATE * interval_ms // 1000)
    stretcher.timeFactor = factor
    return np.asarray(stretcher.process(samples[np.newaxis]))[0]


def _log_mel(samples: np.ndarray) -> np.ndarray:
    """Mel spectrogram in dB, shape (64, frames), without the clip's ends."""
    power = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_fft=1024, hop_length=240, n_mels=64)
    return librosa.power_to_db(power + 1e-6)[:, 20:-20]


def _kind(instrument: str) -> str:
    return "drums" if instrument in PERCUSSION else "plucked" if instrument in _PLUCKED else "bowed, blown, sung"


def settings_table(step: int) -> str:
    """Milliseconds to stretch five seconds, and mean difference in dB of the spectrogram after there and back."""
    rows = columns.SLICES.read(SLICES / "slices.parquet")
    places, lines = rendering.places(rows), []
    with ClipStore(SLICES) as store, threadpool_limits(1):
        for title, (block, interval) in _SETTINGS.items():
            spent, off = [], defaultdict(list)
            for row in rows[::step]:
                samples = store.read(places[row["slice_id"]].slice)
                for factor in _FACTORS:
                    begun = time.perf_counter()
                    there = _stretched(samples, factor, block, interval)
                    spent.append(time.perf_counter() - begun)
                    back = audio.fit(_stretched(there, 1 / factor, block, interval))
                    off[_kind(row["instrument"])].append(np.abs(_log_mel(samples) - _log_mel(back)).mean())
            differences = (f"{np.mean(off[kind]):.2f}" for kind in ("plucked", "drums", "bowed, blown, sung"))
            lines.append([title, f"{block} / {interval}", f"{1000 * np.mean(spent):.1f}", *differences])
    header = ["stretcher, one core", "block / interval, ms", "ms for 5 s", "plucked, dB", "drums, dB"]
    return tables.markdown([*header, "bowed, blown, sung, dB"], lines)


def main() -> None:
    """Measure, print, and put the table into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    text = f"Measured with `python -m benchmarks.stretching` on one core of {tables.machine()}.\n\n{settings_table(20)}"
    tables.report(DOCUMENT, "stretching", text, options.print_only)


if __name__ == "__main__":
    main()
