"""Training the head alone: a frozen backbone's hidden states are computed once and cached.

The head sees of a clip only its hidden states averaged over time, `[L, H]`: in half precision 50 KiB for 25 states of
1024. They are the same in every epoch, so one pass computes them, and the cache keeps them under a checksum of clips
and backbone. Further epochs, and further trainings on the same clips, cost only the head's time.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset
from tqdm import tqdm

from tarkib.models.classifier import InstrumentClassifier
from tarkib.runtime import fingerprint
from tarkib.runtime.cache import Cache
from tarkib.training import checkpoints, devices, prediction
from tarkib.training.compute import enough_memory
from tarkib.training.datasets import ClipSet
from tarkib.training.progress import say

_BLOCK = 512
"""Clips per cache entry: the most that a kill can cost."""


class PooledHead(nn.Module):
    """The part of a classifier behind its backbone; shares its parameters, takes pooled states `[B, L, H]`."""

    def __init__(self, classifier: InstrumentClassifier):
        super().__init__()
        self.layer_weights, self.head = classifier.layer_weights, classifier.head

    forward = InstrumentClassifier.classify


class PooledSet(ClipSet):
    """A data set with each item's `samples` replaced by its pooled states, float32 `[L, H]`.

    Parameters
    ----------
    classifier : its backbone computes the states; left on the CPU, in evaluation mode.
    data : the clips.
    content : checksum of the clips.
    cache : keeps the states; None: not kept.
    device : as in `run.devices`; a single device is used.
    batch_size : clips per batch.
    workers : processes that load clips.
    """

    def __init__(
        self,
        classifier: InstrumentClassifier,
        data: ClipSet,
        *,
        content: str,
        cache: Cache | None,
        device: str,
        batch_size: int,
        workers: int,
    ):
        self.ids = getattr(data, "ids", None)
        place = devices.first(device)
        precision = "bfloat16" if devices.has_bfloat16(place) else "float32"
        key = ("pooled states", content, checkpoints.digest(classifier.backbone), precision)
        classifier.to(place).eval()

        def compute(block: range) -> dict[str, np.ndarray]:
            states, labels = [], []
            subset = Subset(data, block)
            for batch, output in prediction.outputs(classifier.pooled_states, subset, batch_size, place, workers):
                states.append(output.half().cpu())
                labels.append(batch["labels"])
            return {"states": torch.cat(states).numpy(), "labels": torch.cat(labels).numpy()}

        blocks = []
        with enough_memory(f"train.batch_size {batch_size}", "lower the batch size"):
            for start in tqdm(range(0, len(data), _BLOCK), desc="hidden states", unit=f"x{_BLOCK}", disable=None):
                block = range(start, min(start + _BLOCK, len(data)))
                name = fingerprint.of(*key, block.start, block.stop)
                blocks.append(cache.get_or_make(name, functools.partial(compute, block)) if cache else compute(block))
        if cache and cache.problem:
            say(f"hidden states could not be cached ({cache.problem}); the next training must compute them again")
        classifier.cpu()
        self.states, self.labels = (np.concatenate([block[name] for block in blocks]) for name in ("states", "labels"))

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = torch.from_numpy(self.states[index]).float()
        return {"samples": samples, "labels": torch.from_numpy(self.labels[index]), "index": index}
