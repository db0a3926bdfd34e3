"""What the classifier learns by: binary cross-entropy of all labels at once, and two learning rates."""

import math
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch import nn
from transformers import EvalPrediction

from tarkib.errors import TarkibError
from tarkib.evaluation import metrics
from tarkib.training.progress import say
from tarkib.training.trainer import ResumableTrainer


class ClassifierTrainer(ResumableTrainer):
    """Fits a module that gives logits of `samples`.

    Parameters
    ----------
    head_learning_rate : of all that is not the backbone's; None: the same.
    pos_weight : of the positives in the loss.
    """

    def __init__(self, *args: Any, head_learning_rate: float | None, pos_weight: float, **kwargs: Any):
        super().__init__(
            *args,
            compute_metrics=_Validation(pos_weight),
            remedy="lower train.learning_rate (and train.head_learning_rate), raise train.warmup_fraction or set "
            "train.max_grad_norm to 1",
            **kwargs,
        )
        self.head_learning_rate = head_learning_rate
        self.pos_weight = torch.tensor(float(pos_weight), device=self.args.device)

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
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Logits and labels of a validation batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(inputs["samples"]).float()
        return None, logits, inputs["labels"]


class _Validation:
    """Scores of an epoch: `loss`, `roc_auc` where it is defined, and `selection`, the greater the better.

    The loss is that of all clips at once, so that it does not depend on how they were dealt out in batches.
    """

    def __init__(self, pos_weight: float):
        self.pos_weight = torch.tensor(float(pos_weight))
        self.told = False

    def __call__(self, predictions: EvalPrediction) -> dict[str, float]:
        logits, labels = predictions.predictions, predictions.label_ids
        if not np.isfinite(logits).all():
            raise TarkibError("the network's outputs are not finite; lower train.learning_rate")
        loss = float(
            nn.functional.binary_cross_entropy_with_logits(
                torch.from_numpy(logits), torch.from_numpy(labels), pos_weight=self.pos_weight
            )
        )
        area = float(metrics.roc_auc_macro(labels, expit(logits.astype(np.float64))))
        if not math.isnan(area):
            return {"loss": loss, "roc_auc": area, "selection": area}
        if not self.told:
            self.told = True
            say("no class has both positives and negatives in the validation set: the lowest loss chooses the epoch")
        return {"loss": loss, "selection": -loss}
