"""What bfloat16 costs in accuracy, and what its casts cost in memory traffic; on the CPU.

    python -m benchmarks.precision    # a quarter of an hour on one core; prints, and writes into docs/performance.md

Trains `mert-tiny` on the demo's mixtures (make repro), with its convolutions as a GPU computes them, and counts the
bytes that a training step of MERT-v1-330M reads and writes, with tensors that have shapes and no content.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import loops, tables
from tarkib import models, params
from tarkib.models import InstrumentClassifier
from tarkib.models.mert import MertModel
from tarkib.models.mert_config import MertConfig
from tarkib.models.mert_layers import LayerNorm
from tarkib.runtime import project
from tarkib.training.datasets import MixtureSet

DOCUMENT = Path("docs/performance.md")
STEPS, BATCH, SEEDS = 200, 8, (1, 2, 3)

_PART = 50  # steps whose losses are averaged
_WARM_UP = 20
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::clone")


def _autocast() -> AbstractContextManager:
    return torch.autocast("cpu", torch.bfloat16)


def _torchs_norms() -> AbstractContextManager:
    """Let layer norms compute as torch's autocast lets them on a GPU: in single precision."""

    def forward(norm: nn.LayerNorm, frames: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", enabled=False):
            return functional.layer_norm(frames.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    return patch.object(LayerNorm, "forward", forward)


WAYS: dict[str, tuple[Callable[[], AbstractContextManager], Callable[[], AbstractContextManager]]] = {
    "float32": (nullcontext, nullcontext),
    "bfloat16, norms in float32 (torch's autocast)": (_torchs_norms, _autocast),
    "**bfloat16, norms too**": (nullcontext, _autocast),
}
"""What holds for a whole training, and for each forward pass."""


def losses(way: str, seed: int) -> np.ndarray:
    """Training losses of `STEPS` steps on the demo's mixtures; the seed decides the head's start and the batches."""
    settings = params.load()
    chosen = dataclasses.replace(settings.model, backbone="mert-tiny", finetune="full")
    clips = MixtureSet(project.MIXTURES, "train")
    classifier = models.build(chosen, seed=seed).train()
    whole, forward = WAYS[way]
    classifier.backbone.feature_extractor.products = forward is _autocast
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=settings.train.learning_rate)
    rng, found = np.random.default_rng(seed), []
    torch.manual_seed(seed)
    with whole():
        for step in range(STEPS):
            batch = [clips[i] for i in rng.choice(len(clips), BATCH, replace=False)]
            samples, labels = (torch.stack([item[key] for item in batch]) for key in ("samples", "labels"))
            optimizer.param_groups[0]["lr"] = settings.train.learning_rate * min(1.0, (step + 1) / _WARM_UP)
            with forward():
                logits = classifier(samples)
            loss = binary_cross_entropy_with_logits(logits.float(), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(classifier.parameters(), settings.train.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
    return np.array(found)


class _Traffic(TorchDispatchMode):
    """Counts operations and the bytes that they read and write, by kind."""

    def __init__(self, weights: set[torch.Size]) -> None:
        super().__init__()
        self.weights, self.count, self.size = weights, Counter[str](), Counter[str]()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = function(*args, **(kwargs or {}))
        name = function._schema.name
        tensors = [one for one in (*args, *(given if isinstance(given, tuple) else [given])) if torch.is_tensor(one)]
        kind = ""
        if name in _COPIES and len({tensor.dtype for tensor in tensors}) > 1:
            kind = "casts of weights and their gradients" if given.shape in self.weights else "casts of activations"
        elif "layer_norm" in name:
            kind = "layer norms"
        elif name in ("aten::add", "aten::add_"):
            kind = "sums of two tensors"
        if kind:
            self.count[kind] += 1
            self.size[kind] += sum(tensor.nbytes for tensor in tensors)
        return given


def traffic(way: str) -> _Traffic:
    """Operations of a forward and a backward pass of the paper's setting; weights are those of its shapes."""
    whole, forward = WAYS[way]
    with FakeTensorMode(allow_non_fake_inputs=True), whole():
        backbone = MertModel(MertConfig(**loops.PAPER.config))
        backbone.feature_extractor.products = True
        classifier = InstrumentClassifier(
            backbone, head_hidden=loops.HEAD_HIDDEN, head_dropout=loops.HEAD_DROPOUT
        ).train()
        shapes = [parameter.shape for parameter in classifier.parameters()]
        with _Traffic({*shapes, *(shape[::-1] for shape in shapes)}) as counted:
            with forward():
                logits = classifier(torch.zeros(loops.HEADLINE.batch, loops.PAPER.samples, dtype=torch.int16))
            binary_cross_entropy_with_logits(logits.float(), torch.zeros(logits.shape)).backward()
    return counted


def main() -> None:
    """Count, train, print, and put the tables into the document."""
    torch.set_num_threads(1)
    counts = {way: traffic(way) for way in WAYS if way != "float32"}
    kinds = list(dict.fromkeys(kind for counted in counts.values() for kind in counted.count))
    rows = [
        [kind, *(f"{one.size[kind] / 1e9:.1f} GB in {one.count[kind]}" for one in counts.values())] for kind in kinds
    ]
    parts = [f"steps {start + 1} to {start + _PART}" for start in range(0, STEPS, _PART)]
    curves = []
    for way in WAYS:
        found = np.array([losses(way, seed) for seed in SEEDS]).reshape(len(SEEDS), -1, _PART).mean(axis=2)
        curves.append([way, *(", ".join(f"{loss:.4f}" for loss in part) for part in found.T)])
        print(curves[-1], flush=True)
    text = "\n\n".join(
        [
            f"Counted, and trained with seeds {', '.join(map(str, SEEDS))}, by `python -m benchmarks.precision` on one "
            f"core of {tables.machine()}, torch {torch.__version__.split('+')[0]}.",
            tables.markdown(["read and written in operations of a step", *counts], rows),
            tables.markdown(["mean training loss, a figure a seed", *parts], curves),
        ]
    )
    print(text)
    tables.fill(DOCUMENT, "precision", text)


if __name__ == "__main__":
    main()
