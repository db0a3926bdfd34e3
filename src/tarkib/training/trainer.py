"""`transformers.Trainer` with exact resumption and an early end where the loss is not finite.

The classifier and the pre-training of a backbone each use a subclass of `ResumableTrainer`.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import PrinterCallback
from transformers.utils import SAFE_WEIGHTS_NAME

from tarkib.errors import TarkibError
from tarkib.runtime import parent_watch
from tarkib.runtime.text import some
from tarkib.training import checkpoints, devices
from tarkib.training.augmentation import AugmentedSet
from tarkib.training.compute import ComputeConfig, say
from tarkib.training.devices import Devices
from tarkib.training.graphs import GraphedStep, Recorder

_CHECK_EVERY = 16
"""Steps between checks of the losses: each check waits for the GPU."""


def trainer_arguments(
    machine: ComputeConfig, folder: Path, chosen: Devices, batch_size: int, **learning: Any
) -> TrainingArguments:
    """The Trainer's arguments; `batch_size` is for all devices together, `learning` are further arguments."""
    on_gpu = chosen.kind == "cuda"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size // chosen.count,
        per_device_eval_batch_size=batch_size // chosen.count,
        optim="adamw_torch_fused",
        bf16=devices.has_bfloat16(torch.device(chosen.kind)),
        use_cpu=not on_gpu,
        ddp_backend=None if chosen.count == 1 else "nccl" if on_gpu else "gloo",
        ddp_find_unused_parameters=False,
        save_strategy="epoch",
        dataloader_num_workers=machine.loaders or 0,
        dataloader_pin_memory=on_gpu,
        accelerator_config={"non_blocking": on_gpu},
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        log_level="error",
        report_to=[],
        disable_tqdm=True,
        **learning,
    )
    if arguments.n_gpu > 1:
        # Several GPUs in one process would multiply the batch.
        arguments._n_gpu = 1
    return arguments


class ResumableTrainer(Trainer):
    """A Trainer that also saves checkpoints within an epoch, and stops where the loss or a weight is not finite.

    Checkpoints are written beside the training, one at a time, from a copy in the host's memory; one is marked complete
    only once all of it is written, and a full disk leaves the one before. `compute_loss` must return the mean over the
    batch. An epoch's training loss, `loss` in the log, covers all its steps, also those before a kill. Where the
    training set's items hold `index`, errors name the failing batch's clips.

    A checkpoint is written after each epoch and every `checkpoint_steps` steps (0: not within an epoch). With a
    `recorder` a step is a CUDA graph, so `compute_loss` may not copy anything from the host. `names` are those of the
    training set's items; `remedy` ends the error of a loss that is not finite.
    """

    # Losses are means over a batch: the Trainer divides by the number of accumulated batches.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        *args: Any,
        checkpoint_steps: int = 0,
        recorder: Recorder | None = None,
        names: Sequence[Any] | None = None,
        remedy: str,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(_SaveWithinEpoch(checkpoint_steps))
        self.folder = Path(str(self.args.output_dir))
        self.names, self.remedy = names, remedy
        self._recorder, self._graph = recorder, cast(GraphedStep | None, None)
        self._norm: torch.Tensor | None = None
        # Step, loss and clips of the batches not checked yet; the sum of the epoch's losses.
        self._unchecked: list[tuple[int, torch.Tensor, torch.Tensor | None]] = []
        self._sum = torch.zeros((), dtype=torch.float64, device=self.args.device)
        # The checkpoint that is being written.
        self._writer, self._written = ThreadPoolExecutor(1, "checkpoint"), Future[None]()
        self._written.set_result(None)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train, from a checkpoint's folder on where one is given."""
        if resume_from_checkpoint is not None:
            self._sum += checkpoints.loss_sum(resume_from_checkpoint)
            resume_from_checkpoint = str(resume_from_checkpoint)
        with self._writer:
            output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._written.result()
        return output

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        loader = super()._get_dataloader(*args, **kwargs)
        loader.worker_init_fn = partial(parent_watch.end_loader_with_parent, then=loader.worker_init_fn)
        return loader

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Train on one batch, and check the losses every few steps."""
        if len(self._unchecked) >= _CHECK_EVERY:
            self._check_losses()
        if self._written.done():
            self._written.result()
        loss = self._graphed(model, inputs) if self._recorder else super().training_step(model, inputs, *args, **kwargs)
        self._sum += loss
        self._unchecked.append((self.state.global_step + 1, loss, inputs.get("index")))
        return loss

    def _graphed(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """Train on one batch, the optimiser's step included: where the Trainer makes its own, no gradient is left."""
        if self._graph is None:
            optimizer = cast(Any, self.optimizer).optimizer  # accelerate's holds torch's
            loss_of = cast(Any, partial(self.compute_loss, model))
            recorder, norm = cast(Recorder, self._recorder), self.args.max_grad_norm
            # A smaller training set is one batch.
            size = min(self.args.train_batch_size, len(cast(Sized, self.train_dataset)))
            self._graph = GraphedStep(recorder, loss_of, optimizer, norm, size)
        model.train()
        loss, self._norm = self._graph(self._prepare_inputs(inputs))
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return super()._get_grad_norm(model, grad_norm) if self._norm is None else self._norm

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the validation set."""
        self._check_losses()
        return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log with the whole epoch's loss: after a resumption the Trainer knows only the later steps."""
        if "loss" in logs:
            logs = {**logs, "loss": self._mean_of_processes() / _steps_per_epoch(self.args, self.state)}
            self._sum.zero_()
        super().log(logs, *args, **kwargs)

    def _mean_of_processes(self) -> float:
        return self.accelerator.reduce(self._sum.clone(), "mean").item()

    def _check_losses(self) -> None:
        """Raise for the first unchecked loss that is not finite."""
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        losses = torch.stack([loss for _, loss, _ in unchecked])
        end = torch.tensor([len(unchecked)], device=losses.device)
        first = torch.cat([torch.nonzero(~losses.isfinite())[:, 0], end])[:1]
        # One process's batch spoils the weights of all, so the others fail one step later.
        earliest = int(self.accelerator.gather(first).min())
        if earliest == len(unchecked):
            return
        self._end_writing()
        if first > earliest:
            self.accelerator.wait_for_everyone()
        step, loss, index = unchecked[int(first)]
        clips = ""
        if index is not None and self.names is not None:
            clips = f", clips {some([str(self.names[int(i)]) for i in index], 32)}"
        raise self._not_finite(f"the loss is not finite ({loss.item()}) at step {step}", clips)

    def _end_writing(self) -> None:
        """Wait in every process for the checkpoint that is being written: an error in one ends all."""
        self._written.exception()
        self.accelerator.wait_for_everyone()

    def _not_finite(self, problem: str, clips: str = "") -> TarkibError:
        last = checkpoints.newest(self.folder) or "none yet"
        return TarkibError(f"{problem} of {self.state.max_steps}{clips}; last good checkpoint: {last}; {self.remedy}")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Begin to write a checkpoint; raises if a loss or a weight is not finite."""
        self._check_losses()
        step, network = self.state.global_step, cast(nn.Module, self.model)
        finite = [all(tensor.isfinite().all() for tensor in network.state_dict().values())]
        if not self.accelerator.gather(torch.tensor(finite, dtype=torch.int, device=self.args.device)).all():
            self._end_writing()
            raise self._not_finite(f"weights are not finite after step {step}")
        loss_sum = self._mean_of_processes()
        self._written.result()
        # Copied before the writing, whose errors are taken for those of a full disk.
        files = self._copies(checkpoints.of_step(self.folder, step)) if self.args.should_save else []
        with self._writing(step):
            super()._save_checkpoint(model, trial)
        # The other processes write their generators' states into it.
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self._written = self._writer.submit(self._finish, files, step, self.state.best_global_step, loss_sum)

    def _finish(self, files: list[Callable[[], None]], step: int, best_step: int | None, loss_sum: float) -> None:
        """Write the large files of a checkpoint, and mark it as complete."""
        with self._writing(step):
            for write in files:
                write()
            checkpoints.finish(self.folder, step, best_step, loss_sum)

    def _copies(self, checkpoint: Path) -> list[Callable[[], None]]:
        """Functions that write the large files of a checkpoint, from copies of weights and optimiser's state."""
        try:
            weights = _on_host(cast(nn.Module, self.model).state_dict())
            state = _on_host(cast(Any, self.optimizer).state_dict())
        except RuntimeError as error:
            # Torch has no class of its own for it.
            if "can't allocate memory" not in str(error):
                raise
            raise TarkibError(
                "the machine's memory is too small for a copy of the weights and the optimiser's state; end other "
                f"programs and run again: it goes on from {self._last()} (model.finetune: lora needs a third of it)"
            ) from error
        return [
            partial(save_file, weights, checkpoint / SAFE_WEIGHTS_NAME, metadata={"format": "pt"}),
            partial(torch.save, state, checkpoint / OPTIMIZER_NAME),
        ]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Make the checkpoint's folder; `_finish` writes the weights."""
        if self.args.should_save:
            Path(str(output_dir)).mkdir(parents=True, exist_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Write the schedule; `_finish` writes the optimiser's state."""
        if self.args.should_save:
            torch.save(cast(Any, self.lr_scheduler).state_dict(), Path(output_dir) / SCHEDULER_NAME)

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        """Drop a checkpoint that cannot be written, and say so."""
        try:
            yield
        except (OSError, RuntimeError, SafetensorError) as error:
            # On a full disk some writers raise OSError, others anything.
            checkpoint = checkpoints.of_step(self.folder, step)
            if self.args.should_save:
                checkpoints.drop(checkpoint)
            raise TarkibError(
                f"{checkpoint}: cannot be written ({' '.join(str(error).split())}); make room where the disk is full, "
                f"and run again: it goes on from {self._last()}"
            ) from error

    def _last(self) -> str:
        last = checkpoints.newest(self.folder)
        return last.name if last else "the beginning"


def _on_host(values: Any) -> Any:
    """Nested dicts and lists with each tensor copied to the host's memory."""
    if isinstance(values, torch.Tensor):
        return values.detach().to("cpu", copy=True)
    if isinstance(values, dict):
        return {name: _on_host(value) for name, value in values.items()}
    return [_on_host(value) for value in values] if isinstance(values, list) else values


def _steps_per_epoch(args: Any, state: Any) -> int:
    return round(state.max_steps / args.num_train_epochs)


class _SaveWithinEpoch(TrainerCallback):
    """Requests checkpoints within an epoch; the one at its end is saved after the epoch's scores."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.steps and state.global_step % self.steps == 0 and state.global_step % _steps_per_epoch(args, state):
            control.should_save = True


class SetEpoch(TrainerCallback):
    """Tells an `AugmentedSet` the epoch, which a resumed training knows from its step; 0 after the training."""

    def __init__(self, clips: AugmentedSet):
        self.clips = clips

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clips.epoch = int(state.global_step * args.num_train_epochs // state.max_steps)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.clips.epoch = 0


class LogTo(TrainerCallback):
    """Calls `log` with what the Trainer reports, by name, and the step; in the first of several processes alone."""

    def __init__(self, log: Callable[[dict[str, Any], int], None]):
        self.log = log

    def on_log(self, args: Any, state: Any, control: Any, **values: Any) -> None:
        if state.is_world_process_zero:
            self.log(values["logs"], state.global_step)


class Progress(TrainerCallback):
    """Prints a line per epoch of a classifier's training, and shows a bar on a terminal."""

    def __init__(self) -> None:
        self.train_loss = math.nan
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        hidden = not (state.is_world_process_zero and sys.stderr.isatty())
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step", disable=hidden)
        if state.global_step:
            say(
                f"going on from the checkpoint of step {state.global_step} of {state.max_steps} "
                f"(epoch {state.epoch:g} of {args.num_train_epochs:g})"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, **values: Any) -> None:
        self.train_loss = values["logs"].get("loss", self.train_loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, **values: Any) -> None:
        metrics = values["metrics"]
        area = f", ROC-AUC {metrics['eval_roc_auc']:.4f}" if "eval_roc_auc" in metrics else ""
        say(
            f"epoch {round(state.epoch)}/{args.num_train_epochs:g}: training loss {self.train_loss:.4f}, "
            f"validation loss {metrics['eval_loss']:.4f}{area} ({time.monotonic() - self.began:.0f} s)"
        )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
