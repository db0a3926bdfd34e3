"""What pre-training hears: five seconds from anywhere in the recordings, each with the frames to be guessed.

An item is a dict of `samples`, float32 `[120000]`, and `depth`, int64 `[T]`: 0 for the frames that the model sees, for
masked ones the number of frames to the nearest that it sees. Item i depends on the seed and on i alone, so that any
number of processes gives the same.
"""

import numpy as np
import torch
from torch.utils.data import Dataset

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.models.masking import depths, spans
from tarkib.pretraining.corpus import Corpus
from tarkib.runtime.streams import Stream, generator

# What a generator is for; the second word of its seed.

_HELD_OUT_SHARE = 0.05


def split(corpus: Corpus, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the recordings to learn from and of those held out: a twentieth of them, one at least.

    Raises TarkibError where there is a single recording.
    """
    count = len(corpus.lengths)
    if count < 2:
        raise TarkibError(
            "one usable recording is not enough: another is held out to see what was learnt; cut it in two"
        )
    order = generator(seed, Stream.PRETRAIN_HELD_OUT).permutation(count)
    held = max(1, round(_HELD_OUT_SHARE * count))
    return np.sort(order[held:]), np.sort(order[:held])


class Excerpts(Dataset):
    """Random five-second clips of some of a corpus's recordings, and a mask for each.

    Every piece of sound comes once before any comes again, in an order drawn for each pass, beginning anywhere in it.

    Parameters
    ----------
    corpus : where the sound is.
    recordings : numbers of the recordings to draw from.
    count : number of items; None for one pass.
    frames : T, of a mask.
    mask_share : share of the frames that is masked, on average; above 0, below 1.
    mask_frames : length of a masked span; spans may overlap.
    seed : of everything drawn.
    """

    def __init__(
        self,
        corpus: Corpus,
        recordings: np.ndarray,
        count: int | None,
        *,
        frames: int,
        mask_share: float,
        mask_frames: int,
        seed: int,
    ) -> None:
        self.corpus, self.seed = corpus, seed
        self.frames, self.mask_frames = frames, mask_frames
        # Where each frame begins a span with probability p, (1 - p)^length of the frames stay visible.
        self.density = mask_frames * (1 - (1 - mask_share) ** (1 / mask_frames))
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
        # Near a recording's end a clip begins earlier, so that none is cut short but by a recording shorter than it.
        latest = max(0, int(self.corpus.lengths[recording]) - audio.CLIP_SAMPLES)
        start = int(self.numbers[piece]) * audio.CLIP_SAMPLES + int(rng.integers(audio.CLIP_SAMPLES))
        mask = spans(rng, 1, self.frames, self.density, self.mask_frames, 1)[0]
        return {
            "samples": torch.from_numpy(self.corpus.read(recording, min(start, latest))),
            "depth": torch.from_numpy(depths(mask)),
        }

    def _order(self, number: int) -> np.ndarray:
        """Order of the pieces in a pass over all of them."""
        if self._pass is None or self._pass[0] != number:
            rng = generator(self.seed, Stream.PRETRAIN_ORDER, number)
            self._pass = number, rng.permutation(len(self.owners))
        return self._pass[1]
