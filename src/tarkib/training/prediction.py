"""Running a network over clips without gradients."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from tarkib.runtime import parent_watch
from tarkib.training import devices
from tarkib.vocabulary import INSTRUMENTS


def outputs(
    network: Callable[[torch.Tensor], torch.Tensor], data: Dataset, batch_size: int, device: torch.device, workers: int
) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
    """Yield each batch of a data set, in order, with the network's output for its `samples`, on `device`."""
    loader: DataLoader = DataLoader(
        data,
        batch_size,
        num_workers=workers,
        # Its own generator: a loader draws a number from the global one, needed or not.
        generator=torch.Generator(),
        worker_init_fn=parent_watch.follow_loader,
    )
    for batch in loader:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=devices.has_bfloat16(device)):
            output = network(batch["samples"].to(device, non_blocking=True))
        yield batch, output


def predict_logits(
    model: nn.Module, data: Dataset, batch_size: int, device: str = "auto", *, workers: int = 0
) -> np.ndarray:
    """Logits, float32 `[N, 10]`, of a data set in its order; leaves the model on the device, in evaluation mode.

    Parameters
    ----------
    model : maps `samples` of a batch to logits `[B, 10]`.
    data : a data set, also an iterable one, whose items hold `samples`.
    device : as in `run.devices`; a single device is used.
    workers : processes that load data; 0 loads in this one.
    """
    place = devices.first(device)
    model.to(place).eval()
    # As Python numbers: keeping a small tensor of each batch pins the memory around it (over 4,800 clips on a CPU the
    # process grew from 815 to 922 MiB; with numbers it stays at 787).
    logits: list[list[float]] = []
    for _, output in outputs(model, data, batch_size, place, workers):
        logits.extend(output.float().tolist())
    return np.array(logits, np.float32).reshape(len(logits), len(INSTRUMENTS))
