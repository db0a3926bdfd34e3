"""Fitting a backbone to its teachers' targets with `transformers.Trainer`, resuming from the last checkpoint.

On the CPU the same seed gives the same weights for any number of data loaders and of interruptions.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import EvalPrediction, TrainerCallback

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone
from tarkib.models.mert import MertModel
from tarkib.params import Pretrain
from tarkib.pretraining.corpus import Corpus, Excerpts, split
from tarkib.pretraining.prediction import MaskedPrediction, Scores, Teachers
from tarkib.training import checkpoints, devices, processes
from tarkib.training.compute import ComputeConfig, enough_memory, say
from tarkib.training.trainer import ResumableTrainer, trainer_arguments

_EVALUATIONS = 20
_MAX_HELD_OUT_CLIPS = 64
_MAX_GRAD_NORM = 1.0
_BETAS = (0.9, 0.98)
"""Of AdamW, as in HuBERT."""


@dataclass(frozen=True)
class Pretrained:
    """The model, in evaluation mode, and its training.

    history : a dict per evaluation on held-out clips: `step`, `acoustic` (nats), `accuracy` (0 to 1), `musical`
        (squared error; 1 is the error of predicting each bin's mean).
    chance : the same scores of a prediction from the clusters' frequencies alone.
    checkpoint_folder : this training's folder, which may be deleted once the model is stored.
    """

    model: MaskedPrediction
    history: list[dict[str, float]]
    chance: dict[str, float]
    checkpoint_folder: Path


def pretrain(
    params: Pretrain,
    corpus: Corpus,
    *,
    checkpoint_root: Path,
    machine: ComputeConfig | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Pretrained:
    """Train a backbone by masked prediction on a corpus, 5 % of whose recordings are held out.

    `params.batch_size` is the number of clips on all devices together; the learning rate rises linearly over
    `warmup_fraction` of the steps, then falls linearly to 0. `checkpoint_root` is the folder of all pre-trainings'
    checkpoints; one with the same parameters, sound and `identity` (checksum of the code) is resumed. `machine` changes
    nothing but rounding.
    """
    machine, chosen = (machine or ComputeConfig()).resolve(params.batch_size)
    backbone = _start(params)
    train_recordings, held_out = split(corpus, params.seed)
    frames = backbone.config.frame_count(audio.CLIP_SAMPLES)
    train_set = Excerpts(corpus, train_recordings, params.steps * params.batch_size, frames, params)
    held_set = Excerpts(corpus, held_out, None, frames, params)
    held_set.count = min(held_set.count, _MAX_HELD_OUT_CLIPS)
    teachers = Teachers(backbone.config, params.clusters)
    sample = Excerpts(corpus, train_recordings, None, frames, params)
    # Each clip contributes a sixth of its frames, so six passes use them all.
    sample.count = min(6 * sample.count, teachers.sample_size)
    teachers.fit((sample[i] for i in range(len(sample))), params.seed)
    entropy = -float((teachers.shares * teachers.shares.log()).sum())
    chance = {"acoustic": entropy, "accuracy": float(teachers.shares.max()), "musical": 1.0}
    say(f"chance: {_text(chance)}")
    model = MaskedPrediction(backbone, teachers, seed=params.seed)
    identity = {
        **(identity or {}),
        **{f"pretrain.{name}": value for name, value in vars(params).items()},
        "sound": corpus.identity,
        "weights": checkpoints.digest(model),
    }
    with checkpoints.open_run(checkpoint_root, identity) as (folder, latest):
        build = partial(_model, params, teachers.state_dict())
        arguments = (train_set, held_set, params, folder, machine, chosen, latest)
        log = processes.run(chosen.count, model, build, _train_here, *arguments)
        model.load_state_dict(checkpoints.weights(folder, params.steps))
    history = [
        {"step": row["step"], **{name: row[f"eval_{name}"] for name in Scores._fields}}
        for row in log
        if "eval_acoustic" in row
    ]
    return Pretrained(model.eval(), history, chance, folder)


def _start(params: Pretrain) -> MertModel:
    try:
        backbone = load_backbone(params.start, seed=params.seed)
    except TarkibError as error:
        raise TarkibError(f"pretrain.start: {error}") from error
    if not isinstance(backbone, MertModel):
        raise TarkibError(f"pretrain.start: {params.start} is not a MERT; choose another, such as mert-tiny")
    return backbone


def _model(params: Pretrain, teachers_state: dict[str, torch.Tensor]) -> MaskedPrediction:
    """The untrained model, for each of several processes."""
    backbone = _start(params)
    teachers = Teachers(backbone.config, params.clusters)
    teachers.load_state_dict(teachers_state)
    return MaskedPrediction(backbone, teachers, seed=params.seed)


def _train_here(
    model: MaskedPrediction,
    train_set: Excerpts,
    held_set: Excerpts,
    params: Pretrain,
    folder: Path,
    machine: ComputeConfig,
    chosen: devices.Devices,
    latest: Path | None,
) -> list[dict[str, float]]:
    """Train to the last step, whose checkpoint stays in `folder`; returns the Trainer's log."""
    machine.set_up_checkpointing(model)
    if machine.cuda_graphs:
        say("run.cuda_graphs has no effect on a pre-training")
    arguments = trainer_arguments(
        machine,
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
        eval_steps=max(1, math.ceil(params.steps / _EVALUATIONS)),
        eval_on_start=latest is None,
        logging_strategy="no",
    )
    remedies = "set run.gradient_checkpointing to true (the same result, slower), or lower the batch size"
    with enough_memory(f"pretrain.batch_size {params.batch_size}", remedies):
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=held_set,
            callbacks=[_Progress()],
            compute_metrics=_means,
            checkpoint_steps=machine.checkpoint_steps,
            remedy="lower pretrain.learning_rate or raise pretrain.warmup_fraction",
        )
        trainer.musical_weight = params.musical_weight
        trainer.train(latest)
    return trainer.state.log_history


class _Trainer(ResumableTrainer):
    """A Trainer whose loss is the acoustic loss plus `musical_weight` times the musical one."""

    musical_weight: float

    def compute_loss(self, model: nn.Module, inputs: dict[str, torch.Tensor], *_: Any, **__: Any) -> torch.Tensor:
        """Mean over the batch's clips."""
        scores = model(inputs["samples"], inputs["distance"])
        return scores.acoustic.mean() + self.musical_weight * scores.musical.mean()

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Scores of a held-out batch, `[B, 3]`, in place of logits."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            scores = model(inputs["samples"], inputs["distance"])
        return None, torch.stack(scores, dim=1), inputs["distance"]

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        # The items are random already.
        dataset: Any = train_dataset or self.train_dataset
        return SequentialSampler(dataset)


def _means(predictions: EvalPrediction) -> dict[str, float]:
    scores: Any = predictions.predictions
    return dict(zip(Scores._fields, scores.mean(axis=0).tolist(), strict=True))


def _text(scores: Mapping[str, float]) -> str:
    return (
        f"acoustic loss {scores['acoustic']:.3f}, accuracy in masked frames {scores['accuracy']:.1%}, "
        f"musical loss {scores['musical']:.3f}"
    )


class _Progress(TrainerCallback):
    """Prints a line per evaluation."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say where it resumes."""
        self.began = time.monotonic()
        if state.global_step:
            say(f"resuming from the checkpoint of step {state.global_step} of {state.max_steps}")

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Print the line."""
        scores = {name: kwargs["metrics"][f"eval_{name}"] for name in Scores._fields}
        seconds = time.monotonic() - self.began
        say(f"step {state.global_step}/{state.max_steps}, held out: {_text(scores)} ({seconds:.0f} s)")


def card(params: Pretrain, corpus: Corpus, result: Pretrained) -> str:
    """Text of the card in Markdown: the start, the recordings, the objective and the held-out scores."""
    last, chance = result.history[-1], result.chance
    source = result.model.backbone.source
    licence = "The weights are the trainer's own, or under the licence of the directory that they started from."
    if source.get("weights_licence"):
        licence = (
            f"It started from weights under {source['weights_licence']}: no commercial use, nor of derived models."
        )
    revision = f", revision {source['revision']}" if source.get("revision") else ""
    return f"""# A pre-trained backbone

Hidden states of mono sound at 24 kHz, 75 a second, each clip normalised; no labels were used.

- **Started from**: `{params.start}`{revision}, seed {params.seed}.
- **Recordings**: {len(corpus.lengths)} recordings, {corpus.seconds / 3600:.2f} hours, 5 % of them held out; \
{params.steps} steps of {params.batch_size} clips of five seconds, {params.steps * params.batch_size / 720:.1f} hours \
in all.
- **Objective**: masked prediction (MERT, arXiv 2306.00107) of {params.clusters} clusters of log-mel frames and of \
constant-Q bins (weight {params.musical_weight:g}); about {params.mask_share:.0%} of the frames masked, in spans of \
{params.mask_frames}; learning rate {params.learning_rate:g}.
- **Held out**: acoustic loss {last["acoustic"]:.3f} (chance: {chance["acoustic"]:.3f}), accuracy in masked frames \
{last["accuracy"]:.1%} ({chance["accuracy"]:.1%}), musical loss {last["musical"]:.3f} ({chance["musical"]:.3f}).
- **Licence**: {licence}

Fine-tune from it with `model.backbone` set to this folder.
"""
