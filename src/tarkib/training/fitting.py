"""Training a classifier: the best epoch by validation ROC-AUC, resumed after a kill.

The network runs under bfloat16 autocast on a GPU that has it, else in float32. On the CPU equal seeds give equal
weights, for any number of loader processes and however often the training was killed. Several devices share every
batch, so they learn what one would learn, up to rounding and dropout.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Subset
from transformers import EvalPrediction, TrainerCallback

from tarkib import models
from tarkib.errors import TarkibError
from tarkib.evaluation import metrics
from tarkib.models.classifier import InstrumentClassifier
from tarkib.models.familiarity import Familiarity
from tarkib.params import Model, Run, Train
from tarkib.runtime import fingerprint, project
from tarkib.runtime.cache import Cache
from tarkib.training import augmentation, checkpoints, compute, devices, graphs, processes
from tarkib.training.augmentation import AugmentedSet
from tarkib.training.compute import ComputeConfig, enough_memory, say
from tarkib.training.datasets import ClipSet
from tarkib.training.devices import Devices
from tarkib.training.pooled import PooledHead, PooledSet
from tarkib.training.prediction import predict
from tarkib.training.trainer import Progress, ResumableTrainer, SetEpoch, trainer_arguments

_OVERFITTING_RATIO = 1.2
"""Ratio of the best epoch's validation loss to the lowest one from which a line warns of overfitting."""

_FAMILIARITY_CLIPS = 512
"""About so many training clips are used to fit `Familiarity`."""

_REMEDY = "lower train.learning_rate and train.head_learning_rate, or raise train.warmup_fraction"
_LESS_MEMORY = (
    "set run.gradient_checkpointing to true (the same result, slower), lower the batch size (and raise "
    "train.accumulate as much, for the same result), or set model.finetune to lora or frozen, or "
    "model.freeze_convolutions to true"
)
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class TrainingResult:
    """The classifier with the weights of the best epoch, in evaluation mode, and how it was trained.

    `checkpoint_folder` is this training's folder: delete it once the result is stored. `history` has a dict per epoch:
    `epoch` (from 1), `train_loss`, `validation_loss`, `validation_roc_auc` (None where no class has both positives and
    negatives). `validation_logits`, float32 `[N, 10]`, are of the validation set with the model's weights.
    """

    model: InstrumentClassifier
    checkpoint_folder: Path
    history: list[dict[str, Any]]
    best_epoch: int
    validation_logits: np.ndarray

    @property
    def best_roc_auc(self) -> float | None:
        """Macro ROC-AUC on the validation set; None where the validation loss chose the epoch."""
        return self.history[self.best_epoch - 1]["validation_roc_auc"]


def identity_of(data: str, model: Model) -> dict[str, Any]:
    """What defines a training besides the section `train`: checksums of data and code, and the section `model`."""
    return {
        "data": data,
        "code": project.code_of("train"),
        **{f"model.{name}": value for name, value in vars(model).items()},
    }


def train_in_project(
    model: Model,
    params: Train,
    run: Run,
    train_set: ClipSet,
    validation_set: ClipSet,
    identity: Mapping[str, Any],
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Call `train` with three sections of params.yaml and the project's folders of checkpoints and hidden states."""
    return train(
        partial(models.build, model, seed=params.seed),
        train_set,
        validation_set,
        params,
        checkpoint_root=project.cache("training"),
        cache=Cache(project.cache("hidden_states")),
        machine=ComputeConfig.of(run),
        callbacks=callbacks,
        identity=identity,
    )


def train(
    build: Callable[[], InstrumentClassifier],
    train_set: ClipSet,
    validation_set: ClipSet,
    params: Train,
    *,
    checkpoint_root: Path,
    cache: Cache,
    machine: ComputeConfig,
    callbacks: Sequence[TrainerCallback] = (),
    identity: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Fit a classifier.

    The best epoch has the highest macro ROC-AUC on the validation set, over the classes with both positives and
    negatives there. If no class has both, it has the lowest validation loss. Of equal epochs the first is taken. If the
    backbone is frozen, only the head is trained, in one process (`tarkib.training.pooled`).

    Parameters
    ----------
    build : makes the untrained classifier, the same each time; called once in each process. With several processes it,
        the data sets and the callbacks must be picklable.
    params : `batch_size` is that of all devices together.
    checkpoint_root : the folder in which each training has a folder of checkpoints. A training resumes from its newest
        complete checkpoint; on the CPU the result is then the same bit for bit.
    cache : holds the hidden states of a frozen backbone, if `identity` has `data`.
    callbacks : their `on_log` gets `loss`, `eval_loss` and `eval_roc_auc`.
    identity : checksums that define the training besides `params` and the initial weights: `data`, `code`.

    Raises TarkibError where the loss is not finite, memory or disk are too small, a device is missing, or another
    process runs the same training.
    """
    machine, chosen = machine.resolve(params.batch_size)
    model = build()
    if model.frozen and devices.launched():
        raise TarkibError(
            "model.finetune: frozen trains the head alone, in one process; run the train stage without a launcher"
        )
    network: Any = model
    identity = {
        **(identity or {}),
        **{f"train.{name}": value for name, value in vars(params).items()},
        "weights": checkpoints.digest(model),
        "clips": [len(train_set), len(validation_set)],
    }
    train_set = augmentation.augmented_set(train_set, params.augmentation, params.seed)
    with checkpoints.open_run(checkpoint_root, identity) as (folder, latest):
        if model.frozen:
            pooled: list[ClipSet] = []
            for split, clips in (("train", train_set), ("validation", validation_set)):
                content = None
                if "data" in identity:
                    drawn = clips.content if isinstance(clips, AugmentedSet) else ()
                    content = fingerprint.of(identity["data"], identity.get("code"), split, *drawn)
                size = params.batch_size
                pooled.append(PooledSet(model, clips, content=content, cache=cache, machine=machine, batch_size=size))
            train_set, validation_set = pooled
            network, chosen = PooledHead(model), Devices(chosen.kind, 1)
            machine = replace(machine, loaders=0, gradient_checkpointing=False)
        arguments = (train_set, validation_set, params, folder, machine, chosen, latest, tuple(callbacks))
        # A head alone is too small for several threads: on a busy machine they wait for each other ten times as long.
        with compute.threads(1) if model.frozen else nullcontext():
            log, best_step = processes.run(chosen.count, network, build, _train_here, *arguments)
        network.load_state_dict(checkpoints.weights(folder, best_step))
        sample = Subset(train_set, range(0, len(train_set), max(1, len(train_set) // _FAMILIARITY_CLIPS)))
        sampled, states = (
            predict(network, clips, params.batch_size, chosen.kind, output=network.states, workers=machine.loaders or 0)
            for clips in (sample, validation_set)
        )
        with torch.inference_mode():
            logits = network.cpu().head(torch.from_numpy(states)).numpy()
        model.familiarity = Familiarity.fitted(sampled, states)
    history = _history(log)
    best_epoch = 1 + [row.pop("step") for row in history].index(best_step)
    _warn_of_overfitting(history, best_epoch)
    return TrainingResult(model.eval(), folder, history, best_epoch, logits)


def _train_here(
    model: nn.Module,
    train_set: ClipSet,
    validation_set: ClipSet,
    params: Train,
    folder: Path,
    machine: ComputeConfig,
    chosen: Devices,
    latest: Path | None,
    callbacks: Sequence[TrainerCallback],
) -> tuple[list[dict[str, float]], int | None]:
    """Train to the end; returns the Trainer's log and the step of the best epoch, which has a checkpoint."""
    steps = math.ceil(math.ceil(len(train_set) / params.batch_size) / params.accumulate) * params.epochs
    backbone: Any = getattr(model, "backbone", None)
    mask = getattr(backbone, "masked_spec_embed", None)
    if mask is not None and not backbone.config.apply_spec_augment:
        # It is unused, and several processes would wait for its gradient.
        mask.requires_grad_(False)
    machine.set_up_checkpointing(model)
    arguments = trainer_arguments(
        machine,
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
    set_epoch = [SetEpoch(train_set)] if isinstance(train_set, AugmentedSet) else []
    with enough_memory(f"train.batch_size {params.batch_size}", _LESS_MEMORY):
        trainer = _ClassifierTrainer(
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=validation_set,
            callbacks=[Progress(), *set_epoch, *callbacks],
            checkpoint_steps=machine.checkpoint_steps,
            recorder=graphs.recorder(machine, chosen, params.accumulate, model),
            names=train_set.ids,
            params=params,
        )
        trainer.train(latest)
    return trainer.state.log_history, trainer.state.best_global_step


class _ClassifierTrainer(ResumableTrainer):
    """Fits a network that maps `samples` to logits, by binary cross-entropy over all labels."""

    def __init__(self, *args: Any, params: Train, **kwargs: Any):
        super().__init__(*args, compute_metrics=self._scores, remedy=_REMEDY, **kwargs)
        self.params = params
        self._warned = False

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW without decay of biases, norms and layer weights, and with the head's own learning rate."""
        if self.optimizer is None:
            network: Any = self.model
            decaying = set(self.get_decay_parameter_names(network)) - {"layer_weights"}
            rates = {True: self.args.learning_rate, False: self.params.head_learning_rate or self.args.learning_rate}
            groups: dict[tuple[bool, bool], dict[str, Any]] = {}
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    in_backbone, decay = name.startswith("backbone."), self.args.weight_decay * (name in decaying)
                    empty = {"params": [], "lr": rates[in_backbone], "weight_decay": decay}
                    groups.setdefault((in_backbone, name in decaying), empty)["params"].append(parameter)
            optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args, network)
            self.optimizer = optimizer_class(list(groups.values()), **settings)
        return self.optimizer

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Binary cross-entropy, its positives weighted by `pos_weight`, averaged over clips and labels.

        Label smoothing s turns the labels 0 and 1 into s / 2 and 1 - s / 2 (Szegedy et al., Rethinking the Inception
        architecture, CVPR 2016, section 7, for two classes).
        """
        logits = model(inputs["samples"]).float()
        smoothing = self.params.label_smoothing
        labels = inputs["labels"] * (1 - smoothing) + smoothing / 2
        return self._cross_entropy(logits, labels)

    def _cross_entropy(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        # Created on the device: a CUDA graph may not copy from the host.
        pos_weight = torch.full((), float(self.params.pos_weight), device=logits.device)
        return binary_cross_entropy_with_logits(logits, labels, pos_weight=pos_weight)

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """(None in place of the loss, logits, labels) of a validation batch; logits and labels are `[B, 10]`."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            return None, model(inputs["samples"]).float(), inputs["labels"]

    def _scores(self, predictions: EvalPrediction) -> dict[str, float]:
        """An epoch's `loss` over all clips at once, `roc_auc` where defined, and `selection`: greater is better."""
        logits, labels = np.asarray(predictions.predictions), np.asarray(predictions.label_ids)
        if not np.isfinite(logits).all():
            raise TarkibError("the network's outputs are not finite; lower train.learning_rate")
        loss = float(self._cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
        area = float(metrics.roc_auc_macro(labels, expit(logits.astype(np.float64))))
        if not math.isnan(area):
            return {"loss": loss, "roc_auc": area, "selection": area}
        if not self._warned:
            self._warned = True
            say("no class has both positives and negatives in validation: the epoch with the lowest loss is taken")
        return {"loss": loss, "selection": -loss}


def _history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per epoch from the Trainer's log, with the step that ends it."""
    losses = {entry["step"]: entry["loss"] for entry in log if "loss" in entry}
    return [
        {
            "epoch": round(entry["epoch"]),
            "train_loss": losses[entry["step"]],
            "validation_loss": entry["eval_loss"],
            "validation_roc_auc": entry.get("eval_roc_auc"),
            "step": entry["step"],
        }
        for entry in log
        if "eval_loss" in entry
    ]


def _warn_of_overfitting(history: list[dict[str, Any]], best_epoch: int) -> None:
    """Print a line where the best epoch's validation loss is far above the lowest.

    The ranking still improved while the probabilities became overconfident, as with too little training data (Guo et
    al., On calibration of modern neural networks, ICML 2017).
    """
    loss = history[best_epoch - 1]["validation_loss"]
    lowest = min(history, key=lambda row: row["validation_loss"])
    if loss > _OVERFITTING_RATIO * lowest["validation_loss"]:
        say(
            f"overfitting: epoch {best_epoch} ranks best, but its validation loss is {loss:.2f} and was "
            f"{lowest['validation_loss']:.2f} in epoch {lowest['epoch']}, so its probabilities are too near 0 and 1; "
            "add recordings, or lower train.epochs or train.learning_rate"
        )
