"""Training a head alone: what a frozen backbone gives for a clip is found once and kept.

A clip's hidden states, averaged over time, are all that the head sees of it: `[L, H]`, in half precision 50 KiB with
25 states of 1024. They are the same in every epoch, so they are computed in one pass and cached by what they depend on
(the clips and the backbone); every further epoch, and every further training on the same clips, takes the head's time
alone.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from tarkib.models.classifier import InstrumentClassifier
from tarkib.runtime import fingerprint, parent_watch
from tarkib.runtime.cache import Cache
from tarkib.training import checkpoints, devices
from tarkib.training.compute import enough_memory
from tarkib.training.progress import say

_BLOCK = 512
"""Clips an entry of the cache: what a kill can cost."""


class PooledHead(nn.Module):
    """The part of a classifier behind its backbone; shares its parameters, takes pooled states `[B, L, H]`."""

    def __init__(self, classifier: InstrumentClassifier):
        super().__init__()
        self.layer_weights, self.head = classifier.layer_weights, classifier.head

    forward = InstrumentClassifier.classify


class PooledSet(Dataset):
    """A data set with each item's `samples` replaced by its pooled states, float32 `[L, H]`.

    Parameters
    ----------
    classifier : whose backbone gives them; left on the CPU, in evaluation mode.
    data : the clips.
    content : names the clips' content, a checksum say.
    cache : where the states are kept; None: nowhere.
    device : as `run.devices` is written; one device is used.
    batch_size : clips at once.
    workers : processes that load clips.
    """

    def __init__(
        self,
        classifier: InstrumentClassifier,
        data: Dataset,
        *,
        content: str,
        cache: Cache | None,
        device: str,
        batch_size: int,
        workers: int,
    ):
        self.ids = getattr(data, "ids", None)
        place = devices.first(device)
        backbone = checkpoints.digest(classifier.backbone)
        precision = "bfloat16" if devices.has_bfloat16(place) else "float32"
        states, labels = [], []
        for start in tqdm(range(0, len(data), _BLOCK), desc="hidden states", unit=f"x{_BLOCK}", disable=None):
            end = min(start + _BLOCK, len(data))
            key = fingerprint.of("pooled states", content, backbone, precision, start, end)
            found = cache.get(key) if cache else None
            if found is None:
                loader = DataLoader(
                    Subset(data, range(start, end)),
                    batch_size,
                    num_workers=workers,
                    generator=torch.Generator(),
                    worker_init_fn=parent_watch.follow_loader,
                )
                with enough_memory(f"train.batch_size {batch_size}", "lower the batch size"):
                    found = _extract(classifier, loader, place)
                if cache:
                    cache.put(key, found)
            states.append(found["states"])
            labels.append(found["labels"])
        if cache and cache.problem:
            say(f"what the backbone gives could not be kept ({cache.problem}); the next training must find it again")
        classifier.cpu()
        self.states, self.labels = np.concatenate(states), np.concatenate(labels)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "samples": torch.from_numpy(self.states[index]).float(),
            "labels": torch.from_numpy(self.labels[index]),
            "index": index,
        }


def _extract(classifier: InstrumentClassifier, loader: DataLoader, place: torch.device) -> dict[str, np.ndarray]:
    """Pooled states, float16 `[N, L, H]`, and labels, float32 `[N, 10]`, of all clips of a loader."""
    classifier.to(place).eval()
    states, labels = [], []
    with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=devices.has_bfloat16(place)):
        for batch in loader:
            states.append(classifier.pooled_states(batch["samples"].to(place, non_blocking=True)).half().cpu())
            labels.append(batch["labels"])
    return {"states": torch.cat(states).numpy(), "labels": torch.cat(labels).numpy()}
