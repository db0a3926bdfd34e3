"""The items of pre-training: five seconds from anywhere in the recordings, each with a mask of frames to predict.

An item is a dict of `samples`, float32 `[120000]`, and `depth`, int64 `[T]`: 0 for visible frames, for masked ones the
number of frames to the nearest visible one. Item i depends on the seed and i alone, not on the number of processes.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.models.mert import spans
from tarkib.params import Pretrain
from tarkib.pretraining.corpus import Corpus
from tarkib.runtime.streams import Stream, generator

_HELD_OUT_SHARE = 0.05


def split(corpus: Corpus, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the recordings to train on and of those held out: 5 %, at least one.

    Raises TarkibError if there is a single recording.
    """
    count = len(corpus.lengths)
    if count < 2:
        raise TarkibError(
            "one usable recording is not enough, since another is held out for validation; add recordings or cut it "
            "in two"
        )
    order = generator(seed, Stream.PRETRAIN_HELD_OUT).permutation(count)
    held = max(1, round(_HELD_OUT_SHARE * count))
    return np.sort(order[held:]), np.sort(order[:held])


class Excerpts(Dataset):
    """Random five-second clips of some of a corpus's recordings, and a mask for each.

    A pass draws one clip per piece of sound, in random order, each beginning anywhere in its piece.

    Parameters
    ----------
    corpus : the sound.
    recordings : indices of the recordings to draw from.
    count : number of items; None for one pass.
    frames : T, the length of a mask.
    params : `seed`; `mask_share`, the average share of masked frames; `mask_frames`, the length of a span (spans may
        overlap).
    """

    def __init__(
        self, corpus: Corpus, recordings: np.ndarray, count: int | None, frames: int, params: Pretrain
    ) -> None:
        self.corpus, self.frames, self.seed, self.span = corpus, frames, params.seed, params.mask_frames
        # If each frame begins a span with probability p, (1 - p)^length of the frames stay visible.
        self.density = self.span * (1 - (1 - params.mask_share) ** (1 / self.span))
        pieces = -(-corpus.lengths[recordings] // audio.CLIP_SAMPLES)
        self.owners = np.repeat(recordings, pieces)
        self.numbers = np.concatenate([np.arange(n) for n in pieces])
        self.count = len(self.owners) if count is None else count
        self._pass: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index >= self.count:
            raise IndexError(index)
        rng = generator(self.seed, Stream.PRETRAIN_EXCERPT, index)
        piece = self._order(index // len(self.owners))[index % len(self.owners)]
        recording = int(self.owners[piece])
        # Near a recording's end a clip begins earlier: only a recording shorter than a clip is padded.
        latest = max(0, int(self.corpus.lengths[recording]) - audio.CLIP_SAMPLES)
        start = int(self.numbers[piece]) * audio.CLIP_SAMPLES + int(rng.integers(audio.CLIP_SAMPLES))
        mask = spans(rng, 1, self.frames, self.density, self.span, 1)[0]
        return {
            "samples": torch.from_numpy(self.corpus.read(recording, min(start, latest))),
            "depth": torch.from_numpy(depths(mask)),
        }

    def _order(self, number: int) -> np.ndarray:
        """The order of the pieces in a pass; the last one is kept."""
        if self._pass is None or self._pass[0] != number:
            rng = generator(self.seed, Stream.PRETRAIN_ORDER, number)
            self._pass = number, rng.permutation(len(self.owners))
        return self._pass[1]


def depths(mask: np.ndarray) -> np.ndarray:
    """Distance of each frame of a mask, bool `[T]`, to the nearest visible one, int64 `[T]`; T if none is visible.

    >>> depths(np.array([True, True, False, True, True, True, False]))
    array([2, 1, 0, 1, 2, 1, 0])
    """
    distances = np.abs(np.arange(len(mask))[:, None] - np.flatnonzero(~mask))
    return distances.min(axis=1, initial=len(mask))
