"""Music whose tempo, tonic or dastgah is known: the demo orchestra at any seed, and a folder of real recordings.

The real ones lie in a folder with a manifest.csv (file, instruments, dastgah, shahed_hz, bpm, ...) that is not part of
this project; its columns are read as they are. The shahed, which it gives, is mapped to our tonic, the first degree.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import solos
from benchmarks.solos import BUILDING, ONCE
from tarkib import audio
from tarkib.annotation import tonality
from tarkib.audio import CLIP_SECONDS
from tarkib.demo import orchestra
from tarkib.demo.orchestra import Job

REAL = Path("../shared/audio")
"""Where the real recordings are looked for."""


@dataclass(frozen=True)
class Known:
    """A recording and the truth about it; None and empty where it is not known or does not exist."""

    name: str
    group: str
    """`orchestra`, or the folder of a real recording: `tempo`, `raw`, `pitchsets`"""
    source: Job | Path
    instrument: str
    dastgah: str | None = None
    tonic_hz: float | None = None
    bpm: float | None = None
    metred: bool | None = None
    """False for free rhythm throughout; None where nothing is said of its metre"""
    free_until_s: float = 0.0
    beats_s: tuple[float, ...] = ()
    half: str = BUILDING
    """of a real recording, by its player (`solos.halves`): was it looked at while something was fitted, or once"""

    def samples(self) -> np.ndarray:
        """The sound, float32 mono at 24,000 Hz."""
        if isinstance(self.source, Job):
            return orchestra.render(self.source)
        return audio.load(self.source).samples

    def slices(self, seconds: float) -> list[tuple[float, float | None]]:
        """Start and true tempo (None in free rhythm) of each whole slice that is all metred or all free."""
        if self.metred is None:
            return []
        found: list[tuple[float, float | None]] = []
        for start_s in np.arange(0.0, seconds - CLIP_SECONDS + 1e-6, CLIP_SECONDS).tolist():
            if not self.metred or start_s + CLIP_SECONDS <= self.free_until_s:
                found.append((start_s, None))
            elif start_s >= self.free_until_s:
                found.append((start_s, self.bpm))
        return found


def of_orchestra(seed: int, performers: int, seconds: tuple[float, float] = (20.0, 90.0)) -> list[Known]:
    """The solos of an orchestra; longer ones than the demo's, as real recordings are."""
    known = []
    for job in orchestra.plan(seed, performers, 1, seconds=seconds):
        if job.performer is None:
            continue
        tune = orchestra.tune(job)
        beats = tune.pulses[:: tune.metre.per_beat] if tune.metre else ()
        known.append(
            Known(
                f"{seed}/{Path(job.path).name}",
                "orchestra",
                job,
                job.instruments[0],
                job.dastgah,
                tune.tonic_hz if job.dastgah else None,
                tune.bpm,
                tune.bpm is not None,
                tune.free_until,
                tuple(float(beat) for beat in beats),
            )
        )
    return known


def of_folder(folder: Path) -> list[Known]:
    """The real recordings of a folder with a manifest.csv; none where there is no such folder."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        return []
    once = {solo.player for solo in solos.halves(solos.read(folder))[ONCE]}
    known = []
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            dastgah, tonic_hz = row["dastgah"] or None, None
            if dastgah and row["shahed_hz"]:
                tonic_hz = float(row["shahed_hz"]) / 2 ** (tonality.shahed_cents(dastgah) / 1200)
            bpm = float(row["bpm"]) if row["bpm"] else None
            name = row["file"]
            known.append(
                Known(
                    name,
                    name.split("/")[0],
                    folder / name,
                    row["instruments"],
                    dastgah,
                    tonic_hz,
                    bpm,
                    True if bpm else None,
                    half=ONCE if row["performer"] in once else BUILDING,
                )
            )
    return known
