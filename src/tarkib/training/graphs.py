"""A training step as one CUDA graph: the host starts all of its kernels at once instead of one by one.

The first steps run eagerly, to set up what cannot be set up while recording; so does each step on a batch of another
size, such as an epoch's last one. A graph reads and writes fixed places in the GPU's memory, so each batch and the
learning rates are copied there.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.training.compute import ComputeConfig, say
from tarkib.training.devices import Devices

_EAGER_STEPS = 3

Batch = Mapping[str, torch.Tensor]


class StepResult(NamedTuple):
    """A batch's loss, and the norm of the gradients before clipping; both of shape ()."""

    loss: torch.Tensor
    norm: torch.Tensor


class Recorder:
    """Runs functions on a CUDA stream of its own, and records one there as a graph."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()

    def run(self, function: Callable[[], StepResult]) -> StepResult:
        """Call a function."""
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            made = function()
        torch.cuda.synchronize()
        return made

    def record(self, function: Callable[[], StepResult]) -> tuple[Callable[[], None], StepResult]:
        """Record a function without computing; returns what replays it, and the tensors that each replay overwrites."""
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as the one that pins batches, may call CUDA meanwhile.
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            made = function()
        return graph.replay, made


class GraphedStep:
    """A step (forward, backward, clipping, optimiser) on a batch that is on the device.

    Batches of `batch_size` clips replay the graph. TarkibError where CUDA cannot record it.
    """

    def __init__(
        self,
        recorder: Recorder,
        loss_of: Callable[[Batch], torch.Tensor],
        optimizer: torch.optim.Optimizer,
        max_norm: float,
        batch_size: int,
    ) -> None:
        self._recorder, self._loss_of, self._optimizer = recorder, loss_of, optimizer
        self._max_norm, self._batch_size = max_norm or math.inf, batch_size
        self._eager_steps = 0
        self._batch: dict[str, torch.Tensor] = {}
        self._rates: list[torch.Tensor] = []
        self._graph: tuple[Callable[[], None], StepResult] | None = None

    def __call__(self, batch: Batch) -> StepResult:
        """Train on a batch; the optimiser's gradients are None before and after."""
        if self._eager_steps < _EAGER_STEPS:
            self._eager_steps += 1
            return self._recorder.run(lambda: self._step(batch))
        if any(len(tensor) != self._batch_size for tensor in batch.values()):
            return self._step(batch)
        if self._graph is None:
            self._graph = self._record_step(batch)
        for name, tensor in batch.items():
            self._batch[name].copy_(tensor)
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
        replay, made = self._graph
        replay()
        return StepResult(made.loss.clone(), made.norm.clone())

    def _record_step(self, batch: Batch) -> tuple[Callable[[], None], StepResult]:
        self._batch = {name: tensor.clone() for name, tensor in batch.items()}
        groups = self._optimizer.param_groups
        self._rates = [torch.full((), float(group["lr"]), device=group["params"][0].device) for group in groups]

        def step() -> StepResult:
            with _learning_rates_in_tensors(groups, self._rates):
                return self._step(self._batch)

        try:
            return self._recorder.record(step)
        except RuntimeError as error:
            # An error in the step makes the end of the recording fail, too; the first one is the cause.
            cause = str(error.__context__ or error).strip().partition("\n")[0]
            # Torch's random generator is left unusable: the training cannot go on here.
            raise TarkibError(
                f"run.cuda_graphs: CUDA cannot record the step ({cause}); set it to false and run again: the training "
                "goes on from the last checkpoint"
            ) from error

    def _step(self, batch: Batch) -> StepResult:
        loss = self._loss_of(batch)
        loss.backward()
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._max_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return StepResult(loss.detach(), norm)


def obstacle(machine: ComputeConfig, chosen: Devices, accumulate: int, model: Any) -> str:
    """Why the steps of a training cannot be a CUDA graph; empty if they can."""
    config = getattr(getattr(model, "backbone", None), "config", None)
    reasons = {
        "it needs a GPU": chosen.kind != "cuda",
        "it needs a single GPU": chosen.count > 1,
        "train.accumulate is not 1": accumulate > 1,
        "run.gradient_checkpointing is true": machine.gradient_checkpointing,
        "model.spec_augment is true": getattr(config, "apply_spec_augment", False),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def recorder(machine: ComputeConfig, chosen: Devices, accumulate: int, model: Any) -> Recorder | None:
    """A recorder if `run.cuda_graphs` is true and the steps can be a graph, else None; prints why they cannot."""
    if not machine.cuda_graphs:
        return None
    if reason := obstacle(machine, chosen, accumulate, model):
        say(f"run.cuda_graphs has no effect: {reason}")
        return None
    return Recorder()


@contextmanager
def _learning_rates_in_tensors(groups: Sequence[dict[str, Any]], rates: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within the block the optimiser reads its learning rates from tensors; afterwards they are numbers again."""
    before = [{name: group[name] for name in ("lr", "capturable")} for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group.update(lr=rate, capturable=True)
    try:
        yield
    finally:
        for group, values in zip(groups, before, strict=True):
            group.update(values)
