"""Clips with their targets, as training and scoring take them.

An item is a dict of `samples`, of shape (120000,), `labels`, the multi-hot target, float32 of shape (10,) in the order
of `vocabulary.INSTRUMENTS`, and `index`, an int64 scalar: the item's number in its set. Samples are float32, or int16
as they were stored, which the classifier takes as well: half the bytes on the way to where it computes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tarkib import audio, tables
from tarkib.audio.clips import ClipStore, Places
from tarkib.errors import TarkibError
from tarkib.vocabulary import INSTRUMENTS


def multi_hot(instruments: Iterable[str]) -> np.ndarray:
    """Target of a clip that these instruments play in: float32 of shape (10,), 1 where one plays."""
    target = np.zeros(len(INSTRUMENTS), np.float32)
    target[[INSTRUMENTS.index(name) for name in instruments]] = 1.0
    return target


class MixtureSet(Dataset):
    """The mixtures of one split, 16-bit samples read from their shards as they are asked for; `mode` tells how mixed.

    `ids`, a str array of shape (len(self),), names them. Nothing here is an object a clip, so that forked workers share
    what they only read, however many clips there are.

    Parameters
    ----------
    folder : what the stage mix wrote: shards and mixtures.parquet.
    split : ``train`` or ``validation``.
    """

    def __init__(self, folder: Path | str, split: str) -> None:
        rows = [row for row in tables.MIXTURES.read(Path(folder) / "mixtures.parquet") if row["split"] == split]
        if not rows:
            raise TarkibError(f"{folder}: no mixtures of split {split!r}; run dvc repro mix")
        self.mode = rows[0]["mode"]
        self.folder = Path(folder)
        self.store = ClipStore(folder)
        self.ids = np.array([row["mixture_id"] for row in rows])
        self.places = Places(rows)
        self.targets = np.stack([multi_hot(row["instruments"]) for row in rows])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "samples": torch.from_numpy(self.store.read(self.places[index], dtype="int16")),
            "labels": torch.from_numpy(self.targets[index]),
            "index": torch.tensor(index),
        }

    def recordings(self) -> dict[str, int]:
        """How many recordings the components of each instrument were cut from."""
        return dict(Counter(instrument for instrument, _ in {part[1:] for part in self._parts()}))

    def observed(self) -> np.ndarray:
        """Distinct recordings that speak for and against each instrument, int of shape (2, 10).

        First its own in the mixtures that it plays in, then those in mixtures without it, of which there are at most as
        many as such mixtures.
        """
        with_it: list[set[str]] = [set() for _ in INSTRUMENTS]
        without: list[set[str]] = [set() for _ in INSTRUMENTS]
        row = {name: index for index, name in enumerate(self.ids.tolist())}
        for mixture_id, instrument, recording in self._parts():
            with_it[INSTRUMENTS.index(instrument)].add(recording)
            for k in np.flatnonzero(self.targets[row[mixture_id]] == 0):
                without[k].add(recording)
        absent = (self.targets == 0).sum(axis=0)
        return np.array([[len(one) for one in with_it], np.minimum([len(one) for one in without], absent)])

    def _parts(self) -> Iterator[tuple[str, str, str]]:
        """Mixture, instrument and recording of each component."""
        mine = set(self.ids.tolist())
        for row in tables.COMPONENTS.read(self.folder / "components.parquet"):
            if row["mixture_id"] in mine:
                yield row["mixture_id"], row["instrument"], row["recording_id"]


class WindowSet(Dataset):
    """Excerpts cut into windows of one clip's length, end to end; the last is padded with silence.

    A last window of less than half a clip is left out unless it is the only one. `owner`, shape (len(self),), tells
    which excerpt each window is of.

    Parameters
    ----------
    excerpts : decoded excerpts, each of shape (n,) at 24 kHz.
    """

    def __init__(self, excerpts: Sequence[np.ndarray]) -> None:
        self.windows: list[np.ndarray] = []
        owner: list[int] = []
        for index, samples in enumerate(excerpts):
            for start in range(0, max(samples.size, 1), audio.CLIP_SAMPLES):
                piece = samples[start : start + audio.CLIP_SAMPLES]
                if start == 0 or piece.size >= audio.CLIP_SAMPLES // 2:
                    self.windows.append(audio.fit(piece))
                    owner.append(index)
        self.owner = np.array(owner, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "samples": torch.from_numpy(self.windows[index]),
            # Nothing is known of a window's target; what reads items expects one.
            "labels": torch.zeros(len(INSTRUMENTS)),
            "index": torch.tensor(index),
        }

    def by_excerpt(self, scores: np.ndarray) -> np.ndarray:
        """Mean of the windows' scores, shape (len(self), 10), for each excerpt, shape (excerpts, 10)."""
        sums = np.zeros((self.owner[-1] + 1, scores.shape[1]))
        np.add.at(sums, self.owner, scores)
        return sums / np.bincount(self.owner)[:, np.newaxis]
