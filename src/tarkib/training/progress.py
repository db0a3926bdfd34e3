"""What a training tells: a line an epoch, and on a terminal a bar below it."""

import math
import os
import sys
import time
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainingArguments


def say(line: str) -> None:
    """Print a line through tqdm, so that a bar on the terminal stays whole; to stdout, where a log has it.

    Of the processes of one training the first one tells.
    """
    if int(os.environ.get("RANK", "0")) != 0:
        return
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


class Progress(TrainerCallback):
    """A line an epoch, and on a terminal a bar; of several processes the first one tells."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.train_loss = math.nan
        self.began = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Start the bar."""
        if not state.is_world_process_zero:
            return
        if sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step")
        if state.global_step:
            say(
                f"going on from the checkpoint of step {state.global_step} of {state.max_steps} "
                f"(epoch {state.epoch:g} of {args.num_train_epochs:g})"
            )

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Note the epoch's training loss."""
        self.train_loss = logs.get("loss", self.train_loss)

    def on_evaluate(
        self, args: TrainingArguments, state: Any, control: Any, metrics: dict[str, float], **_: Any
    ) -> None:
        """Print the epoch's line."""
        if not state.is_world_process_zero:
            return
        area = f", ROC-AUC {metrics['eval_roc_auc']:.4f}" if "eval_roc_auc" in metrics else ""
        say(
            f"epoch {round(state.epoch)}/{args.num_train_epochs:g}: training loss {self.train_loss:.4f}, "
            f"validation loss {metrics['eval_loss']:.4f}{area} ({time.monotonic() - self.began:.0f} s)"
        )

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()
