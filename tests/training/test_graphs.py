import pytest
import torch
from small_training import Clips, Watch, classifier, fit, mert, plain_mert, weights

from tarkib.errors import TarkibError
from tarkib.training import graphs
from tarkib.training.compute import ComputeConfig
from tarkib.training.devices import Devices
from tarkib.training.graphs import StepResult

pytestmark = pytest.mark.slow


class StandIn:
    """Records nothing, and computes anew what a function gives, in the same place, as a CUDA graph does."""

    def __init__(self) -> None:
        self.eager, self.replayed = 0, 0

    def run(self, function):
        self.eager += 1
        return function()

    def record(self, function):
        made = StepResult(torch.zeros(()), torch.zeros(()))

        def replay():
            self.replayed += 1
            for place, value in zip(made, function(), strict=True):
                place.copy_(value)

        return replay, made


class Refusing(StandIn):
    def record(self, function):
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might ...")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


@pytest.fixture
def recorder(monkeypatch) -> StandIn:
    """Pretend that steps can be graphs here."""
    stand_in = StandIn()
    monkeypatch.setattr(graphs, "obstacle", lambda *_: "")
    monkeypatch.setattr(graphs, "Recorder", lambda: stand_in)
    return stand_in


def assert_alike(first, second):
    for key, tensor in weights(first.model).items():
        torch.testing.assert_close(tensor, weights(second.model)[key], atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(first.history, second.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_graphed_steps_learn_the_same(tmp_path, recorder):
    """Three epochs of five batches of 8 and one of 4, which is not a graph's."""
    plain, graphed = Watch(), Watch()
    data = Clips(44, 1)
    expected = fit(classifier(), tmp_path / "plain", data=data, callbacks=[plain])
    assert recorder.eager == 0
    result = fit(classifier(), tmp_path / "graphed", data=data, callbacks=[graphed], cuda_graphs=True)
    assert (recorder.eager, recorder.replayed) == (3, 2 + 5 + 5)
    assert_alike(result, expected)
    assert graphed.rates == plain.rates
    norms = [[log["grad_norm"] for log in watch.logs if "grad_norm" in log] for watch in (graphed, plain)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert all(norms[0])


def test_a_training_set_smaller_than_a_batch_is_graphed(tmp_path, recorder):
    fit(classifier(), tmp_path, data=Clips(5, 1), epochs=6, cuda_graphs=True)
    assert (recorder.eager, recorder.replayed) == (3, 3)


def test_a_graphed_training_resumes_with_and_without_graphs(tmp_path, recorder):
    """In an epoch of five batches of 8 and one of 4: the fourth step after the resumption is on the small one."""
    data = Clips(44, 1)
    expected = fit(classifier(dropout=0.0), tmp_path / "whole", data=data)
    for graphed, replayed in ((True, 5), (False, 0)):
        folder, watch = tmp_path / str(graphed), Watch()
        options = {"data": data, "checkpoint_steps": 2}
        with pytest.raises(KeyboardInterrupt):
            fit(classifier(dropout=0.0), folder, callbacks=[Watch(stop=9)], cuda_graphs=True, **options)
        recorder.replayed = 0
        result = fit(classifier(dropout=0.0), folder, callbacks=[watch], cuda_graphs=graphed, **options)
        assert recorder.replayed == replayed
        assert watch.steps[0] == 9
        assert_alike(result, expected)


def test_a_graphed_loss_that_is_not_finite_is_named(tmp_path, recorder):
    """The clip is in the second of two replayed steps, whose losses are in the same place."""
    with pytest.raises(TarkibError, match=r"the loss is not finite \(nan\) at step 5 of 15, clips clip-14, clip-3,"):
        fit(classifier(), tmp_path, data=Clips(40, 1, spoilt=3), cuda_graphs=True)


def test_a_step_that_cannot_be_recorded_ends_the_training_which_goes_on_without(tmp_path, monkeypatch, recorder):
    watch = Watch()
    monkeypatch.setattr(graphs, "Recorder", Refusing)
    message = r"CUDA cannot record the step \(operation not permitted when stream is capturing\); set it to false"
    with pytest.raises(TarkibError, match=message):
        fit(classifier(), tmp_path, checkpoint_steps=2, cuda_graphs=True)
    fit(classifier(), tmp_path, callbacks=[watch])
    assert watch.steps[0] == 3


@pytest.mark.parametrize(
    ("make", "chosen", "accumulate", "checkpointing", "reason"),
    [
        (plain_mert, Devices("cpu", 1), 1, False, "it needs a GPU"),
        (plain_mert, Devices("cuda", 2), 1, False, "it needs a single GPU"),
        (plain_mert, Devices("cuda", 1), 2, False, "train.accumulate is not 1"),
        (plain_mert, Devices("cuda", 1), 1, True, "run.gradient_checkpointing is true"),
        (mert, Devices("cuda", 1), 1, False, "model.spec_augment is true"),
        (plain_mert, Devices("cuda", 1), 1, False, ""),
        (classifier, Devices("cuda", 1), 1, False, ""),
    ],
)
def test_which_steps_can_be_graphs(capsys, make, chosen, accumulate, checkpointing, reason):
    machine = ComputeConfig(gradient_checkpointing=checkpointing, cuda_graphs=True)
    assert graphs.obstacle(machine, chosen, accumulate, make()) == reason
    if reason:
        assert graphs.recorder(machine, chosen, accumulate, make()) is None
        assert capsys.readouterr().out == f"run.cuda_graphs has no effect: {reason}\n"
        assert graphs.recorder(ComputeConfig(), chosen, accumulate, make()) is None
        assert capsys.readouterr().out == ""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_twenty_steps_on_a_gpu_are_the_same(tmp_path, capsys):
    runs = [
        fit(plain_mert(), tmp_path / str(graphed), epochs=4, devices="cuda", cuda_graphs=graphed)
        for graphed in (False, True)
    ]
    assert "run.cuda_graphs" not in capsys.readouterr().out
    for key, tensor in weights(runs[1].model).items():
        torch.testing.assert_close(tensor, weights(runs[0].model)[key], atol=2e-3, rtol=1e-2)
