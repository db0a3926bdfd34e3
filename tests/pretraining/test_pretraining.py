import re
from pathlib import Path

import pytest
import torch
from small_corpus import melody, pretrain_params, recordings, write  # noqa: F401 (two are fixtures)
from small_mert import published

from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone
from tarkib.pretraining import Corpus, Pretrained, cut, publishing, training
from tarkib.training.compute import ComputeConfig


@pytest.fixture
def corpus(recordings, tmp_path) -> Corpus:  # noqa: F811
    return cut(recordings, tmp_path / "cache", workers=1)


def pretrain(corpus: Corpus, folder: Path, machine: ComputeConfig | None = None, **changed: object) -> Pretrained:
    machine = machine or ComputeConfig(devices="cpu")
    return training.pretrain(pretrain_params(**changed), corpus, checkpoints=folder, machine=machine)


def same(one: Pretrained, other: Pretrained) -> bool:
    states = (one.model.state_dict(), other.model.state_dict())
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_what_is_held_out_is_guessed_better_than_without_hearing(corpus, tmp_path, capsys):
    result = pretrain(corpus, tmp_path / "checkpoints", steps=40, batch_size=4, clusters=6, learning_rate=5e-3)
    first, last, guess = result.history[0], result.history[-1], result.guess
    assert (first["step"], last["step"]) == (0, 40)
    assert last["acoustic"] < 0.8 * guess["acoustic"] < first["acoustic"]
    assert last["accuracy"] > guess["accuracy"] + 0.1
    assert last["musical"] < 0.85 < first["musical"]
    assert not result.model.training
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a guess that hears nothing: acoustic loss 1.")
    form = (
        r"step \d+/40, held out: acoustic loss [\d.]+, of the masked frames [\d.]+% right, musical loss [\d.]+ \(.* s\)"
    )
    assert len([line for line in lines if re.fullmatch(form, line)]) == len(result.history) == 21


def test_the_same_seed_gives_the_same_weights_with_any_number_of_loaders(corpus, tmp_path):
    one = pretrain(corpus, tmp_path / "one")
    assert same(one, pretrain(corpus, tmp_path / "two", ComputeConfig(devices="cpu", loaders=2)))
    assert not same(one, pretrain(corpus, tmp_path / "three", seed=2))


def test_two_processes_learn_what_one_learns(corpus, tmp_path):
    changed = {"batch_size": 4, "steps": 4}
    one = pretrain(corpus, tmp_path / "one", **changed)
    two = pretrain(corpus, tmp_path / "two", ComputeConfig(devices="cpu x 2"), **changed)
    assert one.history[-1]["acoustic"] < 0.95 * one.history[0]["acoustic"]
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for key, tensor in one.model.state_dict().items():
        # A softmax does not see the keys' bias: its gradient is rounding alone, and Adam makes steps of it.
        if not key.endswith("k_proj.bias"):
            torch.testing.assert_close(two.model.state_dict()[key], tensor, atol=1e-5, rtol=1e-4)


def test_activations_computed_twice_change_no_weight(corpus, tmp_path):
    kept = pretrain(corpus, tmp_path / "kept", steps=3)
    twice = pretrain(corpus, tmp_path / "twice", ComputeConfig(devices="cpu", gradient_checkpointing=True), steps=3)
    assert same(kept, twice)


def test_a_killed_one_goes_on_where_it_was(corpus, tmp_path, monkeypatch, capsys):
    whole = pretrain(corpus, tmp_path / "whole")
    machine = ComputeConfig(devices="cpu", checkpoint_steps=2)
    step = training._Trainer.training_step

    def killed(self, *args, **kwargs):
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(training._Trainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus, tmp_path / "killed", machine)
    capsys.readouterr()
    continued = pretrain(corpus, tmp_path / "killed", machine)
    assert "going on from the checkpoint of step 4 of 6" in capsys.readouterr().out
    assert same(whole, continued)
    assert [row["step"] for row in continued.history] == list(range(7))
    assert continued.history == whole.history


def test_a_checkpoint_of_the_published_layout_is_carried_on(corpus, tmp_path):
    published(tmp_path / "start")
    start = load_backbone(str(tmp_path / "start"), seed=1)
    result = pretrain(corpus, tmp_path / "checkpoints", start=str(tmp_path / "start"), steps=2, learning_rate=1e-6)
    for key, tensor in start.state_dict().items():
        torch.testing.assert_close(result.model.backbone.state_dict()[key], tensor, atol=1e-5, rtol=0)
    moved = [
        not torch.equal(result.model.backbone.state_dict()[key], tensor) for key, tensor in start.state_dict().items()
    ]
    assert all(moved)


def test_the_folder_loads_as_the_backbone_that_it_is(corpus, tmp_path):
    result = pretrain(corpus, tmp_path / "checkpoints", steps=2)
    samples = torch.from_numpy(melody(5.0, 9))[None]
    with torch.no_grad():
        expected = result.model.backbone.all_hidden_states(samples)
    for dtype, tolerance in ((torch.float32, 0.0), (torch.float16, 0.02)):
        folder = tmp_path / str(dtype)
        folder.mkdir()
        text = publishing.card(pretrain_params(), corpus, result)
        publishing.write(folder, result.model.backbone, text, dtype)
        assert {path.name for path in folder.iterdir()} == {
            "README.md",
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
        }
        loaded = load_backbone(str(folder), seed=3).eval()
        with torch.no_grad():
            found = loaded.all_hidden_states(samples)
        for a, b in zip(found, expected, strict=True):
            assert float((a - b).abs().max()) <= tolerance * float(b.abs().max())
    assert (folder / "model.safetensors").stat().st_size < 600_000
    assert "4 recordings, 0.01 hours" in text
    assert "in spans of 20" in text


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"start": "mel-cnn"}, r"pretrain\.start: mel-cnn is no MERT"),
        ({"start": "mert-huge"}, r"pretrain\.start: .*mert-huge"),
        ({"clusters": 60_000}, r"pretrain\.clusters: .*fewer than 60000"),
    ],
)
def test_errors_name_the_remedy(corpus, tmp_path, changed, message):
    with pytest.raises(TarkibError, match=message):
        pretrain(corpus, tmp_path / "checkpoints", **changed)


def test_a_loss_that_is_no_number_ends_it(corpus, tmp_path, monkeypatch):
    right = training._Trainer.compute_loss

    def spoilt(self, *args, **kwargs):
        return right(self, *args, **kwargs) * (float("nan") if self.state.global_step == 3 else 1.0)

    monkeypatch.setattr(training._Trainer, "compute_loss", spoilt)
    with pytest.raises(TarkibError, match=r"not finite .*at step 4 .*lower pretrain\.learning_rate"):
        pretrain(corpus, tmp_path / "checkpoints")
