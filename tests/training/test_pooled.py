import numpy as np
import pytest
import torch
from small_training import Clips, classifier, fit, mert, weights

from tarkib.errors import TarkibError
from tarkib.runtime.cache import Cache
from tarkib.training import pooled
from tarkib.training.compute import ComputeConfig
from tarkib.training.pooled import PooledHead, PooledSet
from tarkib.training.prediction import predict


def frozen(make=mert):
    model = make()
    model.backbone.requires_grad_(False)
    return model


def pooled_set(model, data, cache, content="clips"):
    return PooledSet(model, data, content=content, cache=cache, machine=ComputeConfig("cpu"), batch_size=8)


def test_the_head_on_pooled_states_equals_the_classifier_on_clips(tmp_path):
    model, data = frozen(), Clips(20, 1)
    states = pooled_set(model, data, Cache(tmp_path))
    assert states.states.shape == (20, 2, 16)
    assert states.states.dtype == np.float16
    np.testing.assert_array_equal(states.labels, data.labels)
    logits = predict(PooledHead(model), states, 8, "cpu")
    np.testing.assert_allclose(logits, predict(model, data, 8, "cpu"), atol=2e-3)
    assert states[7]["index"] == 7
    assert list(states.ids) == list(data.ids)


def test_states_are_computed_once_for_the_same_clips_and_backbone(tmp_path, monkeypatch):
    monkeypatch.setattr(pooled, "_BLOCK", 8)
    cache, data, seen = Cache(tmp_path), Clips(20, 1), []
    states = pooled_set(frozen(), data, cache)

    class Watched(Clips):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    again = pooled_set(frozen(), Watched(20, 1), cache)
    assert not seen
    np.testing.assert_array_equal(again.states, states.states)
    # A damaged block is made again, the others are not.
    block = sorted(tmp_path.rglob("*.npz"))[0]
    block.write_bytes(block.read_bytes()[:100])
    np.testing.assert_array_equal(pooled_set(frozen(), Watched(20, 1), cache).states, states.states)
    assert len(seen) in (4, 8)
    seen.clear()
    pooled_set(frozen(), Watched(20, 1), cache, content="others")
    assert len(seen) == 20
    # The number of heads changes no weight but the result.
    other = frozen()
    other.backbone.config.num_attention_heads = 1
    seen.clear()
    pooled_set(other, Watched(20, 1), cache)
    assert len(seen) == 20


def test_a_log_has_a_few_lines_while_states_are_computed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pooled, "_BLOCK", 2)
    pooled_set(frozen(), Clips(20, 1), Cache(tmp_path))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"frozen backbone: {percent} %" for percent in (30, 50, 80, 100)]


def test_states_of_clips_without_a_checksum_are_not_cached(tmp_path):
    fit(frozen(), tmp_path, epochs=1)
    assert not list(tmp_path.rglob("*.npz"))
    fit(frozen(), tmp_path, epochs=1, identity={"data": "these"})
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_a_frozen_backbone_runs_once_for_all_epochs(tmp_path):
    model, calls = frozen(), []
    model.backbone.feature_extractor.register_forward_pre_hook(lambda *_: calls.append(1))
    before = weights(model)
    result = fit(model, tmp_path, epochs=6, data=Clips(80, 1), learning_rate=2e-2)
    # 80 training and 32 validation clips in batches of 8.
    assert len(calls) == 14
    moved = {key for key, tensor in weights(result.model).items() if not torch.equal(tensor, before[key])}
    assert moved == {"layer_weights", *(key for key in before if key.startswith("head."))}
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    clips = Clips(32, 2)
    np.testing.assert_allclose(result.validation_logits, predict(result.model, clips, 8, "cpu"), atol=1e-2)
    near = predict(
        result.model,
        clips,
        8,
        "cpu",
        output=lambda samples: result.model.familiarity(result.model.states(samples))[:, None],
    )
    assert (near <= 1).mean() > 0.95


def test_a_frozen_training_learns_as_the_whole_network_would(tmp_path, monkeypatch):
    """Without the shortcut the same batches give the same head, up to the states' half precision."""
    shortcut = fit(frozen(lambda: classifier(dropout=0.0)), tmp_path / "short").model
    monkeypatch.setattr("tarkib.models.InstrumentClassifier.frozen", property(lambda self: False))
    model = frozen(lambda: classifier(dropout=0.0))
    model.backbone.dropout.p = 0.0
    whole = fit(model, tmp_path / "whole").model
    for first, second in zip(shortcut.head.parameters(), whole.head.parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-3, rtol=1e-2)


def test_a_head_alone_is_not_trained_under_a_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    with pytest.raises(TarkibError, match=r"model\.finetune: frozen .* run the train stage without a launcher"):
        fit(frozen(), tmp_path)
