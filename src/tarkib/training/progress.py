"""Progress of a training: a line per epoch, and a bar on a terminal."""

import math
import os
import sys
import time
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback


def say(line: str) -> None:
    """Print a line to stdout without breaking a progress bar; of several training processes only the first prints."""
    if os.environ.get("RANK", "0") == "0":
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


class Progress(TrainerCallback):
    """Prints a line per epoch, and shows a bar on a terminal."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.train_loss = math.nan
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step")
        if state.global_step:
            say(
                f"going on from the checkpoint of step {state.global_step} of {state.max_steps} "
                f"(epoch {state.epoch:g} of {args.num_train_epochs:g})"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.bar is not None:
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
        if self.bar is not None:
            self.bar.close()
