import numpy as np
import pytest
import torch
from small_training import Clips, Watch, classifier, fit, mert, same, weights

from tarkib.runtime.cache import Cache
from tarkib.training import pooled
from tarkib.training.pooled import PooledHead, PooledSet
from tarkib.training.prediction import predict_logits


def frozen(make=mert):
    model = make()
    model.backbone.requires_grad_(False)
    return model


def pooled_set(model, data, cache, content="clips"):
    return PooledSet(model, data, content=content, cache=cache, device="cpu", batch_size=8, workers=0)


def test_the_head_gives_for_pooled_states_what_the_classifier_gives_for_clips(tmp_path):
    model, data = frozen(), Clips(20, 1)
    states = pooled_set(model, data, Cache(tmp_path))
    assert states.states.shape == (20, 2, 16)
    assert states.states.dtype == np.float16
    np.testing.assert_array_equal(states.labels, data.labels)
    logits = predict_logits(PooledHead(model), states, 8, "cpu")
    np.testing.assert_allclose(logits, predict_logits(model, data, 8, "cpu"), atol=2e-3)
    assert states[7]["index"] == 7
    assert list(states.ids) == list(data.ids)


def test_states_are_found_once_and_again_where_clips_or_backbone_are_others(tmp_path, monkeypatch):
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
    other = frozen()
    with torch.no_grad():
        other.backbone.feature_projection.projection.weight.add_(1)
    assert not np.array_equal(pooled_set(other, Watched(20, 1), cache).states, states.states)
    assert len(seen) == 40


def test_what_is_kept_belongs_to_a_configuration_too(tmp_path):
    """The number of heads changes no weight, and what comes out."""
    cache = Cache(tmp_path)
    states = pooled_set(frozen(), Clips(8, 1), cache).states
    other = frozen()
    other.backbone.config.num_attention_heads = 1
    attention = other.backbone.encoder.layers[0].attention
    attention.num_heads, attention.head_dim = 1, 16
    attention.scaling = 16**-0.5
    assert not np.array_equal(pooled_set(other, Clips(8, 1), cache).states, states)


def test_clips_that_nothing_names_are_not_kept(tmp_path):
    fit(frozen(), tmp_path, epochs=1)
    assert not list(tmp_path.rglob("*.npz"))
    fit(frozen(), tmp_path, epochs=1, identity={"data": "these"})
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_a_frozen_backbone_is_run_once_whatever_the_epochs(tmp_path):
    model, before = frozen(), None
    calls = []
    model.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    before = weights(model)
    result = fit(model, tmp_path, epochs=12, data=Clips(160, 1), learning_rate=2e-2)
    # 160 training and 32 validation clips in batches of 8.
    assert len(calls) == 24
    moved = {key for key, tensor in weights(result.model).items() if not torch.equal(tensor, before[key])}
    assert moved == {"layer_weights", *(key for key in before if key.startswith("head."))}
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    clips = Clips(32, 2)
    np.testing.assert_allclose(result.validation_logits, predict_logits(result.model, clips, 8, "cpu"), atol=1e-2)


def test_a_frozen_training_learns_as_the_whole_network_would(tmp_path, monkeypatch):
    """Without the shortcut the same batches give the same head, up to the half precision of what is kept."""
    shortcut = fit(frozen(lambda: classifier(dropout=0.0)), tmp_path / "short").model
    monkeypatch.setattr("tarkib.models.InstrumentClassifier.frozen", property(lambda self: False))
    model = frozen(lambda: classifier(dropout=0.0))
    model.backbone.dropout.p = 0.0
    whole = fit(model, tmp_path / "whole").model
    for first, second in zip(shortcut.head.parameters(), whole.head.parameters(), strict=True):
        torch.testing.assert_close(first, second, atol=2e-3, rtol=1e-2)


def test_a_killed_head_training_is_taken_up_again(tmp_path):
    class Stop(Watch):
        def on_step_begin(self, *args, **options):
            super().on_step_begin(*args, **options)
            if self.steps[-1] == 8:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(frozen(), tmp_path / "killed", callbacks=[Stop()], checkpoint_steps=3)
    watch = Watch()
    resumed = fit(frozen(), tmp_path / "killed", callbacks=[watch], checkpoint_steps=3)
    assert watch.steps[0] == 7
    assert same(weights(resumed.model), weights(fit(frozen(), tmp_path / "whole").model))
