"""The classifier applied to recordings of any length.

Windows of one clip's length begin a hop apart; the last one ends with the recording, and a recording shorter than a
window is padded with silence. Normalised, a silent window would be loud noise: its probabilities are set to 0.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE
from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier, load
from tarkib.models.files import read_json
from tarkib.recognition import hub
from tarkib.recognition.origin import Origin, read
from tarkib.recognition.result import Recognition
from tarkib.recognition.sound import Blocks, Sound, open_sounds
from tarkib.runtime import mlflow_store, project
from tarkib.runtime.text import printable
from tarkib.training import devices
from tarkib.training.prediction import predict

SILENCE_DBFS = -60.0
"""RMS level below which a window counts as silent."""

HOPS = (0.1, CLIP_SECONDS)
"""Least and greatest hop in seconds: a greater one would leave gaps."""

_THREADS = 8
"""Most recordings decoded at once for a GPU; a core decodes about 400 windows a second at a hop of a second."""


class Recogniser:
    """A trained classifier, as `models.load` returns it, for whole recordings.

    `device` is as in `run.devices`; a single one is used. `origin` says which model it is.
    """

    def __init__(self, classifier: InstrumentClassifier, *, device: str = "auto", origin: Origin | None = None) -> None:
        self.classifier, self.device, self.origin = classifier, device, origin
        self.labels: tuple[str, ...] = classifier.labels
        self.trained_classes: tuple[str, ...] = classifier.trained_classes
        self.thresholds: dict[str, float] = classifier.thresholds

    @classmethod
    def load(cls, source: Path | str = "models/classifier", *, device: str = "auto") -> "Recogniser":
        """Load a classifier from its folder, from MLflow or from the Hugging Face hub.

        For example ``models:/tarkib@best`` or ``runs:/<id>/classifier``; ``hf://owner/name`` or
        ``hf://owner/name@revision``. MLflow's store is MLFLOW_TRACKING_URI, else that of the project in the working
        directory. Raises TarkibError where the model is missing or damaged, or cannot be downloaded.
        """
        uri = str(source)
        folder = project.model_folder(source) or (hub.download(uri) if uri.startswith(hub.SCHEME) else _download(uri))
        inner = folder / "artifacts" / "classifier"
        folder = inner if inner.is_dir() else folder
        config = folder / "config.json"
        if config.exists() and isinstance(content := read_json(config), dict) and "model_type" in content:
            raise TarkibError(f"{source}: a backbone, not a classifier; name the folder that the stage train wrote")
        return cls(load(folder), device=device, origin=read(folder))

    def __repr__(self) -> str:
        return f"Recogniser({self.origin or 'a classifier that was not loaded from a folder'})"

    def __call__(
        self,
        sound: Sound,
        *,
        hop_s: float = 1.0,
        batch_size: int = 16,
        progress: Callable[[float], None] | None = None,
    ) -> Recognition:
        """Recognise the instruments of a recording.

        Raises TarkibError, which names the file, for a recording that is empty or cannot be decoded.

        Parameters
        ----------
        sound
            A file of any length, of which at most a minute is in memory; or samples and their rate in Hz: shape (n,),
            (n, channels) or (channels, n), with more samples than channels; floating-point numbers of full scale 1.0,
            or integers of 16 or 32 bits.
        hop_s
            Seconds from window to window, within `HOPS`.
        batch_size
            Windows per batch.
        progress
            Called at each window with the second at which it starts.
        """
        try:
            return self.recognise(sound, hop_s, batch_size, progress)
        except TarkibError as error:
            name = f"{printable(Path(sound))}: " if isinstance(sound, str | os.PathLike) else ""
            raise TarkibError(f"{name}{error}") from error

    def opened(self, sounds: Iterable[Sound]) -> Generator[Blocks]:
        """Open recordings for `recognise`, in order; for a GPU, threads decode ahead. Close the generator after use."""
        on_cpu = devices.single(self.device).type == "cpu"
        return open_sounds(sounds, 0 if on_cpu else min(_THREADS, os.cpu_count() or 1))

    def recognise(
        self,
        sound: Sound | Blocks,
        hop_s: float = 1.0,
        batch_size: int = 16,
        progress: Callable[[float], None] | None = None,
    ) -> Recognition:
        """As a call of the recogniser, but also takes an element of `opened`, and errors do not name the file."""
        if not HOPS[0] <= hop_s <= HOPS[1]:
            raise TarkibError(f"hop_s is {hop_s:g}; it must be from {HOPS[0]:g} to {HOPS[1]:g} seconds")
        if not isinstance(sound, Blocks):
            with closing(self.opened([sound])) as blocks:
                return self.recognise(next(blocks), hop_s, batch_size, progress)
        windows = _Windows(sound, hop_s, progress or (lambda seconds: None))
        outputs = predict(self.classifier, windows, batch_size, self.device, output=self._logits_and_distance)
        probabilities, distances = torch.from_numpy(outputs[:, :-1]).sigmoid().numpy(), outputs[:, -1]
        silent, trained = np.array(windows.silent), np.isin(self.labels, self.trained_classes)
        probabilities[silent], distances[silent] = 0.0, np.nan
        probabilities[:, ~trained] = np.nan
        return Recognition(
            seconds=windows.samples / SAMPLE_RATE,
            hop_s=hop_s,
            starts_s=np.array(windows.starts) / SAMPLE_RATE,
            window_probabilities=probabilities.astype(np.float32),
            silent=silent,
            distances=distances,
            labels=self.labels,
            thresholds=np.array([self.thresholds[name] for name in self.labels]),
            trained=trained,
            remarks=tuple(sound.remarks),
            origin=self.origin,
        )

    def _logits_and_distance(self, samples: torch.Tensor) -> torch.Tensor:
        """Logits `[B, 10]` and, as a last column, the distance from the training clips (NaN where it is unknown)."""
        states, familiarity = self.classifier.states(samples), self.classifier.familiarity
        unknown = states.new_full(states.shape[:1], torch.nan)
        return torch.column_stack([self.classifier.head(states), familiarity(states) if familiarity else unknown])


def _download(uri: str) -> Path:
    """Fetch a model from MLflow into a folder."""
    store, is_named = mlflow_store.default(), bool(os.environ.get("MLFLOW_TRACKING_URI"))
    has_store = is_named or store.is_file()
    # file:/ needs no store. For other addresses MLflow by itself would create an empty store here.
    if not has_store and not uri.startswith("file:/"):
        raise TarkibError(
            f"{uri}: MLflow's store {store} is not there; call from the project's folder, or set MLFLOW_TRACKING_URI"
        )
    import mlflow  # takes seconds to load

    if has_store:
        mlflow_store.select()
    try:
        with mlflow_store.usable():
            return Path(mlflow.artifacts.download_artifacts(uri))
    except TarkibError as error:
        raise TarkibError(f"{uri}: {error}; see mlflow ui for the models it has") from error


class _Windows(IterableDataset):
    """Windows of a stream. Iteration fills `starts` (first samples) and `silent`, and counts `samples`."""

    def __init__(self, blocks: Iterable[np.ndarray], hop_s: float, progress: Callable[[float], None]) -> None:
        self.starts: list[int] = []
        self.silent: list[bool] = []
        self.samples = 0
        self._blocks, self._hop, self._progress = blocks, hop_s * SAMPLE_RATE, progress

    def __iter__(self) -> Iterator[dict[str, Any]]:
        buffer = np.zeros(0, np.float32)
        for block in self._blocks:
            # As no hop is longer than a window, all windows to come begin in the last window's length.
            buffer = np.concatenate([buffer[-CLIP_SAMPLES:], block])
            self.samples += len(block)
            while (start := round(len(self.starts) * self._hop)) + CLIP_SAMPLES <= self.samples:
                yield self._window(start, buffer)
        if self.samples == 0:
            raise TarkibError("holds no samples")
        last = max(self.samples - CLIP_SAMPLES, 0)
        if not self.starts or self.starts[-1] < last:
            yield self._window(last, buffer)

    def _window(self, start: int, buffer: np.ndarray) -> dict[str, Any]:
        samples = buffer[start - self.samples + len(buffer) :][:CLIP_SAMPLES]
        self.starts.append(start)
        self.silent.append(audio.decibels(audio.rms(samples)) < SILENCE_DBFS)
        self._progress(start / SAMPLE_RATE)
        return {"samples": torch.from_numpy(np.ascontiguousarray(audio.fit(samples)))}
