"""Clips with their targets, for training and scoring.

An item is a dict of `samples`, shape (120000,); `labels`, the multi-hot target, float32 of shape (10,) in the order of
`vocabulary.INSTRUMENTS`; and `index`, its number in the set. Samples are float32, or int16 as stored: the classifier
takes both, and int16 halves the bytes sent to the device.
"""

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from tarkib import audio, tables
from tarkib.audio.clips import ClipStore, Places
from tarkib.errors import TarkibError
from tarkib.vocabulary import INSTRUMENTS


class ClipSet(Dataset, Sized):
    """A data set with items as in the module's docstring; `ids`, where set, name the clips in errors."""

    ids: Sequence[str] | np.ndarray | None = None


def multi_hot(instruments: Iterable[str]) -> np.ndarray:
    """Target of a clip: float32 of shape (10,), 1 for each of the instruments."""
    target = np.zeros(len(INSTRUMENTS), np.float32)
    target[[INSTRUMENTS.index(name) for name in instruments]] = 1.0
    return target


class MixtureSet(ClipSet):
    """The mixtures of one split (`train` or `validation`) in the folder of the mix stage.

    16-bit samples are read from the shards on access. Clips are kept in arrays, not objects, so that forked workers
    share them. `targets` has shape (n, 10); `mode` is the mode of mixing.
    """

    def __init__(self, folder: Path | str, split: str) -> None:
        self.folder = Path(folder)
        rows = [row for row in tables.MIXTURES.read(self.folder / "mixtures.parquet") if row["split"] == split]
        if not rows:
            raise TarkibError(f"{folder}: no mixtures of split {split!r}; run dvc repro mix")
        self.mode: str = rows[0]["mode"]
        self.store = ClipStore(folder)
        self.ids = np.array([row["mixture_id"] for row in rows])
        self.places = Places(rows)
        self.targets = np.stack([multi_hot(row["instruments"]) for row in rows])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "samples": torch.from_numpy(self.store.read(self.places[index], dtype="int16")),
            "labels": torch.from_numpy(self.targets[index]),
            "index": torch.tensor(index),
        }

    def recordings(self, origin: str | None = None) -> dict[str, int]:
        """Number of recordings, of one origin or all, from which each instrument's components were cut."""
        rows = self._components()
        chosen = rows[rows["origin"] == origin] if origin else rows
        return chosen.groupby("instrument")["recording_id"].nunique().to_dict()

    def observed(self) -> np.ndarray:
        """Number of distinct recordings for and against each instrument, int of shape (2, 10).

        Row 0 counts the instrument's own recordings in mixtures that contain it; row 1 the recordings in mixtures
        without it, but no more than there are such mixtures.
        """
        components = self._components()
        absent = self.targets == 0
        absent_there = absent[pd.Index(self.ids).get_indexer(components["mixture_id"])]
        own = [components["recording_id"][components["instrument"] == name].nunique() for name in INSTRUMENTS]
        others = [components["recording_id"][absent_there[:, k]].nunique() for k in range(len(INSTRUMENTS))]
        return np.array([own, np.minimum(others, absent.sum(axis=0))])

    def _components(self) -> pd.DataFrame:
        """Mixture, instrument, recording and origin of each component."""
        rows = pd.DataFrame(tables.COMPONENTS.read(self.folder / "components.parquet"))
        return rows.loc[rows["mixture_id"].isin(self.ids), ["mixture_id", "instrument", "recording_id", "origin"]]


class WindowSet(ClipSet):
    """Decoded excerpts (each of shape (n,), 24 kHz) cut into adjacent windows of one clip; the last one is padded.

    A last window shorter than half a clip is dropped unless it is the excerpt's only one. `owner`, shape (len(self),),
    holds each window's excerpt. Labels are zeros: those of a window are unknown.
    """

    def __init__(self, excerpts: Sequence[np.ndarray]) -> None:
        self.windows: list[np.ndarray] = []
        owner: list[int] = []
        for index, samples in enumerate(excerpts):
            for start in range(0, max(samples.size, 1), audio.CLIP_SAMPLES):
                window = samples[start : start + audio.CLIP_SAMPLES]
                if start == 0 or window.size >= audio.CLIP_SAMPLES // 2:
                    self.windows.append(audio.fit(window))
                    owner.append(index)
        self.owner = np.array(owner, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        labels = torch.zeros(len(INSTRUMENTS))
        return {"samples": torch.from_numpy(self.windows[index]), "labels": labels, "index": torch.tensor(index)}

    def by_excerpt(self, scores: np.ndarray) -> np.ndarray:
        """Mean of the windows' scores, shape (len(self), 10), per excerpt, shape (excerpts, 10)."""
        sums = np.zeros((self.owner[-1] + 1, scores.shape[1]))
        np.add.at(sums, self.owner, scores)
        return sums / np.bincount(self.owner)[:, np.newaxis]
