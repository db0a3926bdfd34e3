"""The whole of a training for `benchmarks.training`: clips from shards, loaders, Trainer, validation, checkpoints.

The clips are noise, which FLAC makes no smaller.
"""

import contextlib
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from benchmarks.loops import HEAD_DROPOUT, HEAD_HIDDEN, LEARNING_RATE, MAX_GRAD_NORM, POS_WEIGHT, Setting, Shape
from tarkib.audio.clips import ClipStore, Places, shard_name, write_shard
from tarkib.models import InstrumentClassifier
from tarkib.models.mert import MertConfig, MertModel
from tarkib.params import Train
from tarkib.runtime.cache import Cache
from tarkib.training.compute import ComputeConfig
from tarkib.training.datasets import ClipSet
from tarkib.training.fitting import train
from tarkib.vocabulary import INSTRUMENTS

_EPOCHS = 2  # of which the second is timed
_VALIDATION = 16  # times as many clips are trained on


class _Noise(ClipSet):
    """Clips of noise in a shard, with labels at random."""

    def __init__(self, folder: Path, count: int, samples: int) -> None:
        folder.mkdir()
        rng = np.random.default_rng(1)
        sounds = ((f"clip-{i}", 0.1 * rng.standard_normal(samples, dtype=np.float32)) for i in range(count))
        self.places = Places(place._asdict() for place in write_shard(folder / shard_name(0), sounds))
        self.store = ClipStore(folder)
        self.labels = (rng.random((count, len(INSTRUMENTS))) < 0.3).astype(np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = torch.from_numpy(self.store.read(self.places[index], dtype="int16"))
        return {"samples": samples, "labels": torch.from_numpy(self.labels[index]), "index": torch.tensor(index)}


class _Clock(TrainerCallback):
    """When each epoch's checkpoint was begun: its scores are known by then."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_save(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())


def step_s(setting: Setting, shape: Shape, device: torch.device, steps: int) -> float:
    """Seconds that a step takes in an epoch, whose validation and checkpoint count too."""
    clock, count = _Clock(), steps * setting.batch
    # The table alone goes to the standard output.
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        folder = Path(name)
        train(
            partial(_classifier, shape),
            _Noise(folder / "train", count, shape.samples),
            _Noise(folder / "validation", max(1, count // _VALIDATION), shape.samples),
            Train(
                seed=1,
                epochs=_EPOCHS,
                batch_size=setting.batch,
                accumulate=1,
                learning_rate=LEARNING_RATE,
                head_learning_rate=None,
                weight_decay=0.01,
                warmup_fraction=0.1,
                schedule="linear",
                max_grad_norm=MAX_GRAD_NORM,
                pos_weight=POS_WEIGHT,
                label_smoothing=0.0,
                augmentation="none",
            ),
            checkpoint_root=folder / "checkpoints",
            cache=Cache(folder / "cache"),
            machine=ComputeConfig(devices=device.type, cuda_graphs=setting.graph),
            callbacks=[clock],
        )
    return (clock.times[1] - clock.times[0]) / steps


def _classifier(shape: Shape) -> InstrumentClassifier:
    backbone = MertModel(MertConfig(**shape.config))
    return InstrumentClassifier(backbone, head_hidden=HEAD_HIDDEN, head_dropout=HEAD_DROPOUT)
