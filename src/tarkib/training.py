"""Training the classifier, with `transformers.Trainer`: best epoch by validation ROC-AUC, resumed after a kill.

Conventions
-----------
A data set gives `{"samples": float32 [n], "labels": float32 [10]}` for an index; all clips of one length. The loss is
binary cross-entropy with logits, its positives weighted by `pos_weight`. On a GPU the network runs under bfloat16
autocast, on the CPU in float32; there, the same seed gives the same weights, whatever the number of workers.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from tarkib import checkpoints as kept
from tarkib.errors import TarkibError
from tarkib.evaluation import metrics
from tarkib.models.classifier import InstrumentClassifier

_TRAIN_PARAMS = (
    "seed",
    "epochs",
    "batch_size",
    "accumulate",
    "learning_rate",
    "head_learning_rate",
    "weight_decay",
    "warmup_fraction",
    "max_grad_norm",
    "pos_weight",
)


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave.

    Attributes
    ----------
    history : a dict per epoch: `epoch` (from 1), `train_loss`, `validation_loss`, `validation_roc_auc` (None where no
        class has both positives and negatives).
    best_epoch : the epoch whose weights the model now has.
    best_roc_auc : its macro ROC-AUC on the validation set, or None where it was chosen by the validation loss.
    best_loss : its validation loss.
    validation_logits : of the validation set with these weights, float32 `[N, 10]`.
    seconds : of this call; a resumed training has not counted those before.
    """

    history: list[dict[str, float | int | None]]
    best_epoch: int
    best_roc_auc: float | None
    best_loss: float
    validation_logits: np.ndarray
    seconds: float


def train(
    model: InstrumentClassifier,
    train_set: Dataset,
    validation_set: Dataset,
    params: Any,
    *,
    checkpoints: Path | str,
    device: str = "auto",
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = True,
    workers: int = 0,
    identity: str = "",
) -> TrainingResult:
    """Fit a classifier; it is left holding the weights of the best epoch.

    The best epoch has the highest macro ROC-AUC on the validation set, over the classes that have both positives and
    negatives there; where none has, the lowest validation loss (and a line says so). Of equal ones, the first.

    Parameters
    ----------
    model : as `models.build` made it.
    train_set : what to learn from.
    validation_set : what chooses the epoch.
    params : the `train` section of the parameters: `seed`, `epochs`, `batch_size`, `accumulate` (batches a step),
        `learning_rate` (after a linear warm-up over `warmup_fraction` of the steps it falls linearly to 0),
        `head_learning_rate` (None: the same), `weight_decay`, `max_grad_norm` (0: none), `pos_weight`.
    checkpoints : a folder of this training's own. Each epoch leaves a checkpoint; the newest two and the best stay.
    device : `auto`, `cpu` or `cuda`.
    callbacks : of transformers; their `on_log` gets `loss`, `eval_loss` and `eval_roc_auc`.
    resume : continue from the newest complete checkpoint of the same training, bit for bit on the CPU. Checkpoints
        of any other training (other parameters, weights, data) are deleted.
    workers : processes that load data; 0 loads in this one.
    identity : names the data, a checksum say; part of what makes it the same training.

    Raises TarkibError where a data set is empty, the loss is not finite, the GPU's memory is too small, or there is no
    such device.
    """
    began = time.monotonic()
    for name, data in (("training", train_set), ("validation", validation_set)):
        if len(data) == 0:
            raise TarkibError(
                f"the {name} set has no clips; raise augment.{name.replace('training', 'train')}_mixtures"
            )
    place = _device(device)
    on_gpu = place.type == "cuda"
    checkpoints = Path(checkpoints)
    known = {name: getattr(params, name) for name in _TRAIN_PARAMS}
    sizes = (len(train_set), len(validation_set))
    latest = kept.prepare(checkpoints, kept.identify(model, known, sizes, identity), resume)
    steps = math.ceil(math.ceil(len(train_set) / params.batch_size) / params.accumulate) * params.epochs
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        seed=params.seed,
        data_seed=params.seed,
        num_train_epochs=params.epochs,
        per_device_train_batch_size=params.batch_size,
        per_device_eval_batch_size=params.batch_size,
        gradient_accumulation_steps=params.accumulate,
        learning_rate=params.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(params.warmup_fraction * steps),
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        bf16=_has_bfloat16(place),
        use_cpu=not on_gpu,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="epoch",
        metric_for_best_model="selection",
        greater_is_better=True,
        dataloader_num_workers=workers,
        dataloader_pin_memory=on_gpu,
        label_names=["labels"],
        remove_unused_columns=False,
        logging_nan_inf_filter=False,
        log_level="error",
        report_to=[],
        disable_tqdm=True,
    )
    if arguments.n_gpu > 1:
        # Several GPUs in one process would multiply the batch size, and their threads record no hidden states.
        arguments._n_gpu = 1
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=train_set,
            eval_dataset=validation_set,
            compute_metrics=_Metrics(params.pos_weight),
            callbacks=[_Progress(), kept.Keep(), *callbacks],
            head_learning_rate=params.head_learning_rate,
            pos_weight=params.pos_weight,
        )
        trainer.remove_callback(PrinterCallback)
        try:
            trainer.train(resume_from_checkpoint=str(latest) if latest else None)
        except torch.OutOfMemoryError as error:
            raise TarkibError(
                f"the GPU's memory is too small for train.batch_size {params.batch_size}: lower it (and raise "
                "train.accumulate as much, for the same result), or set model.finetune to lora or frozen, or "
                "model.freeze_convolutions to true"
            ) from error
    best_step = trainer.state.best_global_step
    model.load_state_dict(kept.weights(checkpoints, best_step))
    history = _history(trainer.state.log_history)
    best = next(row for row in history if row["step"] == best_step)
    return TrainingResult(
        history=[{key: value for key, value in row.items() if key != "step"} for row in history],
        best_epoch=best["epoch"],
        best_roc_auc=best["validation_roc_auc"],
        best_loss=best["validation_loss"],
        validation_logits=predict_logits(model, validation_set, params.batch_size, device, workers=workers),
        seconds=time.monotonic() - began,
    )


def predict_logits(
    model: nn.Module, data: Dataset | DataLoader, batch_size: int, device: str = "auto", *, workers: int = 0
) -> np.ndarray:
    """Logits, float32 `[N, 10]`, of a data set in its order; the model is left on the device, in evaluation mode."""
    place = _device(device)
    loader = data
    if not isinstance(data, DataLoader):
        # A generator of its own: a loader draws a number from the global one, needed or not.
        loader = DataLoader(data, batch_size=batch_size, num_workers=workers, generator=torch.Generator())
    model.to(place).eval()
    logits = []
    with torch.inference_mode(), torch.autocast(place.type, dtype=torch.bfloat16, enabled=_has_bfloat16(place)):
        for batch in loader:
            logits.append(model(batch["samples"].to(place, non_blocking=True)).float().cpu())
    return torch.cat(logits).numpy() if logits else np.zeros((0, 10), dtype=np.float32)


class _Trainer(Trainer):
    """The loss of many labels at once, two learning rates, and an end to a training whose loss is not finite."""

    # A mean over the batch: the Trainer divides by the number of accumulated batches.
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, head_learning_rate: float | None, pos_weight: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.head_learning_rate = head_learning_rate
        self.pos_weight = torch.tensor(float(pos_weight), device=self.args.device)
        self._loss: tuple[int, torch.Tensor] | None = None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW; biases, norms and layer weights do not decay, the head may have a learning rate of its own."""
        if self.optimizer is None:
            decaying = set(self.get_decay_parameter_names(self.model)) - {"layer_weights"}
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    in_head = not name.startswith("backbone.")
                    groups.setdefault((in_head, name in decaying), []).append(parameter)
            rates = {False: self.args.learning_rate, True: self.head_learning_rate or self.args.learning_rate}
            optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = optimizer_class(
                [
                    {
                        "params": parameters,
                        "lr": rates[in_head],
                        "weight_decay": self.args.weight_decay if decays else 0.0,
                    }
                    for (in_head, decays), parameters in groups.items()
                ],
                **settings,
            )
        return self.optimizer

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        """Binary cross-entropy over all labels."""
        logits = model(inputs["samples"]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, inputs["labels"], pos_weight=self.pos_weight)
        return (loss, logits) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, torch.Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss, logits and labels of a validation batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, logits = self.compute_loss(model, inputs, return_outputs=True)
        return loss, logits, inputs["labels"]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One batch, forward and backward; first the loss of the batch before is looked at."""
        self._check_loss()
        loss = super().training_step(*args, **kwargs)
        self._loss = (self.state.global_step + 1, loss)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the validation set."""
        self._check_loss()
        return super().evaluate(*args, **kwargs)

    def _check_loss(self) -> None:
        # A batch late, when a GPU has long finished it: looking at once would make it wait for us at every step.
        if self._loss is not None and not math.isfinite(self._loss[1].item()):
            raise TarkibError(
                f"the loss is not finite ({self._loss[1].item()}) at step {self._loss[0]} of {self.state.max_steps}; "
                "lower train.learning_rate (and train.head_learning_rate), raise train.warmup_fraction or set "
                "train.max_grad_norm to 1"
            )


class _Metrics:
    """Validation metrics of an epoch: `roc_auc` where it is defined, and `selection`, the greater the better."""

    def __init__(self, pos_weight: float):
        self.pos_weight = torch.tensor(float(pos_weight))
        self.told = False

    def __call__(self, predictions: EvalPrediction) -> dict[str, float]:
        logits, labels = predictions.predictions, predictions.label_ids
        if not np.isfinite(logits).all():
            raise TarkibError("the network's outputs are not finite; lower train.learning_rate")
        area = float(metrics.roc_auc_macro(labels, expit(logits.astype(np.float64))))
        if not math.isnan(area):
            return {"roc_auc": area, "selection": area}
        if not self.told:
            self.told = True
            _say("no class has both positives and negatives in the validation set: the lowest loss chooses the epoch")
        loss = nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(logits), torch.from_numpy(labels), pos_weight=self.pos_weight
        )
        return {"selection": -float(loss)}


class _Progress(TrainerCallback):
    """A line an epoch, and on a terminal a bar below it."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.train_loss = math.nan
        self.began = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Start the bar."""
        if sys.stderr.isatty():
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="train", unit="step")
        if state.global_step:
            _say(f"resumed after epoch {round(state.epoch)} of {args.num_train_epochs:g}")

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
        area = f", ROC-AUC {metrics['eval_roc_auc']:.4f}" if "eval_roc_auc" in metrics else ""
        _say(
            f"epoch {round(state.epoch)}/{args.num_train_epochs:g}: training loss {self.train_loss:.4f}, "
            f"validation loss {metrics['eval_loss']:.4f}{area} ({time.monotonic() - self.began:.0f} s)"
        )

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()


def _say(line: str) -> None:
    # Through tqdm, so that a bar on the terminal stays whole; to stdout, where a log has it.
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def _device(name: str) -> torch.device:
    """The device of that name; TarkibError where it is unknown or absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise TarkibError(f"run.devices: {name!r} is unknown; choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TarkibError("run.devices: cuda, but torch finds no GPU here; set it to auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself; a GPU from before 2020 trains in float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


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
