"""The classifier applied to recordings of any length.

A recording is cut into windows of one clip's length, a hop apart; the last one ends with the recording, and a shorter
recording is padded with silence. Every window is normalised, which would make noise of a silent one sound like
instruments, so the probabilities of silent windows are 0.
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
from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier, load
from tarkib.recognition.result import Recognition
from tarkib.runtime import mlflow_store
from tarkib.training.prediction import predict_logits

SILENCE_DBFS = -60.0
"""RMS level below which a window counts as silent."""

HOPS = (0.1, CLIP_SECONDS)
"""Least and greatest hop in seconds: a greater one would leave gaps."""


class Recogniser:
    """A trained classifier for whole recordings.

    Parameters
    ----------
    classifier : as `models.load` returns it.
    device : as in `run.devices`; a single device is used.
    """

    def __init__(self, classifier: InstrumentClassifier, *, device: str = "auto") -> None:
        self.classifier, self.device = classifier, device
        self.labels: tuple[str, ...] = classifier.labels
        self.trained_classes: tuple[str, ...] = classifier.trained_classes
        self.thresholds: dict[str, float] = classifier.thresholds

    @classmethod
    def load(cls, source: Path | str = "models/classifier", *, device: str = "auto") -> "Recogniser":
        """Load a classifier's folder, or a model of MLflow (``models:/tarkib@best``, ``runs:/<id>/classifier``).

        MLflow's store is MLFLOW_TRACKING_URI, else that of the project in the working directory. Raises TarkibError
        where the model is missing or damaged.
        """
        uri = str(source)
        is_uri = uri.startswith(("models:/", "runs:/", "mlflow-artifacts:/", "file:/"))
        folder = _download(uri) if is_uri else Path(source)
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
        """Recognise the instruments of a recording.

        Parameters
        ----------
        sound : a file of any length, of which at most a minute is in memory; or samples and their rate in Hz: shape
            (n,), (n, channels) or (channels, n), with more samples than channels; floating-point numbers of full scale
            1.0, or integers of 16 or 32 bits.
        hop_s : seconds from window to window, within `HOPS`.
        batch_size : windows per batch.
        progress : called after each batch with the seconds done.

        Raises TarkibError, whose message does not repeat the file's name, for a recording that is empty or cannot be
        decoded.
        """
        if not HOPS[0] <= hop_s <= HOPS[1]:
            raise TarkibError(f"hop_s is {hop_s:g}; it must be from {HOPS[0]:g} to {HOPS[1]:g} seconds")
        blocks = _blocks(sound)
        windows = _Windows(blocks, hop_s, batch_size, progress)
        probabilities = expit(predict_logits(self.classifier, windows, batch_size, self.device))
        silent, trained = np.array(windows.silent), np.isin(self.labels, self.trained_classes)
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


def _download(uri: str) -> Path:
    """Fetch a model from MLflow into a folder."""
    store, is_named = mlflow_store.default(), bool(os.environ.get("MLFLOW_TRACKING_URI"))
    # file:/ needs no store. For other addresses MLflow by itself would create an empty store here.
    if not is_named and not store.is_file() and not uri.startswith("file:/"):
        raise TarkibError(
            f"{uri}: MLflow's store {store} is not there; call from the project's folder, or set MLFLOW_TRACKING_URI"
        )
    import mlflow  # takes seconds to load

    if is_named or store.is_file():
        mlflow_store.choose()
    try:
        with mlflow_store.usable():
            return Path(mlflow.artifacts.download_artifacts(uri))
    except TarkibError as error:
        raise TarkibError(f"{uri}: {error}; see mlflow ui for the models it has") from error


def _blocks(sound: Path | str | tuple[np.ndarray, int]) -> Iterable[np.ndarray]:
    """Blocks of mono samples, float32 of shape (n,) at `SAMPLE_RATE`."""
    if isinstance(sound, str | os.PathLike):
        if os.path.isdir(sound):
            raise TarkibError("is a folder; name the files in it")
        if not Path(sound).exists():
            raise TarkibError("no such file")
        return audio.Stream(Path(sound))
    samples, rate = np.asarray(sound[0]), sound[1]
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
    mono = audio.Mix(rate)(np.ascontiguousarray(samples if samples.shape[1] < samples.shape[0] else samples.T))
    audio.check_samples(mono, rate)
    return [audio.resample(mono, rate)]


class _Windows(IterableDataset):
    """Windows of a stream as `predict_logits` takes them.

    After the iteration `starts` holds the first sample of each window, `silent` whether each is silent, and `samples`
    the length of the stream.
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
        buffer, offset = np.zeros(0, np.float32), 0
        for block in self._blocks:
            buffer = np.concatenate([buffer, block])
            self.samples += len(block)
            while (start := self._next_start()) + CLIP_SAMPLES <= self.samples:
                yield self._window(start, buffer[start - offset :][:CLIP_SAMPLES])
            # The last window may start before the next hop.
            drop = min(max(self._next_start() - offset, 0), max(len(buffer) - CLIP_SAMPLES, 0))
            buffer, offset = buffer[drop:], offset + drop
        if self.samples == 0:
            raise TarkibError("holds no samples")
        last = max(self.samples - CLIP_SAMPLES, 0)
        if not self.starts or self.starts[-1] < last:
            yield self._window(last, buffer[last - offset :])

    def _next_start(self) -> int:
        return round(len(self.starts) * self._hop)

    def _window(self, start: int, samples: np.ndarray) -> dict[str, Any]:
        self.starts.append(start)
        self.silent.append(audio.decibels(audio.rms(samples)) < SILENCE_DBFS)
        if self._progress and len(self.starts) % self._batch_size == 0:
            self._progress(start / SAMPLE_RATE)
        return {"samples": torch.from_numpy(np.ascontiguousarray(audio.fit(samples)))}
