"""Fitting a backbone to what its teachers hear, with `transformers.Trainer`; a killed one goes on where it was.

On the CPU the same seed gives the same weights, whatever the number of processes that load data and however often it
was killed.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import EvalPrediction, TrainerCallback

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone
from tarkib.models.mert import MertModel, frame_count
from tarkib.pretraining.corpus import Corpus
from tarkib.pretraining.excerpts import Excerpts, split
from tarkib.pretraining.prediction import MaskedPrediction
from tarkib.pretraining.teachers import Teachers
from tarkib.training import checkpoints as kept
from tarkib.training import devices, processes
from tarkib.training.compute import ComputeConfig, enough_memory, own_generators
from tarkib.training.progress import say
from tarkib.training.trainer import ResumableTrainer

_LINES = 20
"""Times that the held-out clips are scored on the way."""

_HELD_OUT_CLIPS = 64
"""At most; fewer where the recordings held out are shorter."""

_MAX_GRAD_NORM = 1.0
_BETAS = (0.9, 0.98)
"""Of AdamW, as HuBERT has them."""


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training gave.

    Attributes
    ----------
    model : the backbone, in evaluation mode, with its heads and teachers.
    history : a dict for each time that held-out clips were scored: `step`, `acoustic` (nats), `accuracy` (0 to 1),
        `musical` (squared error, 1 for guessing each bin's mean).
    guess : the same of who knows no more than how common each cluster is.
    checkpoints : this training's folder, which may go once what it gave is stored.
    """

    model: MaskedPrediction
    history: list[dict[str, float]]
    guess: dict[str, float]
    checkpoints: Path


def pretrain(
    params: Any,
    corpus: Corpus,
    *,
    checkpoints: Path | str,
    machine: ComputeConfig | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Pretrained:
    """Carry a backbone on, or start one, by masked prediction on a corpus; a line tells of each twentieth of the way.

    Parameters
    ----------
    params : the `pretrain` section of the parameters: `seed`, `start`, `steps`, `batch_size` (clips, of all devices
        together), `learning_rate` (rises linearly over `warmup_fraction` of the steps, then falls to 0),
        `weight_decay`, `clusters`, `mask_share` and `mask_frames`, `musical_weight`.
    corpus : what is heard. A twentieth of its recordings is held out.
    checkpoints : folder for those of all pre-trainings.
    machine : how it runs, which changes nothing but rounding; None: as the class says.
    identity : what makes it the same pre-training besides the parameters and the sound: the code's checksum.

    Raises TarkibError where the start cannot be loaded or is no MERT, there is too little to hear, the loss is not
    finite, memory or disk are too small, or there is no such device.
    """
    machine, chosen = (machine or ComputeConfig()).settle(params.batch_size)
    backbone = _start(params)
    learn_from, held_out = split(corpus, params.seed)
    drawn = partial(
        Excerpts,
        corpus,
        frames=frame_count(backbone.config, audio.CLIP_SAMPLES),
        mask_share=params.mask_share,
        mask_frames=params.mask_frames,
    )
    train_set = drawn(learn_from, params.steps * params.batch_size, seed=params.seed)
    held_set = drawn(held_out, None, seed=params.seed)
    held_set.count = min(held_set.count, _HELD_OUT_CLIPS)
    teachers = Teachers(backbone.config, params.clusters)
    taught = drawn(learn_from, None, seed=params.seed)
    # Each clip gives a sixth of its frames, so that after six passes there is nothing new.
    taught.count = min(6 * taught.count, teachers.sample_size)
    teachers.fit(taught, params.seed)
    entropy = -float((teachers.shares * teachers.shares.log()).sum())
    guess = {"acoustic": entropy, "accuracy": float(teachers.shares.max()), "musical": 1.0}
    say(_line("a guess that hears nothing", guess))
    model = MaskedPrediction(backbone, teachers, seed=params.seed)
    identity = {
        **(identity or {}),
        **{f"pretrain.{name}": value for name, value in vars(params).items()},
        "sound": corpus.identity,
        "weights": kept.digest(model),
    }
    with kept.open_run(Path(checkpoints), identity) as (folder, latest):
        build = partial(_model, params, teachers.state_dict())
        fitting = (train_set, held_set, params, folder, machine, chosen, latest)
        log = processes.fit(chosen.count, model, build, _fit, *fitting)
        model.load_state_dict(kept.weights(folder, params.steps))
    names = ("acoustic", "accuracy", "musical")
    history = [
        {"step": row["step"], **{name: row[f"eval_{name}"] for name in names}} for row in log if "eval_acoustic" in row
    ]
    return Pretrained(model.eval(), history, guess, folder)


def _start(params: Any) -> MertModel:
    try:
        backbone = load_backbone(params.start, seed=params.seed)
    except TarkibError as error:
        raise TarkibError(f"pretrain.start: {error}") from error
    if not isinstance(backbone, MertModel):
        raise TarkibError(f"pretrain.start: {params.start} is no MERT, which alone is pre-trained here; try mert-tiny")
    return backbone


def _model(params: Any, taught: dict[str, torch.Tensor]) -> MaskedPrediction:
    """The model as it starts, in each of several processes."""
    backbone = _start(params)
    teachers = Teachers(backbone.config, params.clusters)
    teachers.load_state_dict(taught)
    return MaskedPrediction(backbone, teachers, seed=params.seed)


def _fit(
    model: MaskedPrediction,
    train_set: Dataset,
    held_set: Dataset,
    params: Any,
    folder: Path,
    machine: ComputeConfig,
    chosen: devices.Devices,
    latest: Path | None,
) -> list[dict[str, float]]:
    """Train to the end, whose checkpoint is there; returns the Trainer's log."""
    machine.prepare(model)
    arguments = machine.arguments(
        folder,
        chosen,
        params.batch_size,
        seed=params.seed,
        max_steps=params.steps,
        num_train_epochs=1,
        learning_rate=params.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(params.warmup_fraction * params.steps),
        weight_decay=params.weight_decay,
        max_grad_norm=_MAX_GRAD_NORM,
        adam_beta1=_BETAS[0],
        adam_beta2=_BETAS[1],
        eval_strategy="steps",
        eval_steps=max(1, math.ceil(params.steps / _LINES)),
        eval_on_start=latest is None,
        logging_strategy="no",
    )
    remedies = "set run.gradient_checkpointing to true (the same result, slower), or lower the batch size"
    memory = enough_memory(f"pretrain.batch_size {params.batch_size}", remedies)
    with own_generators(chosen), memory:
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=held_set,
            callbacks=[_Progress()],
            checkpoint_steps=machine.checkpoint_steps,
            musical_weight=params.musical_weight,
        )
        trainer.train(latest)
    return trainer.state.log_history


class _Trainer(ResumableTrainer):
    """Both teachers' losses in one: the acoustic one, and the musical one times its weight."""

    def __init__(self, *args: Any, musical_weight: float, **kwargs: Any):
        remedy = "lower pretrain.learning_rate or raise pretrain.warmup_fraction"
        super().__init__(*args, compute_metrics=_scores, remedy=remedy, **kwargs)
        self.musical_weight = musical_weight

    def compute_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """Mean over the batch's clips."""
        guess = model(inputs["samples"], inputs["depth"])
        return guess.acoustic.mean() + self.musical_weight * guess.musical.mean()

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """How well a held-out batch was guessed, in the place of logits, `[B, 3]`."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            guess = model(inputs["samples"], inputs["depth"])
        return None, torch.stack(guess, dim=1), inputs["depth"]

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        # The items are drawn at random already, by their numbers.
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)


def _scores(predictions: EvalPrediction) -> dict[str, float]:
    """Means over the held-out clips."""
    means: Sequence[float] = predictions.predictions.mean(axis=0).tolist()
    return dict(zip(("acoustic", "accuracy", "musical"), means, strict=True))


def _line(what: str, scores: Mapping[str, float]) -> str:
    return (
        f"{what}: acoustic loss {scores['acoustic']:.3f}, of the masked frames {scores['accuracy']:.1%} right, "
        f"musical loss {scores['musical']:.3f}"
    )


class _Progress(TrainerCallback):
    """A line for each time that the held-out clips were scored."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say where it goes on."""
        if state.global_step:
            say(f"going on from the checkpoint of step {state.global_step} of {state.max_steps}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Print the line."""
        scores = {name.removeprefix("eval_"): value for name, value in metrics.items()}
        what = f"step {state.global_step}/{state.max_steps}, held out"
        say(f"{_line(what, scores)} ({time.monotonic() - self.began:.0f} s)")
