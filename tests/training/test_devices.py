import pytest
import torch

from tarkib.errors import TarkibError
from tarkib.training import devices
from tarkib.training.devices import Devices


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that so many GPUs are here."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("text", "here", "chosen"),
    [
        ("auto", 0, Devices("cpu", 1)),
        ("auto", 4, Devices("cuda", 4)),
        # Three do not divide a batch of 16.
        ("auto", 3, Devices("cuda", 2)),
        ("cpu", 4, Devices("cpu", 1)),
        ("cpu x 2", 0, Devices("cpu", 2)),
        ("cuda", 4, Devices("cuda", 1)),
        ("cuda x 2", 4, Devices("cuda", 2)),
    ],
)
def test_devices_for_training(gpus, text, here, chosen):
    gpus(here)
    assert devices.choose(text, 16) == chosen
    # To predict, one is enough.
    assert devices.choose(text) == Devices(chosen.kind, 1)
    assert devices.single(text).type == chosen.kind


@pytest.mark.parametrize(
    ("text", "here", "message"),
    [
        ("tpu", 0, r"run\.devices: 'tpu' is unknown; choose auto, cpu, cuda, or a number of them: cuda x 4"),
        ("cuda:1", 2, r"'cuda:1' is unknown"),
        ("cuda", 0, r"cuda, but torch finds no GPU here; set it to auto or cpu"),
        ("cuda x 4", 2, r"cuda x 4, but torch finds 2 GPUs here"),
        ("cuda x 3", 4, r"batch_size is 16; make it a multiple of 3"),
    ],
)
def test_devices_that_are_not_there(gpus, text, here, message):
    gpus(here)
    with pytest.raises(TarkibError, match=message):
        devices.choose(text, 16)


@pytest.mark.parametrize(("text", "chosen"), [("auto", "cuda"), ("cuda", "cuda"), ("cuda x 4", "cuda"), ("cpu", "cpu")])
def test_a_training_uses_the_processes_of_a_launcher(gpus, monkeypatch, text, chosen):
    gpus(2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    found = devices.choose(text, 16)
    assert (found, found.local_count) == (Devices(chosen, 4), 2)
    assert devices.choose(chosen) == Devices(chosen, 1)


@pytest.mark.parametrize(
    ("text", "here", "batch_size", "message"),
    [
        ("cuda x 2", 2, 16, r"run\.devices: cuda x 2, but the launcher has started 4 processes; set it to auto"),
        ("auto", 1, 16, r"the launcher has started 2 processes here, where torch finds 1 GPU$"),
        ("auto", 2, 18, r"batch_size is 18; make it a multiple of the launcher's 4 processes"),
    ],
)
def test_what_a_launcher_has_started_must_fit(gpus, monkeypatch, text, here, batch_size, message):
    gpus(here)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(TarkibError, match=message):
        devices.choose(text, batch_size)
