"""Music whose tempo, tonic or dastgah is known: the demo orchestra at any seed, its drummers, and real recordings.

The real ones lie in a folder with a manifest.csv (file, instruments, dastgah, shahed_hz, bpm, ...) that is not part of
this project; its columns are read as they are. The shahed, which it gives, is mapped to our tonic, the first degree.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import solos
from benchmarks.solos import BUILDING, ONCE
from tarkib import audio
from tarkib.annotation import tonality
from tarkib.audio import CLIP_SECONDS
from tarkib.demo import orchestra, rhythm
from tarkib.demo.melody import Tune
from tarkib.demo.orchestra import Job
from tarkib.demo.performer import draw_performer, perform
from tarkib.demo.rhythm import Metre
from tarkib.demo.room import Room
from tarkib.vocabulary import PERCUSSION

REAL = Path("../shared/audio")
"""Where the real recordings are looked for."""

CYCLES = (
    *(rhythm.METRES[name] for name in ("2/4", "4/4", "6/8", "7/8")),
    Metre("3/4", 0.0, 2, (1.0, 0.35, 0.6, 0.35, 0.65, 0.4), "", "T.b.b. T.bbb. TpbpTb T.bpb. T.t.bb TpTpb. T.btb."),
    Metre("5/8", 0.0, 2, (1.0, 0.4, 0.8, 0.35, 0.5), "", "T.b.b T.bpb TpTbp T.bbb TpTpb T.tb."),
)
"""Rhythm cycles of drummers. The orchestra's tunes have no 3/4 and no 5/8."""

_STRONG, _ALIKE = 0.6, 0.7  # accent of a strong pulse; chance of a weak one to sound as after the other strong ones


@dataclass(frozen=True)
class Drumming:
    """A drummer's solo, by what its sound depends on."""

    seed: int
    instrument: str
    place: tuple[int, int]  # performer and cycle
    random: bool  # patterns drawn for this solo, rather than those of `CYCLES`

    def play(self) -> tuple[float, np.ndarray, np.ndarray]:
        """Tempo, seconds of the beats, and the sound."""
        rng = np.random.default_rng([self.seed, sum(map(ord, self.instrument)), *self.place])
        metre = CYCLES[self.place[1]]
        bpm = rhythm.draw_tempo(rng) if metre.name != "2/4" else float(np.exp(rng.uniform(np.log(60), np.log(125))))
        if self.random:
            metre = replace(metre, drums=" ".join(pattern(rng, metre) for _ in range(4)))
        seconds = float(rng.uniform(20.0, 45.0))
        pulses = rhythm.pulse_times(rng, metre, bpm, 0.1, seconds)
        tune = Tune("shur", 261.0, seconds, bpm, metre, 0.0, (), pulses)
        sound = Room(rng).record(rng, perform(rng, draw_performer(rng, self.instrument), tune))
        return bpm, pulses[:: metre.per_beat], sound.astype(np.float32)


def pattern(rng: np.random.Generator, metre: Metre) -> str:
    """A drum's pattern for a bar: tom on its first pulse, mostly tom or bak on strong ones, often alike after each."""
    fill = rng.choice(list("..ppbtr."), metre.pulses)
    letters, since = "T", 0
    for accent in metre.accents[1:]:
        since = 0 if accent >= _STRONG else since + 1
        alike = fill[since] if rng.random() < _ALIKE else rng.choice(list("..ppbtr."))
        letters += str(alike if since else rng.choice(list("bbbTTt.p")))
    return letters


@dataclass(frozen=True)
class Known:
    """A recording and the truth about it; None and empty where it is not known or does not exist."""

    name: str
    group: str
    """`orchestra`, or the folder of a real recording: `tempo`, `raw`, `pitchsets`"""
    source: Job | Drumming | Path
    instrument: str
    dastgah: str | None = None
    tonic_hz: float | None = None
    bpm: float | None = None
    metred: bool | None = None
    """False for free rhythm throughout; None where nothing is said of its metre"""
    free_until_s: float = 0.0
    beats_s: tuple[float, ...] = ()
    performer: str = ""
    half: str = BUILDING
    """of a real recording, by its player (`solos.halves`): was it looked at while something was fitted, or once"""

    def samples(self) -> np.ndarray:
        """The sound, float32 mono at 24,000 Hz."""
        if isinstance(self.source, Job):
            return orchestra.render(self.source)
        if isinstance(self.source, Drumming):
            return self.source.play()[2]
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
                job.performer,
            )
        )
    return known


def of_drummers(seed: int, performers: int, random: bool = False) -> list[Known]:
    """Solos of drums in every one of `CYCLES`, in its own patterns or (`random`) in drawn ones."""
    known = []
    for instrument in sorted(PERCUSSION):
        for place in np.ndindex(performers, len(CYCLES)):
            source = Drumming(seed, instrument, place, random)
            bpm, beats, _ = source.play()
            name = f"{seed}/{instrument}-{place[0] + 1}-{CYCLES[place[1]].name.replace('/', '-')}"
            known.append(Known(name, "drums", source, instrument, bpm=bpm, metred=True, beats_s=tuple(beats.tolist())))
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
                    performer=row["performer"],
                    half=ONCE if row["performer"] in once else BUILDING,
                )
            )
    return known
