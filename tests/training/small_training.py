"""What the tests of training share: small clips and networks, and a training of them."""

import dataclasses
import os
import signal
import threading
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback

from tarkib.models import InstrumentClassifier
from tarkib.models.mert import MertModel
from tarkib.models.mert_config import MertConfig
from tarkib.params import Train
from tarkib.runtime.cache import Cache
from tarkib.training import checkpoints, trainer
from tarkib.training.compute import ComputeConfig
from tarkib.training.datasets import ClipSet
from tarkib.training.fitting import TrainingResult, train

CLIP = 1600


class Clips(ClipSet):
    """Short clips in which each of ten frequencies is present or absent; `labels` say which, unless given.

    The clip `spoilt` is NaN.
    """

    def __init__(self, count: int, seed: int, labels: np.ndarray | None = None, spoilt: int | None = None):
        rng = np.random.default_rng(seed)
        present = (rng.random((count, 10)) < 0.4).astype(np.float32)
        time = np.arange(CLIP) / CLIP
        tones = np.sin(2 * np.pi * np.arange(20, 220, 20)[:, None] * time)
        self.samples = (present @ tones + 0.5 * rng.standard_normal((count, CLIP))).astype(np.float32)
        if spoilt is not None:
            self.samples[spoilt] = np.nan
        self.labels = present if labels is None else labels
        self.ids = np.array([f"clip-{i}" for i in range(count)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "samples": torch.from_numpy(self.samples[index]),
            "labels": torch.from_numpy(self.labels[index]),
            "index": index,
        }


class Spectra(nn.Module):
    """The spectrum of frames, and a layer on it."""

    layer_count, hidden_size = 2, 81

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(81, 81)
        self.dropout = nn.Dropout(0.2)

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = torch.fft.rfft(samples.unflatten(1, (-1, 160))).abs() / 10
        return first, self.dropout(torch.relu(self.layer(first)))


def classifier(seed: int = 0, dropout: float = 0.1) -> InstrumentClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return InstrumentClassifier(Spectra(), head_hidden=16, head_dropout=dropout)


def mert(random: bool = True) -> InstrumentClassifier:
    """A real backbone, small, with everything in it that draws numbers, or nothing."""
    dropouts = ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout")
    config = MertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(4, 4),
        conv_kernel=(40, 19),
        conv_stride=(20, 16),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.5,
        mask_time_length=1,
        **({} if random else dict.fromkeys(dropouts, 0.0)),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = MertModel(config)
        if random:
            backbone.enable_spec_augment(0)
        return InstrumentClassifier(backbone, head_hidden=8, head_dropout=0.2 * random)


def plain_mert() -> InstrumentClassifier:
    """`mert` without anything random."""
    return mert(random=False)


def settings(**changed: object) -> Train:
    values = {"seed": 1, "epochs": 3, "batch_size": 8, "accumulate": 1, "schedule": "linear", "pos_weight": 0.8}
    rates = {"learning_rate": 5e-3, "head_learning_rate": None, "weight_decay": 0.01, "warmup_fraction": 0.1}
    return Train(**{**values, **rates, "max_grad_norm": 1.0, "label_smoothing": 0.0, "augmentation": "none", **changed})


def fit(
    model: InstrumentClassifier,
    folder: Path,
    *,
    data: ClipSet | None = None,
    validation: ClipSet | None = None,
    **options,
) -> TrainingResult:
    """Train in one process on the CPU; options are those of the parameters, of ComputeConfig and of `train`."""

    def fields(kind: type) -> dict:
        return {field.name: options.pop(field.name) for field in dataclasses.fields(kind) if field.name in options}

    return train(
        lambda: model,
        Clips(40, 1) if data is None else data,
        Clips(32, 2) if validation is None else validation,
        settings(**fields(Train)),
        checkpoint_root=folder,
        cache=Cache(folder / "cache"),
        machine=ComputeConfig(**{"devices": "cpu", **fields(ComputeConfig)}),
        **options,
    )


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """What is trained; the familiarity is computed from it at the end."""
    state = model.state_dict()
    return {key: tensor.clone() for key, tensor in state.items() if not key.startswith("familiarity.")}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first) and first.keys() == second.keys()


def wait_for_checkpoints(folder: Path) -> None:
    """Until all of a training are complete."""
    while not all(map(checkpoints._is_complete, checkpoints._checkpoints(folder))):
        os.sched_yield()


class Watch(TrainerCallback):
    """Keeps steps, learning rates, logs and the weights after each epoch.

    In step `kill` it kills the process once checkpoints are written, in step `stop` it interrupts it; from epoch
    `spoil` on it zeroes the head.
    """

    def __init__(self, spoil: int | None = None, kill: int | None = None, stop: int | None = None):
        self.after: dict[int, dict[str, torch.Tensor]] = {}
        self.steps: list[int] = []
        self.rates: list[list[float]] = []
        self.logs: list[dict[str, float]] = []
        self.spoil, self.kill, self.stop = spoil, kill, stop

    def on_step_begin(self, args, state, control, optimizer, **_):
        self.steps.append(state.global_step + 1)
        self.rates.append([group["lr"] for group in optimizer.param_groups])
        if self.steps[-1] == self.kill:
            wait_for_checkpoints(Path(args.output_dir))
            os.kill(os.getpid(), signal.SIGKILL)
        if self.steps[-1] == self.stop:
            raise KeyboardInterrupt

    def on_epoch_end(self, args, state, control, model, **_):
        if self.spoil and round(state.epoch) >= self.spoil:
            with torch.no_grad():
                nn.init.zeros_(model.head[3].weight)

    def on_evaluate(self, args, state, control, model, **_):
        self.after[round(state.epoch)] = weights(model)

    def on_log(self, args, state, control, logs, **_):
        self.logs.append(logs)


def train_until_killed(folder: Path, step: int, accumulate: int) -> None:
    """Train `mert`, and kill this process before a step."""
    torch.set_num_threads(1)
    fit(mert(), folder, epochs=3, accumulate=accumulate, checkpoint_steps=2, callbacks=[Watch(kill=step)])


def train_while_writing(folder: Path) -> None:
    """Train `mert`, write the weights of step 4 only after step 5, and kill this process before anything else."""
    save, trained = trainer.save_file, threading.Event()

    def late(weights: dict, path: Path, **options: object) -> None:
        if path.parent.name == "checkpoint-4":
            trained.wait()
        save(weights, path, **options)

    class Kill(Watch):
        def on_step_end(self, args, state, control, **_):
            if state.global_step == 5:
                trained.set()

        def on_evaluate(self, args, *others, **_):
            wait_for_checkpoints(Path(args.output_dir))
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.save_file = late
    torch.set_num_threads(1)
    fit(mert(), folder, checkpoint_steps=2, callbacks=[Kill()])
