"""The page, served to the tests from this process, with a classifier whose answers are known."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from tarkib.app import server
from tarkib.app.recognition import Limits
from tarkib.models import InstrumentClassifier
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.vocabulary import INSTRUMENTS

RATE = 8_000


def write_classifier(folder: Path) -> Path:
    """Write a classifier that gives ney 0.9 wherever there is sound, tar 0.5, and was not trained on daf."""
    classifier = InstrumentClassifier(MelCnn(MelCnnConfig(channels=4, layers=1)), head_hidden=4, head_dropout=0.0)
    last = classifier.head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(-8.0)
        last.bias[INSTRUMENTS.index("ney")] = np.log(9.0)
        last.bias[INSTRUMENTS.index("tar")] = 0.0
    trained = [name for name in INSTRUMENTS if name != "daf"]
    classifier.save(folder, trained_classes=trained, thresholds=dict.fromkeys(INSTRUMENTS, 0.7))
    return folder


def tone(seconds: float, silent_from: float | None = None) -> np.ndarray:
    """A tone of 440 Hz at `RATE`, shape (n,), silent from a second on."""
    at = np.arange(int(seconds * RATE)) / RATE
    sound = 0.3 * np.sin(2 * np.pi * 440.0 * at)
    return np.where(at < (seconds if silent_from is None else silent_from), sound, 0.0)


@contextmanager
def served(folder: Path, model: Path | str, *, minutes: int = 1, megabytes: int = 1) -> Iterator[str]:
    """Serve the page; gives its address."""
    with server.server(0, model=str(model), folder=folder, limits=Limits(minutes, megabytes)) as (
        serving,
        listening,
        address,
    ):
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address
        finally:
            serving.should_exit = True
            thread.join()
