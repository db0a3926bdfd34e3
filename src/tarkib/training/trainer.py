"""`transformers.Trainer`, so that no training is lost and none goes on with numbers that are no numbers.

The classifier and a backbone on music without labels are each trained by a subclass of `ResumableTrainer`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from tarkib.errors import TarkibError
from tarkib.runtime import parent_watch
from tarkib.training import checkpoints

_LOOK_EVERY = 16
"""Steps between two looks at the losses: to look is to wait until a GPU has come so far."""

_SHOWN = 32


class ResumableTrainer(Trainer):
    """A Trainer with checkpoints in the middle of an epoch, and an end to a training whose loss is not finite.

    A checkpoint is marked only when all of it is there; a disk without room leaves the one before. Losses are mean
    values of a batch (`compute_loss` must give such), and an epoch's training loss, `loss` in the log, is that of all
    its steps, those before a kill included.

    Items of the training set may hold `index`, their number in it, by which a failing batch's clips are named.

    Parameters
    ----------
    checkpoint_steps : steps between two checkpoints, besides the one at an epoch's end; 0: none but that.
    names : of the training set's items, for errors.
    remedy : the end of the error that tells of a loss that is not finite.
    """

    # A mean over the batch: the Trainer divides by the number of accumulated batches.
    loss_is_scaled_for_ga = False

    def __init__(
        self, *args: Any, checkpoint_steps: int = 0, names: Sequence[str] | None = None, remedy: str, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)
        self.add_callback(_EverySteps(checkpoint_steps))
        self.names, self.remedy = names, remedy
        # Step, loss and items of the batches that have not been looked at yet; the sum of the epoch's losses.
        self._pending: list[tuple[int, torch.Tensor, torch.Tensor | None]] = []
        self._sum = torch.zeros((), dtype=torch.float64, device=self.args.device)

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return Path(self.args.output_dir)

    def train(self, resume_from_checkpoint: Path | None = None, **kwargs: Any) -> Any:
        """Train, from a checkpoint on where one is given."""
        if resume_from_checkpoint is not None:
            self._sum += checkpoints.notes(resume_from_checkpoint).get("loss_sum", 0.0)
        return super().train(
            resume_from_checkpoint=str(resume_from_checkpoint) if resume_from_checkpoint else None, **kwargs
        )

    def get_train_dataloader(self) -> DataLoader:
        """Batches of the training set."""
        return _followed(super().get_train_dataloader())

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        """Batches of the validation set."""
        return _followed(super().get_eval_dataloader(*args, **kwargs))

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """One batch, forward and backward; every few steps the losses are looked at."""
        if len(self._pending) >= _LOOK_EVERY:
            self._check_losses()
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._sum += loss
        self._pending.append((self.state.global_step + 1, loss, inputs.get("index")))
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the validation set."""
        self._check_losses()
        return super().evaluate(*args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log; the loss is that of the whole epoch, of which the Trainer knows only what came after a kill."""
        if "loss" in logs:
            logs = {**logs, "loss": self._mean_of_processes() / _steps_an_epoch(self.args, self.state)}
            self._sum.zero_()
        super().log(logs, *args, **kwargs)

    def _mean_of_processes(self) -> float:
        """The sum of losses so far, averaged over the processes."""
        return self.accelerator.reduce(self._sum.clone(), "mean").item()

    def _check_losses(self) -> None:
        """End where one of the last losses is not finite, with the first of them."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        losses = torch.stack([loss for _, loss, _ in pending])
        wrong = torch.cat([torch.nonzero(~losses.isfinite())[:, 0], torch.tensor([len(pending)], device=losses.device)])
        first = int(wrong[0])
        # One process's batch spoils the weights of all, so the others fail a step later.
        earliest = int(self.accelerator.gather(wrong[:1]).min())
        if earliest == len(pending):
            return
        if first > earliest:
            self.accelerator.wait_for_everyone()
        step, loss, index = pending[first]
        raise self._not_finite(f"the loss is not finite ({loss.item()}) at step {step}", index)

    def _not_finite(self, what: str, index: torch.Tensor | None = None) -> TarkibError:
        clips = ""
        if index is not None and self.names is not None:
            named = [str(self.names[int(i)]) for i in index]
            more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
            clips = f", clips {', '.join(named[:_SHOWN])}{more}"
        last = checkpoints.newest(self.folder)
        kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        return TarkibError(f"{what} of {self.state.max_steps}{clips}; {kept}; {self.remedy}")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint whole or not at all, of a network that is sound."""
        self._check_losses()
        step = self.state.global_step
        if not all(tensor.isfinite().all() for tensor in self.model.state_dict().values()):
            raise self._not_finite(f"weights are not finite after step {step}")
        loss_sum = self._mean_of_processes()
        try:
            super()._save_checkpoint(model, trial)
            # The other processes have put their generators' states there.
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.finish(self.folder, step, self.state.best_global_step, {"loss_sum": loss_sum})
        except (OSError, RuntimeError, SafetensorError) as error:
            # A disk without room is an OSError to some writers of these files and anything to the others.
            if self.args.should_save:
                checkpoints.drop(checkpoints.of_step(self.folder, step))
            last = checkpoints.newest(self.folder)
            raise TarkibError(
                f"{checkpoints.of_step(self.folder, step)}: cannot be written ({' '.join(str(error).split())}); "
                "make room where the disk is full, and run again: it goes on from "
                f"{last.name if last else 'the beginning'}"
            ) from error


def _followed(loader: DataLoader) -> DataLoader:
    """The same loader, whose workers end with this process."""
    loader.worker_init_fn = partial(parent_watch.follow_loader, then=loader.worker_init_fn)
    return loader


def _steps_an_epoch(args: Any, state: Any) -> int:
    return round(state.max_steps / args.num_train_epochs)


class _EverySteps(TrainerCallback):
    """Asks for checkpoints in the middle of an epoch."""

    def __init__(self, steps: int):
        self.steps = steps

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask for one where it is due; the end of an epoch has one of its own, after the scores that belong to it."""
        if self.steps and state.global_step % self.steps == 0 and state.global_step % _steps_an_epoch(args, state):
            control.should_save = True
