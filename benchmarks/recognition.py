"""Speed and memory of recognition, beside the plain way.

    python -m benchmarks.recognition         # some minutes; prints, and writes into docs/performance.md

Takes the demo's solos and classifier (make repro). Each way runs in its own process, whose peak memory is reported.
"""

import argparse
import json
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr
import torch

from benchmarks import tables
from tarkib import Recogniser, audio
from tarkib.runtime import parallel

DOCUMENT = Path("docs/performance.md")
SOLOS = Path("data/demo/raw")
CLASSIFIER = Path("models/classifier")
MINUTES = (10, 60)
HOPS = (1.0, 2.5, 5.0)

_RATE = 44_100  # Hz, stereo, as recordings usually come


def write_recording(path: Path, minutes: int) -> None:
    """The demo's solos one after another, from the beginning again where they do not suffice, as a stereo MP3."""
    left = minutes * 60 * _RATE
    with soundfile.SoundFile(path, "w", _RATE, 2) as out:
        while left > 0:
            for file in sorted(SOLOS.rglob("*.flac")):
                samples, rate = soundfile.read(file, dtype="float32")
                mono = soxr.resample(samples, rate, _RATE)[: max(left, 0)]
                out.write(np.stack([mono, 0.8 * mono], axis=1))
                left -= len(mono)


def plain(path: Path, hop_s: float) -> int:
    """The whole recording decoded by librosa, then one window after another."""
    classifier = Recogniser.load(CLASSIFIER).classifier
    samples, _ = librosa.load(path, sr=audio.SAMPLE_RATE, mono=True)
    starts = range(0, len(samples) - audio.CLIP_SAMPLES + 1, round(hop_s * audio.SAMPLE_RATE))
    with torch.inference_mode():
        for start in starts:
            classifier(torch.from_numpy(samples[start : start + audio.CLIP_SAMPLES])[None]).sigmoid()
    return len(starts)


def ours(path: Path, hop_s: float) -> int:
    """As ``tarkib predict`` does it."""
    return len(Recogniser.load(CLASSIFIER)(path, hop_s=hop_s).starts_s)


def decoding(path: Path, hop_s: float) -> int:
    """Decoded, mixed down and resampled as in `ours`, and nothing done with it."""
    return sum(len(block) > 0 for block in audio.Stream(path))


WAYS: dict[str, Callable[[Path, float], int]] = {"plain": plain, "ours": ours, "decoding": decoding}


def measured(way: str, path: Path, hop_s: float) -> dict[str, float]:
    """Seconds, windows and peak memory (MiB) of one way in a process of its own; loading the model is part of it."""
    call = [sys.executable, "-m", "benchmarks.recognition", "--one", way, str(path), str(hop_s)]
    begun = time.perf_counter()
    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
    return {"seconds": time.perf_counter() - begun, **json.loads(done.stdout.splitlines()[-1])}


def _row(title: str, minutes: int, hop_s: float | None, found: dict[str, float]) -> list[object]:
    windows = None if hop_s is None else f"{found['windows']:,.0f}"
    speed = f"{60 * minutes / found['seconds']:,.0f}"
    hop = None if hop_s is None else f"{hop_s:g} s"
    return [title, f"{minutes} min", hop, windows, f"{found['seconds']:.1f} s", speed, f"{found['mebibytes']:,.0f} MiB"]


def main() -> None:
    """Measure, print, and put the table into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("WAY", "FILE", "HOP"), help=argparse.SUPPRESS)
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    options = parser.parse_args()
    if options.one:
        way, path, hop_s = options.one
        windows = WAYS[way](Path(path), float(hop_s))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"windows": windows, "mebibytes": peak}))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        recordings = {minutes: Path(name, f"{minutes}.mp3") for minutes in MINUTES}
        for minutes, path in recordings.items():
            write_recording(path, minutes)
        short, hour = MINUTES
        rows.append(_row("librosa, window by window", short, HOPS[0], measured("plain", recordings[short], HOPS[0])))
        rows.append(_row("**Tarkib**", short, HOPS[0], measured("ours", recordings[short], HOPS[0])))
        rows += [_row("**Tarkib**", hour, hop, measured("ours", recordings[hour], hop)) for hop in HOPS]
        rows.append(_row("decoding alone", hour, None, measured("decoding", recordings[hour], 0.0)))
        rows.append(_row("librosa, window by window", hour, HOPS[0], measured("plain", recordings[hour], HOPS[0])))
    place = f"{parallel.available_cores()} cores of {tables.machine()}"
    command = shlex.join(["python", "-m", "benchmarks.recognition", *sys.argv[1:]])
    header = ["", "recording", "hop", "windows", "time", "times real time", "peak memory"]
    text = f"Measured with `{command}` on {place}.\n\n{tables.markdown(header, rows)}"
    print(text)
    if not options.print_only:
        tables.fill(DOCUMENT, "recognition", text)


if __name__ == "__main__":
    main()
