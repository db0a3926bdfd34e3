"""The synthetic orchestra: the demo's files, how each is rendered, and the ground truth.

Layout, below one folder::

    raw/<instrument>/<dastgah>/<instrument>-<performer>-<number>.flac     solos of pitched instruments
    raw/<instrument>/<instrument>-<performer>-<number>.flac               drums; two solos of others
    raw/recordings.csv     path, performer
    test/<sample_id>.flac  five-second excerpts of ensemble pieces
    test/labels.csv        sample_id, recording, and the ten instruments (0 or 1)
    truth.csv              path, instrument, performer, dastgah, tonic_hz, bpm, free_until_s of every solo

Every file depends on the seed and its own index alone, so that any number of workers, in any order, makes the same
bytes, and a larger orchestra holds the smaller one.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.demo.melody import Tune, compose
from tarkib.demo.performer import Performer, draw_performer, perform
from tarkib.demo.piece import EXCERPTS_PER_PIECE, draw_ensembles, draw_piece
from tarkib.demo.rhythm import draw_tempo
from tarkib.demo.room import Room
from tarkib.errors import TarkibError
from tarkib.runtime.streams import Stream, generator
from tarkib.runtime.text import some
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

_DRUM_SOLOS = 4

_FREE = {"avaz": 0.25, "ney": 0.25, "kamancheh": 0.25, "tar": 0.04, "setar": 0.04, "violin": 0.04}
"""Chance that a solo has no metre at all."""

_OPENING = {"piano": 0.1}
_USUAL_OPENING = 0.2
"""Chance that a metred solo opens in free rhythm."""

_TRUTH = ["path", "instrument", "performer", "dastgah", "tonic_hz", "bpm", "free_until_s"]


@dataclass(frozen=True)
class Job:
    """One solo, or one piece with its excerpts."""

    seed: int
    index: tuple[int, ...]  # of its generators: of a solo instrument, performer, number; of a piece its index
    path: str  # the solo's file below the demo's folder, posix; the piece's name
    instruments: tuple[str, ...]
    dastgah: str | None = None  # None for solos of drums
    performer: str | None = None  # the soloist's name; None for a piece
    seconds: float = 0.0  # length of the solo
    sample_ids: tuple[str, ...] = ()  # the excerpts' names


def plan(
    seed: int,
    performers: int,
    excerpts: int,
    *,
    dastgahs: Sequence[str] = DASTGAHS,
    instruments: Sequence[str] = INSTRUMENTS,
    seconds: tuple[float, float] = (20.0, 40.0),
) -> list[Job]:
    """Plan all files of the demo; nothing is rendered yet.

    `performers` is the number of soloists per instrument, `excerpts` that of five-second test excerpts, four per piece.
    `seconds` are the lengths of the shortest (5 or more) and longest solo; the mean lies a fifth of the way between.
    """
    jobs = [
        _plan_solo(seed, instrument, performer, number, dastgahs, seconds)
        for instrument in instruments
        for performer in range(performers)
        for number in range(_DRUM_SOLOS if instrument in PERCUSSION else len(dastgahs))
    ]
    pieces = -(-excerpts // EXCERPTS_PER_PIECE)
    for i, ensemble in enumerate(draw_ensembles((seed, Stream.DEMO_ENSEMBLE), pieces, instruments)):
        name = f"piece-{i + 1:03d}"
        count = min(EXCERPTS_PER_PIECE, excerpts - i * EXCERPTS_PER_PIECE)
        ids = tuple(f"{name}-{k + 1}" for k in range(count))
        dastgah = dastgahs[i % len(dastgahs)]
        jobs.append(Job(seed, (i,), name, ensemble, dastgah, sample_ids=ids))
    return jobs


def _plan_solo(
    seed: int, instrument: str, performer: int, number: int, dastgahs: Sequence[str], seconds: tuple[float, float]
) -> Job:
    kind = INSTRUMENTS.index(instrument)
    dastgah = None if instrument in PERCUSSION else dastgahs[number]
    # Some solos of the second performer lie outside of the dastgahs' folders, as in real collections.
    unlabelled = performer == 1 and number in {kind % len(dastgahs), (kind + 3) % len(dastgahs)}
    index = (kind, performer, number if dastgah is None else DASTGAHS.index(dastgah))
    folder = f"raw/{instrument}" if dastgah is None or unlabelled else f"raw/{instrument}/{dastgah}"
    path = f"{folder}/{instrument}-{performer + 1}-{index[2] + 1}.flac"
    share = generator(seed, Stream.DEMO_LENGTH, *index).beta(1, 4)
    length = seconds[0] + (seconds[1] - seconds[0]) * share
    name = f"demo-{instrument}-{performer + 1}"
    return Job(seed, index, path, (instrument,), dastgah, name, round(length, 3))


def render(job: Job) -> np.ndarray:
    """The solo, or the whole piece from which excerpts are cut; float32, mono, at `SAMPLE_RATE`, peak below 1."""
    return (_solo(job)[0] if job.performer else _piece(job)[0]).astype(np.float32)


def make(job: Job, folder: Path) -> list[dict[str, Any]]:
    """Write the job's file or files (FLAC, 16 bit) below `folder`; returns rows about them for `write_tables`."""
    if job.performer is None:
        sound, rows = _piece(job)
        for row in rows:
            start = row.pop("start")
            _write(folder / "test" / f"{row['sample_id']}.flac", sound[start : start + CLIP_SAMPLES])
        return rows
    sound, played = _solo(job)
    _write(folder / job.path, sound)
    pitched = job.dastgah is not None
    return [
        {
            "path": job.path,
            "instrument": job.instruments[0],
            "performer": job.performer,
            "dastgah": job.dastgah or "",
            "tonic_hz": f"{played.tonic_hz:.3f}" if pitched else "",
            "bpm": "" if played.bpm is None else f"{played.bpm:.3f}",
            "free_until_s": f"{played.free_until:.3f}",
        }
    ]


def write_tables(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write raw/recordings.csv, truth.csv and test/labels.csv below `folder`, each sorted by its first column.

    Raises TarkibError where a sound file that they name is not there.
    """
    solos = sorted((row for row in rows if "path" in row), key=lambda row: row["path"])
    labels = sorted((row for row in rows if "sample_id" in row), key=lambda row: row["sample_id"])
    recordings = [{"path": row["path"].removeprefix("raw/"), "performer": row["performer"]} for row in solos]
    for path, columns, table in (
        ("raw/recordings.csv", ["path", "performer"], recordings),
        ("truth.csv", _TRUTH, solos),
        ("test/labels.csv", ["sample_id", "recording", *INSTRUMENTS], labels),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(table, columns=columns).to_csv(folder / path, index=False, lineterminator="\n")
    files = [*(row["path"] for row in solos), *(f"test/{row['sample_id']}.flac" for row in labels)]
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise TarkibError(
            f"{some(missing)}: written, but not there; something else deletes files in {folder}; nothing was replaced; "
            "run again"
        )


def tune(job: Job) -> Tune:
    """The tune of a solo, ground truth for benchmarks."""
    return _draw_solo(job)[2]


def _solo(job: Job) -> tuple[np.ndarray, Tune]:
    rng, performer, played = _draw_solo(job)
    # A performer has been recorded on two occasions.
    room = Room(generator(job.seed, Stream.DEMO_ROOM, *job.index[:2], job.index[2] % 2))
    return room.record(rng, perform(rng, performer, played)), played


def _draw_solo(job: Job) -> tuple[np.random.Generator, Performer, Tune]:
    """Draw a solo: its generator (after these draws), performer and tune."""
    performer = draw_performer(generator(job.seed, Stream.DEMO_PERFORMER, *job.index[:2]), job.instruments[0])
    rng = generator(job.seed, Stream.DEMO_SOLO, *job.index)
    bpm: float | None = draw_tempo(rng)
    if job.dastgah is None:
        # A drummer plays to a tune that is not part of the sound.
        return rng, performer, compose(rng, DASTGAHS[0], 261.0, job.seconds, bpm)
    tonic, free_until = performer.draw_tonic(rng), 0.0
    if rng.random() < _FREE.get(performer.instrument, 0.0):
        bpm = None
    elif rng.random() < _OPENING.get(performer.instrument, _USUAL_OPENING):
        free_until = rng.uniform(0.2, 0.4) * job.seconds
    return rng, performer, compose(rng, job.dastgah, tonic, job.seconds, bpm, free_until)


def _piece(job: Job) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The recorded piece and a row for each excerpt, with its first sample as `start`."""
    rng = generator(job.seed, Stream.DEMO_PIECE, *job.index)
    assert job.dastgah is not None  # pieces have one
    piece = draw_piece(rng, job.instruments, job.dastgah)
    rows = []
    for sample_id, (start, audible) in zip(job.sample_ids, piece.excerpts, strict=False):
        labels = {name: int(name in audible) for name in INSTRUMENTS}
        rows.append({"sample_id": sample_id, "recording": job.path, **labels, "start": start})
    return piece.sound, rows


def _write(path: Path, sound: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Encoded in memory first: for a full disk libsndfile only says "System error".
    flac = io.BytesIO()
    soundfile.write(flac, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    path.write_bytes(flac.getvalue())
