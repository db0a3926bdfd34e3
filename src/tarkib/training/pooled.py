"""The hidden states of a frozen backbone, computed once.

The head gets a clip's L hidden states averaged over time, `[L, H]`: 50 KiB in half precision for L = 25 and H = 1024.
They are cached, so later epochs, and trainings on the same clips, run the head alone.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Subset

from tarkib.models.classifier import InstrumentClassifier
from tarkib.runtime import fingerprint
from tarkib.runtime.cache import Cache
from tarkib.runtime.progress import progress
from tarkib.training import checkpoints, devices
from tarkib.training.compute import ComputeConfig, enough_memory, say
from tarkib.training.datasets import ClipSet
from tarkib.training.prediction import outputs

_BLOCK = 512
"""Clips per cache entry; a killed process loses at most one entry."""


class PooledHead(nn.Module):
    """The part of a classifier behind its backbone; shares its parameters, takes pooled states `[B, L, H]`."""

    def __init__(self, classifier: InstrumentClassifier):
        super().__init__()
        self.layer_weights, self.head = classifier.layer_weights, classifier.head

    states: Any = InstrumentClassifier.mix_layers

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits `[B, 10]`."""
        return self.head(self.states(pooled))


class PooledSet(ClipSet):
    """A data set with each item's `samples` replaced by its pooled states, float32 `[L, H]`.

    The backbone of `classifier`, which is left on the CPU in evaluation mode, computes them. `content` is a checksum of
    the clips; None: unknown, so the states are not cached.
    """

    def __init__(
        self,
        classifier: InstrumentClassifier,
        clips: ClipSet,
        *,
        content: str | None,
        cache: Cache,
        machine: ComputeConfig,
        batch_size: int,
    ):
        self.ids = clips.ids
        device, workers = devices.single(machine.devices), machine.loaders or 0
        precision = "bfloat16" if devices.has_bfloat16(device) else "float32"
        key = ("pooled states", content, checkpoints.digest(classifier.backbone), precision)
        classifier.to(device).eval()

        def compute(block: range) -> dict[str, np.ndarray]:
            states, labels = [], []
            for batch, output in outputs(classifier.pooled_states, Subset(clips, block), batch_size, device, workers):
                states.append(output.half().cpu())
                labels.append(batch["labels"])
            return {"states": torch.cat(states).numpy(), "labels": torch.cat(labels).numpy()}

        def made(block: range) -> dict[str, np.ndarray]:
            name = fingerprint.of(*key, block.start, block.stop)
            return cache.get_or_make(name, partial(compute, block)) if content else compute(block)

        ranges = [range(start, min(start + _BLOCK, len(clips))) for start in range(0, len(clips), _BLOCK)]
        with enough_memory(f"train.batch_size {batch_size}", "lower the batch size"):
            say(f"running the frozen backbone over {len(clips):,} clips, once: its output is cached")
            blocks = list(progress(map(made, ranges), len(ranges), "frozen backbone"))
        if cache.problem:
            say(f"hidden states could not be cached ({cache.problem}); the next training must compute them again")
        classifier.cpu()
        self.states, self.labels = (np.concatenate([block[name] for block in blocks]) for name in ("states", "labels"))

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = torch.from_numpy(self.states[index]).float()
        return {"samples": samples, "labels": torch.from_numpy(self.labels[index]), "index": index}
