"""Real solo recordings that a classifier is scored on: two halves, and figures with intervals over the recordings.

They lie in a folder with a manifest.csv (file, instruments, performer, seconds, source, ...) that is not part of this
project; solos are the files in its folder raw.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from tarkib import audio, vocabulary
from tarkib.errors import TarkibError
from tarkib.evaluation import bootstrap, metrics
from tarkib.training.datasets import WindowSet, multi_hot
from tarkib.vocabulary import INSTRUMENTS

BUILDING, ONCE = "building", "once"
"""The half that is looked at while something is built, and the half that is looked at once, in the end."""

_COLUMNS = ("file", "instruments", "performer", "seconds", "source")


@dataclass(frozen=True)
class Solo:
    """A real recording of one instrument; `file` is its path in the folder, `player` who is in one half only."""

    file: str
    instrument: str
    player: str
    seconds: float


@dataclass(frozen=True)
class Clips:
    """Clips of five seconds of some solos.

    windows : the clips, float32 at 24 kHz.
    recordings : the file that each was cut from, length n.
    targets : shape (n, 10), 1 for the instrument that plays.
    """

    windows: WindowSet
    recordings: list[str]
    targets: np.ndarray


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval, NaN where it has none; floats, or arrays of shape (10,) by instrument."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def read(folder: Path) -> list[Solo]:
    """The solos that a folder's manifest.csv lists, in its order.

    The player is the named performer; where none is named, all recordings of one instrument from one source are taken
    for one player's. Raises TarkibError where the manifest is missing or lacks a column, or an instrument is unknown.
    """
    manifest = folder / "manifest.csv"
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if set(_COLUMNS) <= row.keys() and row["file"].startswith("raw/")]
    except OSError as error:
        raise TarkibError(
            f"{manifest}: cannot be read ({error.strerror}); give the folder of the recordings"
        ) from error
    if not rows:
        raise TarkibError(f"{manifest}: lists no solo; it needs the columns {', '.join(_COLUMNS)} and files in raw/")
    solos = []
    for row in rows:
        instrument = vocabulary.instrument(row["instruments"])
        if instrument is None:
            known = ", ".join(INSTRUMENTS)
            raise TarkibError(
                f"{manifest}: {row['file']}: unknown instrument {row['instruments']!r}; known are {known}"
            )
        player = row["performer"] or f"{row['source']}, {instrument}"
        solos.append(Solo(row["file"], instrument, player, float(row["seconds"])))
    return solos


def halves(solos: Sequence[Solo]) -> dict[str, list[Solo]]:
    """The solos of each half, `BUILDING` and `ONCE`; a player is in one of them only.

    Players in the order of their number of recordings, then of their length, the greatest first: each goes to the half
    with fewer recordings of the player's instruments, of equal ones to that with fewer recordings, else to `BUILDING`.
    """
    players = [list(group) for _, group in groupby(sorted(solos, key=lambda solo: solo.player), lambda one: one.player)]
    players.sort(key=lambda group: (-len(group), -sum(solo.seconds for solo in group)))
    found: dict[str, list[Solo]] = {BUILDING: [], ONCE: []}
    for group in players:
        plays = {solo.instrument for solo in group}

        def fullness(half: str, plays: set[str] = plays) -> tuple[int, int]:
            return sum(solo.instrument in plays for solo in found[half]), len(found[half])

        found[min(found, key=fullness)] += group
    return {half: sorted(some, key=lambda solo: solo.file) for half, some in found.items()}


def of_own(solos: Sequence[Solo], count: int, min_seconds: float) -> list[Solo]:
    """The `count` longest recordings of each instrument, but none shorter than `min_seconds`."""
    longest = sorted(solos, key=lambda solo: (-solo.seconds, solo.file))
    chosen: list[Solo] = []
    for solo in longest:
        if solo.seconds >= min_seconds and sum(one.instrument == solo.instrument for one in chosen) < count:
            chosen.append(solo)
    return chosen


def clips(folder: Path, solos: Sequence[Solo]) -> Clips:
    """Decode solos and cut them into clips, as the evaluate stage cuts a long excerpt."""
    windows = WindowSet([audio.load(folder / solo.file).samples for solo in solos])
    targets = np.stack([multi_hot([solos[owner].instrument]) for owner in windows.owner])
    return Clips(windows, [solos[owner].file for owner in windows.owner], targets)


class Statistic:
    """Figures as a function of how often each clip counts, for `bootstrap.intervals`; means over several models.

    roc_auc, class_roc_auc : macro over the instruments present, and of each against the rest.
    top1, class_recall : share of an instrument's clips whose highest score of all ten is the instrument's; its mean
        over the instruments present, and of each. Only for clips in which one instrument plays.

    Parameters
    ----------
    targets : shape (n, 10), 0 or 1.
    probabilities : shape (models, n, 10), 0..1.
    """

    def __init__(self, targets: np.ndarray, probabilities: np.ndarray) -> None:
        self.targets, self.probabilities = targets, probabilities
        self.hits = [
            targets * (highest[:, np.newaxis] == np.arange(targets.shape[1]))
            for highest in probabilities.argmax(axis=2)
        ]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures by name, each of shape (r, ...), for weights of shape (r, n)."""
        counts = weights @ self.targets
        areas = np.mean([metrics.roc_auc(self.targets, some, weights) for some in self.probabilities], axis=0)
        recalls = np.mean([metrics.divide(weights @ hits, counts) for hits in self.hits], axis=0)
        return {
            "roc_auc": metrics.macro(areas),
            "class_roc_auc": areas,
            "top1": metrics.macro(recalls),
            "class_recall": recalls,
        }


def score(
    targets: np.ndarray,
    probabilities: np.ndarray,
    recordings: Sequence[str],
    rng: np.random.Generator,
    rounds: int = 1000,
) -> dict[str, Figure]:
    """The figures of `Statistic`, each with its interval; recordings are resampled, and all their clips with them.

    An instrument of one recording has no interval of its own: a resample holds that recording or says nothing.
    """
    statistic = Statistic(targets, probabilities)
    points = statistic(np.ones((1, len(targets))))
    ends = bootstrap.intervals(statistic, recordings, rng, rounds=rounds)
    names = np.asarray(recordings)
    lone = np.array([len(set(names[target == 1])) < 2 for target in targets.T])
    for name in ("class_roc_auc", "class_recall"):
        ends[name][:, lone] = np.nan
    return {name: Figure(value[0], *ends[name]) for name, value in points.items()}


def confusion(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Share of the clips of each instrument (rows) for which each (columns) scores highest, over all models, (10, 10).

    A row is NaN where the instrument has no clip.
    """
    chosen = np.eye(targets.shape[1])[probabilities.argmax(axis=2)].mean(axis=0)
    return metrics.divide(targets.T @ chosen, np.repeat(targets.sum(axis=0)[:, np.newaxis], targets.shape[1], axis=1))
