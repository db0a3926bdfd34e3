import itertools
import math
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from small_training import Clips, Spectra, Spoilt, Watch, classifier, fit, mert, plain_mert, same, weights
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils.data import DataLoader

from tarkib import training
from tarkib.errors import TarkibError
from tarkib.evaluation.metrics import roc_auc_macro
from tarkib.models import InstrumentClassifier
from tarkib.runtime import parent_watch
from tarkib.training import TrainingResult, checkpoints
from tarkib.training.prediction import predict_logits


def test_it_learns_and_the_history_tells_it(tmp_path):
    model = classifier()
    result = fit(model, tmp_path, data=Clips(160, 1), epochs=6)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6]
    assert result.history[-1]["train_loss"] < 0.8 * result.history[0]["train_loss"]
    assert result.best_roc_auc > 0.9
    assert list(result.history[0]) == ["epoch", "train_loss", "validation_loss", "validation_roc_auc"]


def test_processes_that_load_the_data_end_with_the_training(tmp_path):
    """All loaders have what tests/runtime/test_parent_watch.py shows to end them."""
    loaders = {}

    class Loaders(Watch):
        def on_train_begin(self, *args, train_dataloader, **options):
            loaders["train"] = train_dataloader

        def on_evaluate(self, *args, eval_dataloader, **options):
            loaders["validation"] = eval_dataloader

    fit(classifier(), tmp_path, epochs=1, callbacks=[Loaders()])
    assert {one.worker_init_fn.func for one in loaders.values()} == {parent_watch.follow_loader}
    # The seeding of the Trainer's own is kept.
    assert loaders["train"].worker_init_fn.keywords["then"] is not None


def test_the_best_epoch_s_weights_are_restored_not_the_last_s(tmp_path):
    model, watch, validation = classifier(), Watch(spoil=3), Clips(32, 2)
    result = fit(model, tmp_path, validation=validation, callbacks=[watch])
    areas = [row["validation_roc_auc"] for row in result.history]
    assert areas[2] < areas[1]
    assert result.best_epoch == 1 + int(np.argmax(areas)) < 3
    assert same(weights(model), watch.after[result.best_epoch])
    assert not same(weights(model), watch.after[3])
    # What is handed on was made with these weights, and has the score that chose them.
    np.testing.assert_allclose(result.validation_logits, predict_logits(model, validation, 5, "cpu"), atol=1e-5)
    scores = torch.sigmoid(torch.from_numpy(result.validation_logits).double()).numpy()
    assert float(roc_auc_macro(validation.labels, scores)) == pytest.approx(result.best_roc_auc, abs=1e-12)
    assert result.best_loss == result.history[result.best_epoch - 1]["validation_loss"]


def test_the_validation_set_alone_chooses(tmp_path):
    """Labels that are the opposite of what is learnt: the better the training, the worse the score that counts."""
    validation = Clips(32, 2)
    validation.labels = 1 - validation.labels
    result = fit(classifier(), tmp_path, data=Clips(160, 1), validation=validation, epochs=4)
    areas = [row["validation_roc_auc"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmax(areas))
    assert result.best_epoch < 4
    assert result.history[-1]["train_loss"] == min(row["train_loss"] for row in result.history)


def test_same_seed_same_weights_whatever_the_workers(tmp_path):
    models = [classifier() for _ in range(3)]
    results = [fit(model, tmp_path / str(i), loaders=2 * (i == 2)) for i, model in enumerate(models)]
    assert same(weights(models[0]), weights(models[1]))
    assert same(weights(models[0]), weights(models[2]))
    assert results[0].history == results[1].history == results[2].history
    other = classifier()
    fit(other, tmp_path / "other", seed=2)
    assert not same(weights(models[0]), weights(other))


def test_the_caller_s_generators_are_left_alone(tmp_path):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    fit(classifier(), tmp_path, epochs=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


KILLED = """
import sys, torch
sys.path.insert(0, {folder!r})
torch.set_num_threads(1)
from pathlib import Path
from small_training import Watch, fit, mert
watch = Watch(kill={kill})
fit(mert(), Path({checkpoints!r}), epochs=3, accumulate={accumulate}, checkpoint_steps=2, callbacks=[watch])
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Callable[[int], TrainingResult]:
    """What a training gives that is left alone, by the batches it accumulates."""
    results = {}

    def trained(accumulate: int) -> TrainingResult:
        if accumulate not in results:
            results[accumulate] = fit(mert(), tmp_path_factory.mktemp("whole"), epochs=3, accumulate=accumulate)
        return results[accumulate]

    return trained


# 40 clips are 5 batches an epoch: steps 5 and 10 end one, checkpoints are at 2, 4, 5, 6, 8, 10, ...
@pytest.mark.parametrize(
    ("accumulate", "kill", "resumed_at"),
    [(1, 1, 0), (1, 3, 2), (1, 6, 5), (1, 14, 12), (2, 5, 4)],
)
def test_killed_at_any_step_and_resumed_it_ends_as_if_undisturbed(
    tmp_path, capsys, undisturbed, accumulate, kill, resumed_at
):
    expected = undisturbed(accumulate)
    values = {"folder": str(Path(__file__).parent), "checkpoints": str(tmp_path), "accumulate": accumulate}
    code = KILLED.format(**values, kill=kill)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    watch = Watch()
    result = fit(mert(), tmp_path, epochs=3, accumulate=accumulate, checkpoint_steps=2, callbacks=[watch])
    assert watch.steps[0] == resumed_at + 1
    assert ("going on from the checkpoint" in capsys.readouterr().out) == (resumed_at > 0)
    assert same(weights(result.model), weights(expected.model))
    assert result.history == expected.history
    assert (result.best_epoch, result.best_roc_auc) == (expected.best_epoch, expected.best_roc_auc)
    np.testing.assert_array_equal(result.validation_logits, expected.validation_logits)


def newest(folder: Path) -> Path:
    return max(folder.glob("*/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


@pytest.mark.parametrize("cut", ["mark", "complete", "optimizer.pt", "model.safetensors", "trainer_state.json"])
def test_an_incomplete_newest_checkpoint_is_skipped(tmp_path, cut):
    first, again, watch = classifier(), classifier(), Watch()
    expected = fit(first, tmp_path)
    if cut == "mark":
        (newest(tmp_path) / "complete").unlink()
    else:
        os.truncate(newest(tmp_path) / cut, 100)
    result = fit(again, tmp_path, callbacks=[watch])
    assert list(watch.after) == [3]
    assert same(weights(first), weights(again))
    assert result.history == expected.history


def test_a_training_that_another_process_is_at_is_not_called_unfinished(tmp_path, capsys):
    class Other(Watch):
        def on_step_begin(self, *args, **options):
            super().on_step_begin(*args, **options)
            if self.steps[-1] == 7:
                fit(classifier(), tmp_path, epochs=1)

    fit(classifier(), tmp_path, callbacks=[Other()])
    assert "unfinished" not in capsys.readouterr().out


def test_a_damaged_best_checkpoint_is_not_built_upon(tmp_path):
    class Worse(Watch):
        """Spoils every epoch but the first, and stops in the last."""

        def on_epoch_end(self, args, state, control, model, **_):
            with torch.no_grad():
                if round(state.epoch) > 1:
                    nn.init.zeros_(model.head[3].weight)

        def on_step_begin(self, *args, **options):
            super().on_step_begin(*args, **options)
            if self.steps[-1] == 18:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), tmp_path, epochs=4, callbacks=[Worse()])
    found = {path.name: path for path in tmp_path.glob("*/checkpoint-*")}
    assert sorted(found) == ["checkpoint-10", "checkpoint-15", "checkpoint-5"]
    os.truncate(found["checkpoint-5"] / "model.safetensors", 100)
    watch = Watch()
    fit(classifier(), tmp_path, epochs=4, callbacks=[watch])
    assert watch.steps[0] == 1


def test_a_finished_training_is_not_repeated(tmp_path):
    first, again, watch = classifier(), classifier(), Watch()
    expected = fit(first, tmp_path)
    result = fit(again, tmp_path, callbacks=[watch])
    assert not watch.after
    assert same(weights(first), weights(again))
    np.testing.assert_array_equal(result.validation_logits, expected.validation_logits)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"learning_rate": 1e-3}, "other train.learning_rate (0.005, now 0.001) has come to step 4"),
        ({"identity": {"data": "ee"}}, "other data (None, now ee) has come to step 4"),
        ({"identity": {"data": "e" * 64}}, "other data (None, now "),
        ({"resume": False}, None),
    ],
)
def test_another_training_s_checkpoints_are_not_taken_up_and_what_differs_is_told(tmp_path, capsys, changed, told):
    class Stop(Watch):
        def on_step_begin(self, *args, **options):
            super().on_step_begin(*args, **options)
            if self.steps[-1] == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), tmp_path / "used", callbacks=[Stop()], checkpoint_steps=2)
    models, watch = [classifier(), classifier()], Watch()
    fit(models[0], tmp_path / "used", callbacks=[watch], **changed)
    printed = capsys.readouterr().out
    fit(models[1], tmp_path / "fresh", **changed)
    assert watch.steps[0] == 1
    assert same(weights(models[0]), weights(models[1]))
    assert ("an unfinished training" in printed) == (told is not None)
    assert told is None or told in printed


def test_the_same_training_twice_at_once_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_PATIENCE_S", 0.0)

    class Again(Watch):
        def on_step_begin(self, *args, **options):
            with pytest.raises(TarkibError, match="another process is at this very training; wait for it"):
                fit(classifier(), tmp_path)
            super().on_step_begin(*args, **options)

    watch = Again()
    fit(classifier(), tmp_path, callbacks=[watch], epochs=3)
    assert len(watch.steps) == 15


def test_other_starting_weights_are_another_training(tmp_path):
    fit(classifier(), tmp_path)
    watch = Watch()
    fit(classifier(seed=9), tmp_path, callbacks=[watch])
    assert list(watch.after) == [1, 2, 3]


def test_the_newest_two_checkpoints_and_the_best_stay(tmp_path):
    class Worse(Watch):
        """Turns the weights round after every epoch but the first."""

        def on_epoch_end(self, args, state, control, model, **_):
            with torch.no_grad():
                if round(state.epoch) > 1:
                    nn.init.zeros_(model.head[3].weight)

    result = fit(classifier(), tmp_path, epochs=5, callbacks=[Worse()])
    assert result.best_epoch == 1
    assert sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("*/checkpoint-*")) == [5, 20, 25]


def test_no_class_with_both_kinds_falls_back_to_the_loss(tmp_path, capsys):
    model, watch = classifier(), Watch()
    validation = Clips(16, 2, labels=np.zeros((16, 10), np.float32))
    result = fit(model, tmp_path, validation=validation, callbacks=[watch])
    losses = [row["validation_loss"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert result.best_roc_auc is None
    assert all(row["validation_roc_auc"] is None for row in result.history)
    assert capsys.readouterr().out.count("the lowest loss chooses the epoch") == 1
    assert same(weights(model), watch.after[result.best_epoch])


@pytest.mark.parametrize(("loss", "remarked"), [(0.79, True), (0.55, False)])
def test_a_best_epoch_whose_loss_is_far_above_the_lowest_is_remarked_on(tmp_path, capsys, monkeypatch, loss, remarked):
    ordinary = training._history

    def history(log: list) -> list:
        """As it was, but the epoch that ranks best has that loss and all others 0.51."""
        rows = ordinary(log)
        best = max(rows, key=lambda row: row["validation_roc_auc"])
        return [{**row, "validation_loss": loss if row["step"] == best["step"] else 0.51} for row in rows]

    monkeypatch.setattr(training, "_history", history)
    best = fit(classifier(), tmp_path).best_epoch
    printed = capsys.readouterr().out
    line = f"overfitting: epoch {best} ranks best, but its validation loss is 0.79 and was 0.51 in epoch "
    assert printed.count(line) == remarked == printed.count("overfitting")


def test_the_loss_is_weighted_binary_cross_entropy(tmp_path):
    model, data = classifier(dropout=0.0), Clips(8, 1)
    model.backbone.dropout.p = 0.0
    scores = torch.sigmoid(torch.from_numpy(predict_logits(model, data, 8, "cpu"))).double()
    labels = torch.from_numpy(data.labels).double()
    expected = -(0.8 * labels * torch.log(scores) + (1 - labels) * torch.log(1 - scores)).mean()
    result = fit(model, tmp_path, data=data, validation=data, epochs=1, learning_rate=1e-12)
    assert result.history[0]["train_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert result.history[0]["validation_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_accumulated_batches_are_one_large_batch(tmp_path):
    models = [classifier(dropout=0.0) for _ in range(2)]
    for i, model in enumerate(models):
        model.backbone.dropout.p = 0.0
        fit(model, tmp_path / str(i), batch_size=(8, 2)[i], accumulate=(1, 4)[i], epochs=2)
    for first, second in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-4, rtol=1e-2)


@pytest.mark.parametrize(
    ("schedule", "left"),
    [
        ("linear", lambda passed: 1 - passed),
        ("cosine", lambda passed: (1 + math.cos(math.pi * passed)) / 2),
        ("constant", lambda passed: 1.0),
    ],
)
def test_learning_rates_rise_and_fall_the_head_with_its_own(tmp_path, schedule, left):
    watch = Watch()
    options = {"epochs": 4, "warmup_fraction": 0.25, "head_learning_rate": 1e-2, "schedule": schedule}
    fit(classifier(), tmp_path, callbacks=[watch], **options)
    assert len(watch.rates) == 20
    rates = np.array(watch.rates)
    backbone, head = rates.min(axis=1), rates.max(axis=1)
    expected = [5e-3 * (i / 5 if i < 5 else left((i - 5) / 15)) for i in range(20)]
    np.testing.assert_allclose(backbone, expected, rtol=1e-6)
    np.testing.assert_allclose(head, 2 * backbone, rtol=1e-6)


def test_gradient_checkpointing_changes_no_weight(tmp_path):
    plain = fit(mert(), tmp_path / "plain").model
    model, calls = mert(), []
    model.backbone.encoder.layers[0].attention.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    saving = fit(model, tmp_path / "saving", gradient_checkpointing=True).model
    assert same(weights(saving), weights(plain))
    # 15 steps, in which the layer runs forward twice, and 3 times 4 validation batches with 4 more at the end.
    assert len(calls) == 2 * 15 + 3 * 4 + 4


def test_a_compiled_network_learns_the_same(tmp_path, monkeypatch):
    graphs = []

    def compile_without_a_compiler(model):
        graphs.append(CompileCounter())
        nn.Module.compile(model, backend=graphs[-1])

    monkeypatch.setattr(InstrumentClassifier, "compile", compile_without_a_compiler)
    plain = fit(plain_mert(), tmp_path / "plain")
    assert not graphs
    compiled = fit(plain_mert(), tmp_path / "compiled", compile=True)
    assert graphs[0].frame_count > 0
    assert same(weights(compiled.model), weights(plain.model))
    assert compiled.history == plain.history


def test_callbacks_see_the_curves(tmp_path):
    watch = Watch()
    result = fit(classifier(), tmp_path, callbacks=[watch])
    assert [log["loss"] for log in watch.logs if "loss" in log] == [row["train_loss"] for row in result.history]
    for name in ("loss", "roc_auc"):
        logged = [log[f"eval_{name}"] for log in watch.logs if f"eval_{name}" in log]
        assert logged == [row[f"validation_{name}"] for row in result.history]


def test_a_plain_line_an_epoch_without_a_terminal(tmp_path, capsys):
    fit(classifier(), tmp_path)
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "training loss" in lines[0]
    assert "ROC-AUC 0." in lines[0]
    assert "%|" not in printed.err


def test_a_loss_that_is_no_number_names_step_clips_and_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TarkibError, match=r"not finite \(nan\) at step \d of 15, clips .*checkpoint") as raised:
        fit(classifier(), tmp_path, data=Spoilt(40, 1, clip=17))
    told = re.search(r"step (\d) of 15, clips ([^;]*); (.*); lower train\.learning_rate", str(raised.value))
    clips = told[2].split(", ")
    assert len(clips) == 8
    assert "clip-17" in clips
    assert told[3] == "there is no checkpoint yet"


def test_a_network_that_burst_is_not_kept(tmp_path):
    """The loss of a step is finite and its gradient is not: a checkpoint right after it would be worthless."""

    class Bursting(Watch):
        def on_optimizer_step(self, args, state, control, model, **_):
            if state.global_step == 7:
                with torch.no_grad():
                    model.head[0].weight.fill_(float("inf"))

    with pytest.raises(TarkibError, match=r"weights are not finite after step 8 of 15.* is .*checkpoint-6; lower"):
        fit(classifier(), tmp_path, callbacks=[Bursting()], checkpoint_steps=2)
    assert [path.name for path in sorted(tmp_path.glob("*/checkpoint-*"))] == ["checkpoint-5", "checkpoint-6"]


def test_too_little_memory_names_what_to_turn(tmp_path):
    class Large(Spectra):
        def all_hidden_states(self, samples):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model = InstrumentClassifier(Large(), head_hidden=4, head_dropout=0.0)
    remedies = r"train\.batch_size 8: set run\.gradient_checkpointing .*train\.accumulate.* model\.finetune"
    with pytest.raises(TarkibError, match=remedies):
        fit(model, tmp_path)


def test_empty_sets_and_unknown_devices(tmp_path):
    with pytest.raises(TarkibError, match=r"the training set has no clips; raise augment\.train_mixtures"):
        fit(classifier(), tmp_path, data=Clips(0, 1))
    with pytest.raises(TarkibError, match=r"the validation set has no clips; raise augment\.validation_mixtures"):
        fit(classifier(), tmp_path, validation=Clips(0, 1))
    with pytest.raises(TarkibError, match=r"run\.devices: 'tpu' is unknown; choose auto, cpu, cuda"):
        fit(classifier(), tmp_path, devices="tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(tmp_path):
    with pytest.raises(TarkibError, match=r"run\.devices: cuda, but torch finds no GPU"):
        predict_logits(classifier(), Clips(4, 1), 2, "cuda")


def test_logits_keep_the_order_of_the_data_set():
    model, data = classifier(), Clips(11, 1)
    model.train()
    logits = predict_logits(model, data, 4, "cpu")
    assert logits.shape == (11, 10)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[7:8], predict_logits(model, [data[7]], 1, "cpu"), atol=1e-6)
    np.testing.assert_array_equal(logits, predict_logits(model, DataLoader(data, batch_size=4), 1, "cpu"))
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_weights_stay_what_they_were(tmp_path):
    model = classifier()
    model.backbone.requires_grad_(False)
    before = weights(model)
    fit(model, tmp_path)
    moved = {key for key, tensor in weights(model).items() if not torch.equal(tensor, before[key])}
    assert moved == set(itertools.chain(["layer_weights"], (key for key in before if key.startswith("head."))))
