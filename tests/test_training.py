import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback

from tarkib.errors import TarkibError
from tarkib.evaluation.metrics import roc_auc_macro
from tarkib.models import InstrumentClassifier
from tarkib.models.mert import MertConfig, MertModel
from tarkib.training import TrainingResult, predict_logits, train

CLIP = 1600


class Clips(Dataset):
    """Small clips of which each of ten frequencies is there or not; `labels` come from the clip, or are given."""

    def __init__(self, count: int, seed: int, labels: np.ndarray | None = None):
        rng = np.random.default_rng(seed)
        present = (rng.random((count, 10)) < 0.4).astype(np.float32)
        time = np.arange(CLIP) / CLIP
        tones = np.sin(2 * np.pi * np.arange(20, 220, 20)[:, None] * time)
        self.samples = (present @ tones + 0.5 * rng.standard_normal((count, CLIP))).astype(np.float32)
        self.labels = present if labels is None else labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"samples": torch.from_numpy(self.samples[index]), "labels": torch.from_numpy(self.labels[index])}


class Spectra(nn.Module):
    """A backbone for tests: the spectrum of frames, and a layer on it."""

    layer_count, hidden_size = 2, 81

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(81, 81)
        self.dropout = nn.Dropout(0.2)

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first = torch.fft.rfft(samples.unflatten(1, (-1, 160))).abs() / 10
        return first, self.dropout(torch.relu(self.layer(first)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small work waits longer for threads than it takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def classifier(seed: int = 0, dropout: float = 0.1) -> InstrumentClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return InstrumentClassifier(Spectra(), head_hidden=16, head_dropout=dropout)


def mert(seed: int = 0) -> InstrumentClassifier:
    """A real backbone, small, with everything in it that draws numbers."""
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
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = MertModel(config)
        backbone.enable_spec_augment(seed)
        return InstrumentClassifier(backbone, head_hidden=8, head_dropout=0.2)


def settings(**changed: object) -> SimpleNamespace:
    values = {
        "seed": 1,
        "epochs": 3,
        "batch_size": 8,
        "accumulate": 1,
        "learning_rate": 5e-3,
        "head_learning_rate": None,
        "weight_decay": 0.01,
        "warmup_fraction": 0.1,
        "max_grad_norm": 1.0,
        "pos_weight": 0.8,
    }
    return SimpleNamespace(**{**values, **changed})


def fit(
    model: InstrumentClassifier,
    folder: Path,
    *,
    data: Dataset | None = None,
    validation: Dataset | None = None,
    **options,
) -> TrainingResult:
    params = settings(**{key: options.pop(key) for key in list(options) if key in vars(settings())})
    return train(
        model, data or Clips(40, 1), validation or Clips(32, 2), params, checkpoints=folder, device="cpu", **options
    )


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[key], second[key]) for key in first) and first.keys() == second.keys()


class Watch(TrainerCallback):
    """Keeps the weights after each epoch and the learning rates at each step; may spoil an epoch, or kill."""

    def __init__(self, spoil: int | None = None, kill: int | None = None):
        self.after: dict[int, dict[str, torch.Tensor]] = {}
        self.rates: list[list[float]] = []
        self.logs: list[dict[str, float]] = []
        self.spoil, self.kill = spoil, kill

    def on_step_begin(self, args, state, control, optimizer, **_):
        self.rates.append([group["lr"] for group in optimizer.param_groups])

    def on_epoch_end(self, args, state, control, model, **_):
        if round(state.epoch) == self.spoil:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.neg_()

    def on_evaluate(self, args, state, control, model, **_):
        self.after[round(state.epoch)] = weights(model)

    def on_log(self, args, state, control, logs, **_):
        self.logs.append(logs)

    def on_save(self, args, state, control, **_):
        if round(state.epoch) == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)


def test_it_learns_and_the_history_tells_it(tmp_path):
    model = classifier()
    result = fit(model, tmp_path, data=Clips(160, 1), epochs=6)
    assert [row["epoch"] for row in result.history] == [1, 2, 3, 4, 5, 6]
    assert result.history[-1]["train_loss"] < 0.8 * result.history[0]["train_loss"]
    assert result.best_roc_auc > 0.9
    assert list(result.history[0]) == ["epoch", "train_loss", "validation_loss", "validation_roc_auc"]


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
    results = [fit(model, tmp_path / str(i), workers=2 * (i == 2)) for i, model in enumerate(models)]
    assert same(weights(models[0]), weights(models[1]))
    assert same(weights(models[0]), weights(models[2]))
    assert results[0].history == results[1].history == results[2].history
    other = classifier()
    fit(other, tmp_path / "other", seed=2)
    assert not same(weights(models[0]), weights(other))


def test_the_caller_s_generator_is_left_alone(tmp_path):
    before = torch.get_rng_state()
    fit(classifier(), tmp_path, epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_killed_and_resumed_it_ends_as_if_undisturbed(tmp_path):
    undisturbed = mert()
    expected = fit(undisturbed, tmp_path / "whole", epochs=4)
    code = (
        f"import sys, torch; sys.path.insert(0, {str(Path(__file__).parent)!r}); torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from test_training import Watch, fit, mert\n"
        f"fit(mert(), Path({str(tmp_path / 'killed')!r}), epochs=4, callbacks=[Watch(kill=2)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    watch, resumed = Watch(), mert()
    result = fit(resumed, tmp_path / "killed", epochs=4, callbacks=[watch])
    # The kill came before the second checkpoint had its mark or after: at least the first is taken up.
    assert 1 not in watch.after
    assert 4 in watch.after
    assert same(weights(resumed), weights(undisturbed))
    assert result.history == expected.history
    assert (result.best_epoch, result.best_roc_auc) == (expected.best_epoch, expected.best_roc_auc)
    np.testing.assert_array_equal(result.validation_logits, expected.validation_logits)


def newest(folder: Path) -> Path:
    return max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def test_an_incomplete_newest_checkpoint_is_skipped(tmp_path):
    first, again, watch = classifier(), classifier(), Watch()
    expected = fit(first, tmp_path)
    (newest(tmp_path) / "complete").unlink()
    (newest(tmp_path) / "optimizer.pt").write_bytes(b"half")
    result = fit(again, tmp_path, callbacks=[watch])
    assert list(watch.after) == [3]
    assert same(weights(first), weights(again))
    assert result.history == expected.history


def test_a_finished_training_is_not_repeated(tmp_path):
    first, again, watch = classifier(), classifier(), Watch()
    expected = fit(first, tmp_path)
    result = fit(again, tmp_path, callbacks=[watch])
    assert not watch.after
    assert same(weights(first), weights(again))
    np.testing.assert_array_equal(result.validation_logits, expected.validation_logits)


@pytest.mark.parametrize("changed", [{"learning_rate": 1e-3}, {"identity": "other data"}, {"resume": False}])
def test_another_training_s_checkpoints_are_not_taken_up(tmp_path, changed):
    fit(classifier(), tmp_path / "used")
    models, watch = [classifier(), classifier()], Watch()
    fit(models[0], tmp_path / "used", callbacks=[watch], **changed)
    fit(models[1], tmp_path / "fresh", **changed)
    assert list(watch.after) == [1, 2, 3]
    assert same(weights(models[0]), weights(models[1]))


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
    assert sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*")) == [5, 20, 25]


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


def test_learning_rates_rise_and_fall_the_head_with_its_own(tmp_path):
    watch = Watch()
    fit(classifier(), tmp_path, callbacks=[watch], epochs=4, warmup_fraction=0.25, head_learning_rate=1e-2)
    assert len(watch.rates) == 20
    rates = np.array(watch.rates)
    backbone, head = rates.min(axis=1), rates.max(axis=1)
    np.testing.assert_allclose(backbone, [5e-3 * min(i / 5, (20 - i) / 15) for i in range(20)], rtol=1e-6)
    np.testing.assert_allclose(head, 2 * backbone, rtol=1e-6)


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


def test_a_loss_that_is_no_number_names_its_step(tmp_path):
    class Bursting(Watch):
        def on_step_begin(self, args, state, control, model, **_):
            if state.global_step == 6:
                with torch.no_grad():
                    model.head[0].weight.fill_(float("nan"))

    with pytest.raises(TarkibError, match=r"not finite \(nan\) at step 7 of 15; lower train\.learning_rate"):
        fit(classifier(), tmp_path, callbacks=[Bursting()])
    # Nothing was kept of the epoch in which it happened.
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-5"]


def test_too_little_memory_names_what_to_turn(tmp_path):
    class Large(Spectra):
        def all_hidden_states(self, samples):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    model = InstrumentClassifier(Large(), head_hidden=4, head_dropout=0.0)
    with pytest.raises(TarkibError, match=r"train\.batch_size 8: lower it .*train\.accumulate.* model\.finetune"):
        fit(model, tmp_path)


def test_empty_sets_and_unknown_devices(tmp_path):
    with pytest.raises(TarkibError, match=r"the training set has no clips; raise augment\.train_mixtures"):
        train(classifier(), Clips(0, 1), Clips(4, 1), settings(), checkpoints=tmp_path)
    with pytest.raises(TarkibError, match=r"the validation set has no clips; raise augment\.validation_mixtures"):
        train(classifier(), Clips(4, 1), Clips(0, 1), settings(), checkpoints=tmp_path)
    with pytest.raises(TarkibError, match=r"run\.devices: 'tpu' is unknown; choose auto, cpu or cuda"):
        train(classifier(), Clips(4, 1), Clips(4, 1), settings(), checkpoints=tmp_path, device="tpu")


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
