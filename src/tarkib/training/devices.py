"""Where networks run: what `run.devices` asks for, and what this machine has.

`auto` means every GPU of this machine, else the CPU; `cpu` or `cuda` one device; `cuda x 4` or `cpu x 2` that many
processes, each with its share of every batch. CUDA_VISIBLE_DEVICES selects among the GPUs. If a launcher such as
torchrun has started several processes, on one machine or more, a training has one device for each of them.
"""

import os
from dataclasses import dataclass

import torch

from tarkib.errors import TarkibError
from tarkib.params import DEVICES


@dataclass(frozen=True)
class Devices:
    """`count` devices of one kind, `cpu` or `cuda`; `local_count` of them are in this machine. Each has a process."""

    kind: str
    count: int

    @property
    def local_count(self) -> int:
        return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else self.count


def launched() -> bool:
    """Whether a launcher has started this process and others beside it."""
    return "LOCAL_WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def choose(text: str, batch_size: int | None = None) -> Devices:
    """The devices that `run.devices` names.

    With `batch_size`, `auto` uses as many GPUs as divide the batch, and another count must divide it. Without it the
    result is a single device. Raises TarkibError for unknown text, missing devices and batches that cannot be split.
    """
    match = DEVICES.fullmatch(text)
    if not match and text != "auto":
        raise TarkibError(f"run.devices: {text!r} is unknown; choose auto, cpu, cuda, or a number of them: cuda x 4")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if match:
        kind, count = match[1], int(match[2] or 1)
    else:
        kind = "cuda" if gpus else "cpu"
        count = max((n for n in range(1, gpus + 1) if batch_size is None or batch_size % n == 0), default=1)
    if batch_size is not None and launched():
        return _launched(text, kind, gpus, batch_size)
    if kind == "cuda" and count > gpus:
        raise TarkibError(f"run.devices: {text}, but torch finds {_counted(gpus)} here; set it to auto or cpu")
    if batch_size is None:
        return Devices(kind, 1)
    if batch_size % count:
        raise TarkibError(f"run.devices: {text}, but batch_size is {batch_size}; make it a multiple of {count}")
    return Devices(kind, count)


def _launched(text: str, kind: str, gpus: int, batch_size: int) -> Devices:
    """As many devices as the launcher has started processes."""
    chosen = Devices(kind, int(os.environ["WORLD_SIZE"]))
    if text not in ("auto", kind, f"{kind} x {chosen.count}"):
        raise TarkibError(f"run.devices: {text}, but the launcher has started {chosen.count} processes; set it to auto")
    if kind == "cuda" and chosen.local_count > gpus:
        raise TarkibError(
            f"the launcher has started {chosen.local_count} processes here, where torch finds {_counted(gpus)}"
        )
    if batch_size % chosen.count:
        raise TarkibError(f"batch_size is {batch_size}; make it a multiple of the launcher's {chosen.count} processes")
    return chosen


def _counted(gpus: int) -> str:
    return f"{gpus or 'no'} GPU{'s' * (gpus > 1)}"


def single(text: str) -> torch.device:
    """The single device to predict on; raises as `choose` does."""
    return torch.device(choose(text).kind)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 natively; GPUs from before 2020 train in float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
