"""Where the networks run: what `run.devices` asks for, and what this machine has.

It is written `auto` (every GPU of this machine, else the CPU), `cpu` or `cuda` (one of them), or `cuda x 4` and
`cpu x 2` (so many processes, each with its share of every batch). CUDA_VISIBLE_DEVICES chooses among the GPUs.
"""

from dataclasses import dataclass

import torch

from tarkib.errors import TarkibError
from tarkib.params import DEVICES


@dataclass(frozen=True)
class Devices:
    """One or more devices of a kind: `cpu` or `cuda`, and in how many processes."""

    kind: str
    count: int


def choose(text: str, batch_size: int | None = None) -> Devices:
    """The devices that `run.devices` names.

    Parameters
    ----------
    text : as the module describes it.
    batch_size : clips that are shared out; `auto` takes as many GPUs as divide it, another count must. None: one
        device is wanted, whatever is named.

    Raises TarkibError where the text is unknown, the devices are not there, or the batch cannot be shared out.
    """
    found = DEVICES.fullmatch(text)
    if not found and text != "auto":
        raise TarkibError(f"run.devices: {text!r} is unknown; choose auto, cpu, cuda, or a number of them: cuda x 4")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        count = max((n for n in range(1, here + 1) if batch_size is None or batch_size % n == 0), default=1)
        chosen = Devices("cuda" if here else "cpu", count)
    else:
        chosen = Devices(found[1], int(found[2] or 1))
        if chosen.kind == "cuda" and chosen.count > here:
            there = f"torch finds {here} GPUs here" if here else "torch finds no GPU here"
            raise TarkibError(f"run.devices: {text}, but {there}; set it to auto or cpu")
    if batch_size is None:
        return Devices(chosen.kind, 1)
    if batch_size % chosen.count:
        raise TarkibError(
            f"run.devices: {text}, but a batch_size of {batch_size} cannot be shared out evenly; "
            f"make it a multiple of {chosen.count}"
        )
    return chosen


def first(text: str) -> torch.device:
    """The one device on which to predict; raises as `choose` does."""
    return torch.device(choose(text).kind)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself; a GPU from before 2020 trains in float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
