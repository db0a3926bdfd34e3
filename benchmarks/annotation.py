"""The speed of annotation and of the methods it replaces, measured in one run on the same slices.

    python -m benchmarks.annotation          # about fifteen minutes; prints, and writes into docs/annotation.md

Each method on one core, on decoded sound, with its accuracy on the very slices it was timed on; then the stage as it
runs, from FLAC files on all cores, without and with its cache; and memory against the length of a recording.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

from benchmarks import known, tables
from benchmarks.accuracy_tables import LEVELS, right_tempo, right_tonic
from benchmarks.annotation_accuracy import DOCUMENT
from benchmarks.known import Known
from benchmarks.measured import by_scale
from tarkib import params
from tarkib.annotation import evidence
from tarkib.annotation.conclusion import Labels, annotate, conclude
from tarkib.annotation.jobs import Job, annotate_recording
from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE
from tarkib.runtime import parallel
from tarkib.runtime.cache import Cache

_SEED = 11
_STEP = 6  # every sixth solo of the orchestra: all instruments and dastgahs in little time
_PYIN_SHARE = 8  # pYIN, which is slow, analyses one slice in so many
_SETTINGS = params.Annotate()

Answer = tuple[float | None, float | None]
"""A slice's tempo in BPM and its tonic in Hz given the dastgah; None where a method has none."""


def _slices(samples: np.ndarray) -> list[np.ndarray]:
    return [samples[i : i + CLIP_SAMPLES] for i in range(0, len(samples) - CLIP_SAMPLES + 1, CLIP_SAMPLES)]


def ours(one: Known, samples: np.ndarray) -> list[Answer]:
    """As in the stage: the recording is analysed once, and each slice is annotated by its context."""
    labels = Labels(one.instrument, one.dastgah)
    starts_s = [i * CLIP_SECONDS for i in range(len(_slices(samples)))]
    conclusion = conclude(evidence.extract([samples]), labels, _SETTINGS)
    annotate(conclusion, starts_s, labels, _SETTINGS)
    middles_s = [start + CLIP_SECONDS / 2 for start in starts_s]
    return [(conclusion.tempo.at(middle)[0], conclusion.tonality_at(middle).tonic_hz) for middle in middles_s]


def ours_alone(one: Known, samples: np.ndarray) -> list[Answer]:
    """The same method on each slice as if it were a whole recording, to measure what the context adds."""
    return [answer for piece in _slices(samples) for answer in ours(one, piece)]


def librosas(one: Known, samples: np.ndarray) -> list[Answer]:
    """The original code's method: `beat_track` and 24-bin `chroma_cqt` on each slice."""
    answers: list[Answer] = []
    for piece in _slices(samples):
        bpm = float(np.atleast_1d(librosa.beat.beat_track(y=piece, sr=SAMPLE_RATE)[0])[0])
        chroma = librosa.feature.chroma_cqt(y=piece, sr=SAMPLE_RATE, n_chroma=24, bins_per_octave=48, n_octaves=6)
        answers.append((bpm, by_scale(chroma.mean(axis=1), one.dastgah)[1] if one.dastgah else None))
    return answers


def pyin(one: Known, samples: np.ndarray) -> list[Answer]:
    """Probabilistic YIN and its histogram of pitch classes on some of the slices."""
    answers: list[Answer] = []
    for i, piece in enumerate(_slices(samples)):
        if i % _PYIN_SHARE:
            answers.append((None, None))
            continue
        hz = librosa.pyin(piece, fmin=65.0, fmax=2_200.0, sr=SAMPLE_RATE)[0]
        octaves = np.log2(hz[np.isfinite(hz)] / librosa.note_to_hz("C4"))
        classes = np.bincount(np.round(24 * octaves).astype(int) % 24, minlength=24).astype(float)
        answers.append((None, by_scale(classes, one.dastgah)[1] if one.dastgah else None))
    return answers


METHODS = {
    "**Tarkib**, recordings as wholes": (ours, 1),
    "Tarkib, each slice alone": (ours_alone, 1),
    "librosa `beat_track` + `chroma_cqt`, each slice": (librosas, 1),
    "librosa `pyin`, each slice": (pyin, _PYIN_SHARE),
}


def methods_table(some: Sequence[Known]) -> str:
    """Speed and accuracy of every method on the same slices, one core."""
    sounds = [one.samples() for one in some]
    with threadpool_limits(1):
        for method, _ in METHODS.values():
            method(some[0], sounds[0][: 2 * CLIP_SAMPLES])  # compiles and builds, which is not timed
        rows, base = [], None
        for title, (method, share) in METHODS.items():
            begun = time.perf_counter()
            answers = [method(one, samples) for one, samples in zip(some, sounds, strict=True)]
            spent = time.perf_counter() - begun
            done = sum(len(_slices(samples)[::share]) for samples in sounds)
            speed = done * CLIP_SECONDS / spent
            base = base or speed
            rows.append([title, done, f"{1000 * spent / done:.1f}", f"{speed:.0f}", f"{base / speed:.1f}"])
            rows[-1] += _accuracy(some, answers)
    header = ["one core, without decoding", "slices", "ms a slice", "× real time", "times as long"]
    return tables.markdown([*header, "tempo Acc1", "Acc2", "tonic, given the dastgah"], rows)


def _accuracy(some: Sequence[Known], answers: Sequence[Sequence[Answer]]) -> list[str | None]:
    tempi, tonics = [], []
    for one, pieces in zip(some, answers, strict=True):
        for i, (bpm, tonic_hz) in enumerate(pieces):
            if one.bpm is not None and bpm is not None and i * CLIP_SECONDS >= one.free_until_s:
                tempi.append([right_tempo(bpm, one.bpm, factors) for factors in ((1.0,), LEVELS)])
            # A method that gives no tonic where it should is wrong; one that was not asked (pYIN's gaps) is not.
            if one.tonic_hz is not None and (tonic_hz is not None or bpm is not None):
                tonics.append(right_tonic(tonic_hz, one.tonic_hz))
    both = [f"{share:.1%}" for share in np.mean(tempi, axis=0)] if tempi else [None, None]
    return [*both, f"{np.mean(tonics):.1%}"]


def stage_table(some: Sequence[Known], slices: int, workers: int) -> str:
    """The stage's jobs from FLAC files, as many as hold so many slices; every second file again and again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = []
        for i, one in enumerate(some):
            samples = one.samples()
            soundfile.write(folder / f"{i}.flac", samples, SAMPLE_RATE, subtype="PCM_16")
            counts.append(len(_slices(samples)))
        jobs: list[Job] = []
        while sum(len(job.starts_s) for job in jobs) < slices:
            i = len(jobs) % len(some)
            starts_s = {f"{len(jobs)}-{k}": k * CLIP_SECONDS for k in range(counts[i])}
            labels = Labels(some[i].instrument, some[i].dastgah)
            # A checksum of its own: to the cache each is another recording.
            row = {"sha256": str(len(jobs)), "origin": "own", "path": f"{i}.flac"}
            jobs.append(Job(row, folder / f"{i}.flac", labels, starts_s, Cache(folder / "cache"), _SETTINGS))
        rows = []
        for title in ("nothing in the cache", "all in the cache"):
            begun = time.perf_counter()
            done = sum(
                len(result.rows)
                for result in parallel.map_jobs(annotate_recording, jobs, what="annotating", workers=workers)
            )
            spent = time.perf_counter() - begun
            rows.append([title, done, f"{spent:.0f}", f"{done * CLIP_SECONDS / spent / workers:.0f}"])
        size = sum(file.stat().st_size for file in (folder / "cache").rglob("*.npz"))
    table = tables.markdown([f"the stage on {workers} cores, from FLAC", "slices", "s", "× real time a core"], rows)
    return f"{table}\n\nThe cache took {size / done / 1024:.1f} KiB a slice."


_MEMORY = """
import re, sys
from pathlib import Path
from tarkib import audio, params
from tarkib.annotation import evidence
from tarkib.annotation.conclusion import Labels, annotate, conclude
recording = evidence.extract(audio.Stream(Path(sys.argv[1])))
conclusion = conclude(recording, Labels(), params.Annotate())
# getrusage would include the parent's peak.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(recording.seconds, peak)
"""


def memory_table(one: Known, minutes: Sequence[float]) -> str:
    """Peak memory of a process that annotates one recording, by its length."""
    samples, rows = one.samples(), []
    with tempfile.TemporaryDirectory() as folder:
        for length in minutes:
            path = Path(folder) / "long.flac"
            with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
                for _ in range(max(1, round(length * 60 * SAMPLE_RATE / len(samples)))):
                    file.write(samples)
            begun = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", _MEMORY, path], capture_output=True, text=True, check=True)
            seconds, peak = map(float, done.stdout.split())
            rows.append([f"{seconds / 60:.1f}", f"{peak:.0f}", f"{time.perf_counter() - begun:.1f}"])
    return tables.markdown(
        ["minutes of music", "peak memory of the process, MiB", "s, start-up and decoding included"], rows
    )


def main() -> None:
    """Measure, print, and put the tables into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=17_000, help="for the stage")
    parser.add_argument("--workers", type=int, default=parallel.available_cores())
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    some = known.of_orchestra(_SEED, 3)[::_STEP]
    parts = [
        f"Measured with `python -m benchmarks.annotation` on {options.workers} cores of {tables.machine()}.",
        methods_table(some),
        stage_table(some, options.slices, options.workers),
        memory_table(some[0], (1.0, 10.0, 30.0, 120.0)),
    ]
    text = "\n\n".join(parts)
    print(text)
    if not options.print_only:
        tables.fill(DOCUMENT, "speed", text)


if __name__ == "__main__":
    main()
