"""How near the orchestra's timbres are to real ones: a picture an instrument, in docs/timbre.

    python -m benchmarks.timbre --audio FOLDER    # about two minutes

Takes the folder of real recordings that benchmarks/solos.py describes, of which only the half that is looked at while
building is opened, and renders solos of other performers than the demo's.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import signal

from benchmarks import known, solos
from tarkib import audio
from tarkib.audio import SAMPLE_RATE
from tarkib.demo import orchestra
from tarkib.runtime import program
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.plotting import picture
from tarkib.vocabulary import INSTRUMENTS

FOLDER = Path("docs/timbre")

_SEED, _PERFORMERS, _DASTGAHS, _SECONDS = 7, 12, ("shur", "mahur"), 10.0
"""Of the orchestra's solos that are measured: two of each performer."""

_OCTAVES = 125.0 * 2 ** np.arange(7)  # centres of the bands of the spectrum, Hz
_DECAY_BANDS = ((150, 500), (500, 1500), (1500, 4000), (4000, 9000))  # Hz
_STEP = 120  # samples between two values of an envelope: 5 ms
_SHORTEST = 24  # steps that a sound must last for its decay to be read
_MARKS = "osv^DP*"


@dataclass(frozen=True)
class Measured:
    """One recording.

    spectrum : level of each octave of `_OCTAVES`, in dB of the whole.
    decay_s : seconds in which the sound after an onset falls by 60 dB, in each of `_DECAY_BANDS`; median over the
        sounds that fall, NaN where there is none.
    attack_ms : time in which the middle bands rise by their last 15 dB, median over the onsets; NaN without one.
    notes_per_s : onsets a second.
    pitch_hz : lowest tenth, median and highest tenth of the frequency of the strongest periodicity.
    """

    name: str
    spectrum: np.ndarray
    decay_s: np.ndarray
    attack_ms: float
    notes_per_s: float
    pitch_hz: np.ndarray


def measure(name: str, samples: np.ndarray) -> Measured:
    """What a mono recording at 24,000 Hz sounds like, in few numbers."""
    # After a moment of silence, so that a file cut at its first note begins with an onset.
    sound = np.concatenate([np.zeros(SAMPLE_RATE // 20), samples.astype(np.float64)])
    hz, power = signal.welch(sound, SAMPLE_RATE, nperseg=4096)
    bands = [power[(hz >= centre / 2**0.5) & (hz < centre * 2**0.5)].sum() for centre in _OCTAVES]
    onsets = _onsets(sound)
    envelopes = np.array([_envelope(sound, low, high) for low, high in _DECAY_BANDS])
    decays: list[list[float]] = [[] for _ in _DECAY_BANDS]
    attacks = []
    for first, end in pairwise([*onsets, envelopes.shape[1]]):
        for i, envelope in enumerate(envelopes):
            part = envelope[first:end]
            if len(part) < _SHORTEST:
                continue
            top = int(part[:20].argmax())
            falling = part[top + 2 : top + 62]
            slope = np.polyfit(np.arange(len(falling)) * _STEP / SAMPLE_RATE, falling, 1)[0] if len(falling) > 15 else 0
            if slope < -3:
                decays[i].append(-60 / slope)
            if i == 1:
                before = envelope[max(0, first - 10) : first + top + 1]
                low = np.flatnonzero(before <= part[top] - 15)
                if len(low):
                    attacks.append((len(before) - 1 - low[-1]) * 1000 * _STEP / SAMPLE_RATE)
    return Measured(
        name,
        10 * np.log10(np.array(bands) / power.sum() + 1e-12),
        np.array([np.median(values) if values else np.nan for values in decays]),
        float(np.median(attacks)) if attacks else np.nan,
        len(onsets) * SAMPLE_RATE / len(sound),
        np.quantile(_pitches(sound), [0.1, 0.5, 0.9]),
    )


def _envelope(sound: np.ndarray, low: float, high: float) -> np.ndarray:
    """Level in dB of a band every 5 ms."""
    band = signal.sosfiltfilt(signal.butter(3, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos"), sound)
    steps = len(band) // _STEP
    return 10 * np.log10((band[: steps * _STEP].reshape(steps, _STEP) ** 2).mean(axis=1) + 1e-12)


def _onsets(sound: np.ndarray) -> list[int]:
    """Where sounds begin, in steps: peaks of the mean rise of a spectrogram in dB, its lowest 70 dB left out."""
    _, _, spectrum = signal.stft(sound, SAMPLE_RATE, nperseg=1024, noverlap=1024 - 2 * _STEP)
    # Quarter octaves: single bins of noise would drown the notes.
    edges = np.unique(np.round(5 * 2 ** np.arange(0, 6.6, 0.25)).astype(int))
    power = np.add.reduceat(np.abs(spectrum[: edges[-1]]) ** 2, edges[:-1], axis=0)
    level = 10 * np.log10(power + 1e-14)
    rise = np.maximum(np.diff(np.maximum(level, level.max() - 70), axis=1), 0).mean(axis=0)
    peaks, _ = signal.find_peaks(rise, height=2.5, prominence=2.0, distance=5)
    return [2 * int(peak) for peak in peaks]


def _pitches(sound: np.ndarray) -> np.ndarray:
    """Frequency of the first strong peak of the autocorrelation, 80 to 1,500 Hz, every 40 ms of the louder half."""
    size, hop = 2048, 960
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (0, size)), size)[::hop]
    power = (frames**2).sum(axis=1)
    frames = frames[power >= np.median(power)] * np.hanning(size)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)[:, : size // 2]
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 2 * size)) ** 2)[: size // 2]
    correlation /= window  # long lags count as short ones
    lags = np.arange(SAMPLE_RATE // 1500, SAMPLE_RATE // 80)
    here = correlation[:, lags]
    peak = (here > correlation[:, lags - 1]) & (here >= correlation[:, lags + 1])
    strong = peak & (here > 0.85 * np.max(np.where(peak, here, -np.inf), axis=1, keepdims=True))
    return SAMPLE_RATE / lags[strong.argmax(axis=1)][strong.any(axis=1)]


def played(instrument: str) -> list[Measured]:
    """Solos of the orchestra, measured."""
    length = (_SECONDS, _SECONDS)
    jobs = orchestra.plan(_SEED, _PERFORMERS, 0, dastgahs=_DASTGAHS, instruments=(instrument,), seconds=length)
    return [measure(job.path, orchestra.render(job)) for job in jobs]


def draw(file: Path, instrument: str, drawn: Sequence[Measured], real: Sequence[Measured]) -> None:
    """The orchestra's solos as a band from the 5th to the 95th percentile, real recordings as marks."""
    panels = (
        ("spectrum", [f"{hz:g}" for hz in _OCTAVES], "dB of the whole, by octave (Hz)"),
        ("decay_s", [f"{low}-{high}" for low, high in _DECAY_BANDS], "decay by 60 dB in seconds, by band (Hz)"),
        ("attack_ms", ["attack"], "ms"),
        ("notes_per_s", ["notes"], "a second"),
        ("pitch_hz", ["10 %", "median", "90 %"], "pitch in Hz"),
    )
    with picture(file, 13, 4, dpi=80) as figure:
        every = figure.subplots(1, len(panels), width_ratios=(4, 3, 1, 1, 2))
        for axes, (field, ticks, title) in zip(every, panels, strict=True):
            at = np.arange(len(ticks))
            values = np.array([np.atleast_1d(getattr(one, field)) for one in drawn], dtype=np.float64)
            known_some = np.isfinite(values).any(axis=0)
            low, middle, high = np.nanquantile(values[:, known_some], [0.05, 0.5, 0.95], axis=0)
            axes.bar(at[known_some], high - low, 0.8, low, color="#c9d8ec", label="the orchestra, 5 to 95 %")
            axes.hlines(middle, at[known_some] - 0.4, at[known_some] + 0.4, color="#3c6ca8")
            for i, one in enumerate(real):
                shift = 0.5 * (i + 0.5) / len(real) - 0.25
                label = f"real: {Path(one.name).stem}"
                axes.plot(at + shift, np.atleast_1d(getattr(one, field)), _MARKS[i % 7], color="#b3402a", label=label)
            axes.set_xticks(at, ticks)
            axes.set_title(title, fontsize=9)
            axes.tick_params(labelsize=8)
            if field in ("decay_s", "pitch_hz"):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("{x:g}")
        handles, labels = every[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
        figure.suptitle(f"{instrument}: {len(drawn)} solos of the orchestra, {len(real)} real recordings", fontsize=10)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=known.REAL, help="folder of real recordings with a manifest.csv")
    options = parser.parse_args()
    half = solos.halves(solos.read(options.audio))[solos.BUILDING]
    for instrument in INSTRUMENTS:
        files = [solo.file for solo in half if solo.instrument == instrument]
        if files:
            real = [measure(file, audio.load(options.audio / file).samples) for file in files]
            with atomic_file(FOLDER / f"{instrument}.png") as path:
                draw(path, instrument, played(instrument), real)
            print(FOLDER / f"{instrument}.png")


if __name__ == "__main__":
    sys.exit(program.guard(main))
