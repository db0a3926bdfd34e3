"""The classifier, hearing recordings of any length.

A recording is heard in windows of one clip's length, a hop apart; the last one ends where the recording does, and a
recording shorter than a window is padded with silence. The classifier hears every window at one level and would name
instruments in the noise of a silent one, so there the probabilities are 0.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import expit
from torch.utils.data import IterableDataset

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE
from tarkib.audio.channels import Mix
from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier, load
from tarkib.recognition.result import Recognition
from tarkib.runtime import mlflow_store
from tarkib.training.prediction import predict_logits

SILENCE_DBFS = -60.0
"""A window whose RMS level is below counts as silent."""

HOPS = (0.1, CLIP_SECONDS)
"""Least and greatest hop in seconds: with a greater one some of the recording would not be heard."""

_URIS = ("models:/", "runs:/", "mlflow-artifacts:/", "file:/")


class Recogniser:
    """A trained classifier that hears whole recordings.

    Parameters
    ----------
    classifier : as `models.load` gives it.
    device : as `run.devices` is written; one device is used.
    """

    def __init__(self, classifier: InstrumentClassifier, *, device: str = "auto") -> None:
        self.classifier, self.device = classifier, device
        self.labels: tuple[str, ...] = classifier.labels
        self.trained_classes: tuple[str, ...] = classifier.trained_classes
        self.thresholds: dict[str, float] = classifier.thresholds

    @classmethod
    def load(cls, source: Path | str = "models/classifier", *, device: str = "auto") -> "Recogniser":
        """Load a classifier's folder, or what MLflow has (``models:/tarkib@best``, ``runs:/<id>/classifier``).

        MLflow's store is MLFLOW_TRACKING_URI, else the one of the project that one stands in.
        Raises TarkibError where there is none, or it is damaged.
        """
        text = str(source)
        folder = _fetched(text) if text.startswith(_URIS) else Path(source)
        if not folder.is_dir():
            raise TarkibError(f"{source}: no such model; run dvc repro (or dvc pull), or name a classifier's folder")
        inner = folder / "artifacts" / "classifier"
        return cls(load(inner if inner.is_dir() else folder), device=device)

    def __call__(
        self,
        sound: Path | str | tuple[np.ndarray, int],
        *,
        hop_s: float = 1.0,
        batch_size: int = 16,
        progress: Callable[[float], None] | None = None,
    ) -> Recognition:
        """Hear a recording.

        Parameters
        ----------
        sound : a file, of any length, of which no more than a minute is held at once; or samples and their rate in Hz:
            shape (n,), (n, channels) or (channels, n), with more samples than channels; floating-point numbers of full
            scale 1.0, or integers of 16 or 32 bits.
        hop_s : seconds from window to window, see `HOPS`.
        batch_size : windows at once.
        progress : is told after each batch how many seconds have been heard.

        Raises TarkibError, whose message does not repeat a file's name, for what cannot be decoded or holds nothing.
        """
        if not HOPS[0] <= hop_s <= HOPS[1]:
            raise TarkibError(f"hop_s is {hop_s:g}; it must be from {HOPS[0]:g} to {HOPS[1]:g} seconds")
        blocks = _blocks(sound)
        windows = _Windows(blocks, hop_s, batch_size, progress)
        probabilities = expit(predict_logits(self.classifier, windows, batch_size, self.device))
        silent = np.array(windows.silent)
        trained = np.isin(self.labels, self.trained_classes)
        probabilities[silent] = 0.0
        probabilities[:, ~trained] = np.nan
        return Recognition(
            seconds=windows.samples / SAMPLE_RATE,
            hop_s=hop_s,
            starts_s=np.array(windows.starts) / SAMPLE_RATE,
            window_probabilities=probabilities.astype(np.float32),
            silent=silent,
            labels=self.labels,
            thresholds=np.array([self.thresholds[name] for name in self.labels]),
            trained=trained,
            remarks=tuple(blocks.remarks) if isinstance(blocks, audio.Stream) else (),
        )


def _fetched(uri: str) -> Path:
    """A model that MLflow keeps, as a folder."""
    default, unnamed = mlflow_store.default(), not os.environ.get("MLFLOW_TRACKING_URI")
    # A file is read without a store; of all else MLflow, left to itself, would make an empty store here and ask that.
    if unnamed and not default.is_file() and not uri.startswith("file:/"):
        raise TarkibError(
            f"{uri}: MLflow's store {default} is not there; call from the project's folder, or set MLFLOW_TRACKING_URI"
        )
    import mlflow  # takes seconds to load, and few need it

    if default.is_file() or not unnamed:
        mlflow_store.choose()
    try:
        with mlflow_store.usable(), mlflow_store.patiently():
            return Path(mlflow.artifacts.download_artifacts(uri))
    except TarkibError as error:
        raise TarkibError(f"{uri}: {error}; see mlflow ui for what is there") from error


def _blocks(sound: Path | str | tuple[np.ndarray, int]) -> Iterable[np.ndarray]:
    """Blocks of samples, float32 of shape (n,) at `SAMPLE_RATE`, of whatever `Recogniser` takes."""
    if isinstance(sound, str | os.PathLike):
        path = Path(sound)
        if path.is_dir():
            raise TarkibError("is a folder; name the files in it")
        if not path.exists():
            raise TarkibError("no such file")
        return audio.Stream(path)
    samples, rate = sound
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise TarkibError(
            f"samples have shape {samples.shape}; give (n,), (n, channels) or (channels, n), n at least 1"
        )
    if samples.dtype in (np.int16, np.int32):
        samples = samples / np.float32(np.iinfo(samples.dtype).max)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise TarkibError(f"samples are {samples.dtype}; give floating-point numbers within -1..1, int16 or int32")
    audio.check_rate(rate)
    samples = np.atleast_2d(samples.astype(np.float32))
    mono = Mix(rate)(np.ascontiguousarray(samples if samples.shape[1] < samples.shape[0] else samples.T))
    audio.check_samples(mono, rate)
    return [audio.resample(mono, rate)]


class _Windows(IterableDataset):
    """Windows of a stream as `predict_logits` takes them; what they were stands in the attributes afterwards.

    starts : first sample of each window.
    silent : whether each is silent.
    samples : of the whole stream.
    """

    def __init__(
        self, blocks: Iterable[np.ndarray], hop_s: float, batch_size: int, progress: Callable[[float], None] | None
    ) -> None:
        self.starts: list[int] = []
        self.silent: list[bool] = []
        self.samples = 0
        self._blocks, self._hop = blocks, hop_s * SAMPLE_RATE
        self._batch_size, self._progress = batch_size, progress

    def __iter__(self) -> Iterator[dict[str, Any]]:
        held, offset = np.zeros(0, np.float32), 0
        for block in self._blocks:
            held = np.concatenate([held, block])
            self.samples += len(block)
            while (start := self._next()) + CLIP_SAMPLES <= self.samples:
                yield self._window(start, held[start - offset :][:CLIP_SAMPLES])
            # The last window may begin before the next one would.
            kept = min(max(self._next() - offset, 0), max(len(held) - CLIP_SAMPLES, 0))
            held, offset = held[kept:], offset + kept
        if self.samples == 0:
            raise TarkibError("holds no samples")
        end = max(self.samples - CLIP_SAMPLES, 0)
        if not self.starts or self.starts[-1] < end:
            yield self._window(end, held[end - offset :])

    def _next(self) -> int:
        """First sample of the window after those that were given."""
        return round(len(self.starts) * self._hop)

    def _window(self, start: int, samples: np.ndarray) -> dict[str, Any]:
        self.starts.append(start)
        self.silent.append(audio.decibels(audio.rms(samples)) < SILENCE_DBFS)
        if self._progress and len(self.starts) % self._batch_size == 0:
            self._progress(start / SAMPLE_RATE)
        return {"samples": torch.from_numpy(np.ascontiguousarray(audio.fit(samples)))}
