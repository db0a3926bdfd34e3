import errno
import math
import multiprocessing
import os
import re
import signal

import numpy as np
import pytest
import torch
from small_training import (
    Clips,
    Spectra,
    Watch,
    classifier,
    fit,
    mert,
    same,
    train_until_killed,
    train_while_writing,
    weights,
)

from tarkib.errors import TarkibError
from tarkib.evaluation.metrics import roc_auc_macro
from tarkib.models import InstrumentClassifier
from tarkib.training import checkpoints, fitting, trainer
from tarkib.training.fitting import TrainingResult
from tarkib.training.prediction import predict

pytestmark = pytest.mark.slow

# Forks of a process that has imported what a training needs, and trained nothing: autograd does not survive a fork.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tarkib.training.fitting"])


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory) -> TrainingResult:
    """Three epochs of the small classifier without interruption."""
    return fit(classifier(), tmp_path_factory.mktemp("ordinary"))


def test_the_best_epoch_s_weights_are_restored(tmp_path):
    model, watch, validation = classifier(), Watch(spoil=3), Clips(32, 2)
    result = fit(model, tmp_path, validation=validation, callbacks=[watch], epochs=5)
    areas = [row["validation_roc_auc"] for row in result.history]
    assert areas[2] < areas[1]
    assert result.best_epoch == 1 + int(np.argmax(areas)) < 3
    assert same(weights(model), watch.after[result.best_epoch])
    assert not same(weights(model), watch.after[5])
    # The logits belong to these weights and give the score that selected them.
    np.testing.assert_allclose(result.validation_logits, predict(model, validation, 5, "cpu"), atol=1e-5)
    scores = torch.sigmoid(torch.from_numpy(result.validation_logits).double()).numpy()
    assert float(roc_auc_macro(validation.labels, scores)) == pytest.approx(result.best_roc_auc, abs=1e-12)
    # The newest two checkpoints and the best stay, five steps an epoch.
    kept = {int(path.name.split("-")[1]) for path in tmp_path.glob("*/checkpoint-*")}
    assert kept == {20, 25, 5 * result.best_epoch}


def test_a_training_is_reported_and_not_repeated(tmp_path, capsys):
    """To callbacks, and in a plain line an epoch without a terminal; other weights are another training."""
    watch, again, other = Watch(), Watch(), Watch()
    result = fit(classifier(), tmp_path, data=Clips(160, 1), epochs=4, callbacks=[watch])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"epoch {epoch}/4" for epoch in (1, 2, 3, 4)]
    assert "training loss" in lines[0]
    assert "ROC-AUC 0." in lines[0]
    assert "%|" not in printed.err
    assert [log["loss"] for log in watch.logs if "loss" in log] == [row["train_loss"] for row in result.history]
    for name in ("loss", "roc_auc"):
        logged = [log[f"eval_{name}"] for log in watch.logs if f"eval_{name}" in log]
        assert logged == [row[f"validation_{name}"] for row in result.history]
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4]
    assert result.history[-1]["train_loss"] < 0.9 * result.history[0]["train_loss"]
    assert result.best_roc_auc > 0.8
    repeated = fit(classifier(), tmp_path, data=Clips(160, 1), epochs=4, callbacks=[again])
    assert not again.after
    assert same(weights(repeated.model), weights(result.model))
    fit(classifier(seed=9), tmp_path, data=Clips(160, 1), epochs=4, callbacks=[other])
    assert list(other.after) == [1, 2, 3, 4]


def test_equal_seeds_give_equal_weights_for_any_number_of_loaders(tmp_path, ordinary):
    result = fit(classifier(), tmp_path, loaders=2)
    assert same(weights(result.model), weights(ordinary.model))
    assert result.history == ordinary.history
    assert not same(weights(fit(classifier(), tmp_path, seed=2).model), weights(ordinary.model))


# 40 clips are 5 batches an epoch: steps 5 and 10 end one, checkpoints are at 2, 4, 5, 6, 8, 10, ...
@pytest.mark.parametrize(("accumulate", "kill", "resumed_at"), [(1, 1, 0), (1, 6, 5), (1, 14, 12), (2, 5, 4)])
def test_a_killed_and_resumed_training_ends_like_an_undisturbed_one(tmp_path, capsys, accumulate, kill, resumed_at):
    expected = fit(mert(), tmp_path / "whole", epochs=3, accumulate=accumulate)
    folder, watch = tmp_path / "killed", Watch()
    process = FORKS.Process(target=train_until_killed, args=(folder, kill, accumulate))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    result = fit(mert(), folder, epochs=3, accumulate=accumulate, checkpoint_steps=2, callbacks=[watch])
    assert watch.steps[0] == resumed_at + 1
    assert ("going on from the checkpoint" in capsys.readouterr().out) == (resumed_at > 0)
    assert same(weights(result.model), weights(expected.model))
    assert result.history == expected.history
    assert result.best_epoch == expected.best_epoch
    np.testing.assert_array_equal(result.validation_logits, expected.validation_logits)


def test_a_training_goes_on_while_its_checkpoint_is_written(tmp_path):
    expected, watch = fit(mert(), tmp_path / "whole"), Watch()
    process = FORKS.Process(target=train_while_writing, args=(tmp_path / "killed",), daemon=True)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    result = fit(mert(), tmp_path / "killed", checkpoint_steps=2, callbacks=[watch])
    assert watch.steps[0] == 5
    assert same(weights(result.model), weights(expected.model))
    assert result.history == expected.history


@pytest.mark.parametrize(("step", "last"), [(4, "checkpoint-2"), (15, "checkpoint-14")])
def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path, monkeypatch, step, last):
    finish = checkpoints.finish

    def fail(folder, number, *args):
        if number == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        finish(folder, number, *args)

    monkeypatch.setattr(checkpoints, "finish", fail)
    message = rf"checkpoint-{step}: cannot be written \(.*No space left.*it goes on from {last}$"
    with pytest.raises(TarkibError, match=message):
        fit(classifier(), tmp_path, checkpoint_steps=2)


@pytest.mark.parametrize(
    ("problem", "kind", "message"),
    [
        (
            "DefaultCPUAllocator: can't allocate memory",
            TarkibError,
            r"memory is too small .*goes on from checkpoint-2 \(",
        ),
        ("CUDA error: an illegal memory access", RuntimeError, "illegal memory access"),
    ],
)
def test_too_little_memory_for_a_copy_is_no_full_disk(tmp_path, monkeypatch, problem, kind, message):
    copy = trainer._on_host

    def fail(values):
        if list(tmp_path.glob("*/checkpoint-2/complete")):
            raise RuntimeError(problem)
        return copy(values)

    monkeypatch.setattr(trainer, "_on_host", fail)
    with pytest.raises(kind, match=message):
        fit(classifier(), tmp_path, checkpoint_steps=2)


@pytest.mark.parametrize("cut", ["mark", "complete", "optimizer.pt"])
def test_an_incomplete_newest_checkpoint_is_skipped(tmp_path, cut, ordinary):
    fit(classifier(), tmp_path)
    newest = max(tmp_path.glob("*/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    if cut == "mark":
        (newest / "complete").unlink()
    else:
        os.truncate(newest / cut, 100)
    watch = Watch()
    result = fit(classifier(), tmp_path, callbacks=[watch])
    assert list(watch.after) == [3]
    assert same(weights(result.model), weights(ordinary.model))
    assert result.history == ordinary.history


def test_checkpoints_whose_best_one_is_damaged_are_dropped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), tmp_path, epochs=4, callbacks=[Watch(spoil=2, stop=18)])
    found = {path.name: path for path in tmp_path.glob("*/checkpoint-*")}
    assert sorted(found) == ["checkpoint-10", "checkpoint-15", "checkpoint-5"]
    os.truncate(found["checkpoint-5"] / "model.safetensors", 100)
    watch = Watch()
    fit(classifier(), tmp_path, epochs=4, callbacks=[watch])
    assert watch.steps[0] == 1


def test_another_training_starts_afresh_and_names_the_unfinished_one(tmp_path, capsys):
    changed = {"learning_rate": 1e-3, "identity": {"data": "ee"}}
    with pytest.raises(KeyboardInterrupt):
        fit(classifier(), tmp_path / "used", callbacks=[Watch(stop=5)], checkpoint_steps=2)
    watch = Watch()
    first = fit(classifier(), tmp_path / "used", callbacks=[watch], **changed).model
    differences = "data (None, now ee), train.learning_rate (0.005, now 0.001)"
    assert f"an unfinished training with other {differences} stopped at step 4" in capsys.readouterr().out
    assert watch.steps[0] == 1
    assert same(weights(first), weights(fit(classifier(), tmp_path / "fresh", **changed).model))


def test_the_same_training_twice_at_once_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "_PATIENCE_S", 0.0)

    class Again(Watch):
        def on_step_begin(self, *args, **options):
            super().on_step_begin(*args, **options)
            if self.steps[-1] == 7:
                with pytest.raises(TarkibError, match="another process runs this training; wait for it"):
                    fit(classifier(), tmp_path)
                # Nor does another training call it unfinished.
                fit(classifier(), tmp_path, epochs=1)

    watch = Again()
    fit(classifier(), tmp_path, callbacks=[watch])
    assert len(watch.steps) == 15
    assert "unfinished" not in capsys.readouterr().out


def test_without_a_class_of_both_kinds_the_loss_selects(tmp_path, capsys):
    result = fit(classifier(), tmp_path, validation=Clips(16, 2, labels=np.zeros((16, 10), np.float32)))
    losses = [row["validation_loss"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert all(row["validation_roc_auc"] is None for row in result.history)
    assert capsys.readouterr().out.count("the epoch with the lowest loss is taken") == 1


@pytest.mark.parametrize(("loss", "warned"), [(0.79, True), (0.55, False)])
def test_a_best_epoch_with_a_far_higher_loss_than_the_lowest_is_warned_of(capsys, loss, warned):
    fitting._warn_of_overfitting([{"epoch": 1, "validation_loss": 0.51}, {"epoch": 2, "validation_loss": loss}], 2)
    expected = "overfitting: epoch 2 ranks best, but its validation loss is 0.79 and was 0.51 in epoch 1"
    assert capsys.readouterr().out.startswith(expected) == warned


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_weighted_binary_cross_entropy(tmp_path, smoothing):
    model, data = classifier(dropout=0.0), Clips(8, 1)
    model.backbone.dropout.p = 0.0
    scores = torch.sigmoid(torch.from_numpy(predict(model, data, 8, "cpu"))).double()
    labels = torch.from_numpy(data.labels).double()

    def loss(labels: torch.Tensor) -> float:
        return float(-(0.8 * labels * torch.log(scores) + (1 - labels) * torch.log(1 - scores)).mean())

    options = {"epochs": 1, "learning_rate": 1e-12, "label_smoothing": smoothing}
    (row,) = fit(model, tmp_path, data=data, validation=data, **options).history
    smooth = torch.where(labels == 1, 1 - smoothing / 2, smoothing / 2)
    assert row["train_loss"] == pytest.approx(loss(smooth), rel=1e-5)
    assert row["validation_loss"] == pytest.approx(loss(labels), rel=1e-5), "comparable between settings"


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
def test_learning_rates_follow_the_schedule_and_the_head_has_its_own(tmp_path, schedule, left):
    watch = Watch()
    options = {"epochs": 4, "warmup_fraction": 0.25, "head_learning_rate": 1e-2, "schedule": schedule}
    fit(classifier(), tmp_path, callbacks=[watch], **options)
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
    # 15 steps, in which the layer runs forward twice, and 3 times 4 validation batches; at the end all 5 + 4 batches.
    assert len(calls) == 2 * 15 + 3 * 4 + 5 + 4


def test_a_loss_that_is_not_finite_names_step_clips_and_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TarkibError) as raised:
        fit(classifier(), tmp_path, data=Clips(40, 1, spoilt=17))
    message = (
        r"the loss is not finite \(nan\) at step \d of 15, clips ([^;]*); last good checkpoint: none yet; lower train"
    )
    clips = re.match(message, str(raised.value))[1].split(", ")
    assert len(clips) == 8
    assert "clip-17" in clips


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """The loss of the step is finite but its gradient is not: a checkpoint right after it would be worthless."""

    class Bursting(Watch):
        def on_optimizer_step(self, args, state, control, model, **_):
            if state.global_step == 7:
                with torch.no_grad():
                    model.head[0].weight.fill_(float("inf"))

    with pytest.raises(
        TarkibError, match=r"weights are not finite after step 8 of 15.* checkpoint: .*checkpoint-6; lower"
    ):
        fit(classifier(), tmp_path, callbacks=[Bursting()], checkpoint_steps=2)
    assert [path.name for path in sorted(tmp_path.glob("*/checkpoint-*"))] == ["checkpoint-5", "checkpoint-6"]


def test_too_little_memory_names_what_to_change(tmp_path):
    class Large(Spectra):
        def all_hidden_states(self, samples):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model = InstrumentClassifier(Large(), head_hidden=4, head_dropout=0.0)
    remedies = r"train\.batch_size 8: set run\.gradient_checkpointing .*train\.accumulate.* model\.finetune"
    with pytest.raises(TarkibError, match=remedies):
        fit(model, tmp_path)


def test_logits_keep_the_order_of_the_data_set():
    model, data = classifier(), Clips(11, 1)
    model.train()
    logits = predict(model, data, 4, "cpu")
    assert (logits.shape, logits.dtype) == ((11, 10), np.float32)
    np.testing.assert_allclose(logits[7:8], predict(model, [data[7]], 1, "cpu"), atol=1e-6)
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
