"""Training the classifier, with `transformers.Trainer`: best epoch by validation ROC-AUC, taken up again after a kill.

Conventions
-----------
A data set gives `{"samples": float32 [n], "labels": float32 [10], "index": int}` for an index; all clips of one length.
The loss is binary cross-entropy with logits, its positives weighted by `pos_weight`. On a GPU the network runs under
bfloat16 autocast, on the CPU in float32; there, the same seed gives the same weights, whatever the number of workers
and however often it was killed. With several devices each takes its share of every batch, so that the learning is that
of one, up to rounding and dropout.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from tarkib.errors import TarkibError
from tarkib.models.classifier import InstrumentClassifier
from tarkib.runtime import fingerprint
from tarkib.runtime.cache import Cache
from tarkib.training import checkpoints as kept
from tarkib.training import devices, processes
from tarkib.training.compute import ComputeConfig, enough_memory, own_generators
from tarkib.training.objective import ClassifierTrainer
from tarkib.training.pooled import PooledHead, PooledSet
from tarkib.training.prediction import predict_logits
from tarkib.training.progress import Progress, say

_TRAIN_PARAMS = (
    "seed",
    "epochs",
    "batch_size",
    "accumulate",
    "learning_rate",
    "head_learning_rate",
    "weight_decay",
    "warmup_fraction",
    "schedule",
    "max_grad_norm",
    "pos_weight",
)
_FAR_ABOVE = 1.2
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave.

    Attributes
    ----------
    model : the classifier with the weights of the best epoch, in evaluation mode.
    checkpoints : this training's folder, which may go once what it gave is stored.
    history : a dict per epoch: `epoch` (from 1), `train_loss`, `validation_loss`, `validation_roc_auc` (None where no
        class has both positives and negatives).
    best_epoch : the epoch whose weights the model has.
    best_roc_auc : its macro ROC-AUC on the validation set, or None where it was chosen by the validation loss.
    best_loss : its validation loss.
    validation_logits : of the validation set with these weights, float32 `[N, 10]`.
    seconds : of this call; a resumed training has not counted those before.
    """

    model: InstrumentClassifier
    checkpoints: Path
    history: list[dict[str, float | int | None]]
    best_epoch: int
    best_roc_auc: float | None
    best_loss: float
    validation_logits: np.ndarray
    seconds: float


def train(
    build: Callable[[], InstrumentClassifier],
    train_set: Dataset,
    validation_set: Dataset,
    params: Any,
    *,
    checkpoints: Path | str,
    cache: Cache,
    machine: ComputeConfig | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = True,
    identity: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Fit a classifier.

    The best epoch has the highest macro ROC-AUC on the validation set, over the classes that have both positives and
    negatives there; where none has, the lowest validation loss (and a line says so). Of equal ones, the first.

    Where no parameter of the backbone is trained, its pooled hidden states are found once and the head alone is
    trained, in one process (`tarkib.training.pooled`).

    Parameters
    ----------
    build : makes the classifier as it starts; called once in each process, so it must give the same each time, and be
        picklable where there are several (so must the data sets and callbacks).
    train_set : what to learn from.
    validation_set : what chooses the epoch.
    params : the `train` section of the parameters: `seed`, `epochs`, `batch_size` (of all devices together),
        `accumulate` (batches a step), `learning_rate` (rises linearly over `warmup_fraction` of the steps, then falls
        to 0 or not, as `schedule` says), `head_learning_rate` (None: the same), `weight_decay`, `max_grad_norm` (0:
        none), `pos_weight`.
    checkpoints : folder for those of all trainings; each has one of its own in it, named by what makes it the same
        training. Of its checkpoints the newest two and the best stay.
    cache : where a frozen backbone's states are kept, if `identity` names the data.
    machine : how it runs; None: as the class says.
    callbacks : of transformers; their `on_log` gets `loss`, `eval_loss` and `eval_roc_auc`.
    resume : continue from the newest whole checkpoint of the same training, bit for bit on the CPU. Of another training
        (other parameters, weights, data, code) that was cut short a line tells where it is and what differs.
    identity : what makes it the same training besides `params` and the weights at the start: the data's checksum
        (`data`), the code's.

    Raises TarkibError where a data set is empty, the loss is not finite, memory or disk are too small, there is no such
    device, or another process is at the same training.
    """
    began = time.monotonic()
    machine = machine or ComputeConfig()
    for name, data in (("training", train_set), ("validation", validation_set)):
        if len(data) == 0:
            raise TarkibError(
                f"the {name} set has no clips; raise augment.{name.replace('training', 'train')}_mixtures"
            )
    machine, chosen = machine.settle(params.batch_size)
    model = build()
    learner: Any = model
    identity = {
        **(identity or {}),
        **{f"train.{name}": getattr(params, name) for name in _TRAIN_PARAMS},
        "weights": kept.digest(model),
        "clips": [len(train_set), len(validation_set)],
    }
    with kept.open_run(Path(checkpoints), identity, resume=resume) as (folder, latest), _memory(params):
        if model.frozen:
            cache.sweep()
            sets = (("train", train_set), ("validation", validation_set))
            train_set, validation_set = (
                PooledSet(
                    model,
                    data,
                    content=fingerprint.of(identity.get("data"), identity.get("code"), split),
                    # Clips that nothing names cannot be told from others.
                    cache=cache if "data" in identity else None,
                    device=machine.devices,
                    batch_size=params.batch_size,
                    workers=machine.loaders,
                )
                for split, data in sets
            )
            learner, chosen = PooledHead(model), devices.Devices(chosen.kind, 1)
            machine = replace(machine, loaders=0, gradient_checkpointing=False, compile=False)
        fitting = (train_set, validation_set, params, folder, machine, chosen, latest, tuple(callbacks))
        log, best_step = processes.fit(chosen.count, learner, build, _fit, *fitting)
        learner.load_state_dict(kept.weights(folder, best_step))
        logits = predict_logits(learner, validation_set, params.batch_size, chosen.kind, workers=machine.loaders)
    history = _history(log)
    best = next(row for row in history if row["step"] == best_step)
    if remark := _overconfident(history, best):
        say(remark)
    return TrainingResult(
        model=model.eval(),
        checkpoints=folder,
        history=[{key: value for key, value in row.items() if key != "step"} for row in history],
        best_epoch=best["epoch"],
        best_roc_auc=best["validation_roc_auc"],
        best_loss=best["validation_loss"],
        validation_logits=logits,
        seconds=time.monotonic() - began,
    )


def _overconfident(history: list[dict[str, Any]], best: dict[str, Any]) -> str | None:
    """A remark where the best epoch's validation loss is far above the lowest.

    Then the ranking still improved while the probabilities grew too sure of themselves, as they do where there is
    little to learn from (Guo et al., On calibration of modern neural networks, ICML 2017).
    """
    least = min(history, key=lambda row: row["validation_loss"])
    if best["validation_loss"] <= _FAR_ABOVE * least["validation_loss"]:
        return None
    return (
        f"overfitting: epoch {best['epoch']} ranks best, but its validation loss is {best['validation_loss']:.2f} and "
        f"was {least['validation_loss']:.2f} in epoch {least['epoch']}, so its probabilities are too near 0 and 1; add "
        "recordings, or lower train.epochs or train.learning_rate"
    )


def _fit(
    model: torch.nn.Module,
    train_set: Dataset,
    validation_set: Dataset,
    params: Any,
    folder: Path,
    machine: ComputeConfig,
    chosen: devices.Devices,
    latest: Path | None,
    callbacks: Sequence[TrainerCallback],
) -> tuple[list[dict[str, float]], int]:
    """Train to the end; returns the Trainer's log and the best epoch's step, whose checkpoint is there."""
    steps = math.ceil(math.ceil(len(train_set) / params.batch_size) / params.accumulate) * params.epochs
    mask = getattr(getattr(model, "backbone", None), "masked_spec_embed", None)
    if mask is not None and not model.backbone.config.apply_spec_augment:
        # Nothing uses it, and several processes would wait for its gradient.
        mask.requires_grad_(False)
    machine.prepare(model)
    arguments = machine.arguments(
        folder,
        chosen,
        params.batch_size,
        seed=params.seed,
        data_seed=params.seed,
        num_train_epochs=params.epochs,
        gradient_accumulation_steps=params.accumulate,
        learning_rate=params.learning_rate,
        lr_scheduler_type=_SCHEDULES[params.schedule],
        warmup_steps=math.ceil(params.warmup_fraction * steps),
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        eval_strategy="epoch",
        logging_strategy="epoch",
        metric_for_best_model="selection",
        greater_is_better=True,
        label_names=["labels"],
    )
    with own_generators(chosen), _memory(params):
        trainer = ClassifierTrainer(
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=validation_set,
            callbacks=[Progress(), *callbacks],
            checkpoint_steps=machine.checkpoint_steps,
            names=getattr(train_set, "ids", None),
            head_learning_rate=params.head_learning_rate,
            pos_weight=params.pos_weight,
        )
        trainer.train(latest)
    return trainer.state.log_history, trainer.state.best_global_step


def _memory(params: Any) -> AbstractContextManager[None]:
    return enough_memory(
        f"train.batch_size {params.batch_size}",
        "set run.gradient_checkpointing to true (the same result, slower), lower the batch size (and raise "
        "train.accumulate as much, for the same result), or set model.finetune to lora or frozen, or "
        "model.freeze_convolutions to true",
    )


def _history(log: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The Trainer's log as a row an epoch, each with its `step`."""
    losses = {entry["step"]: entry["loss"] for entry in log if "loss" in entry}
    return [
        {
            "epoch": round(entry["epoch"]),
            "step": entry["step"],
            "train_loss": losses[entry["step"]],
            "validation_loss": entry["eval_loss"],
            "validation_roc_auc": entry.get("eval_roc_auc"),
        }
        for entry in log
        if "eval_loss" in entry
    ]
