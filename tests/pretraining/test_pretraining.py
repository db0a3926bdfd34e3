# ruff: noqa: F401, F811 (fixtures are imported)
import re
from pathlib import Path

import pytest
import torch
from models.small_mert import published
from small_corpus import corpus, melody, pretrain_params, recordings

from tarkib import pretraining
from tarkib.errors import TarkibError
from tarkib.models.backbone import load_backbone
from tarkib.models.files import save_mert
from tarkib.pretraining import Corpus, Pretrained, cut, training
from tarkib.training.compute import ComputeConfig

pytestmark = pytest.mark.slow


def pretrain(corpus: Corpus, folder: Path, machine: ComputeConfig | None = None, **changed: object) -> Pretrained:
    machine = machine or ComputeConfig(devices="cpu")
    return training.pretrain(pretrain_params(**changed), corpus, checkpoint_root=folder, machine=machine)


@pytest.fixture(scope="module")
def plain(corpus, tmp_path_factory) -> Pretrained:
    """Four steps in one process without interruption."""
    return pretrain(corpus, tmp_path_factory.mktemp("plain"))


def same(first: Pretrained, second: Pretrained) -> bool:
    states = (first.model.state_dict(), second.model.state_dict())
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_held_out_frames_are_predicted_better_than_by_chance(corpus, tmp_path, capsys):
    result = pretrain(corpus, tmp_path / "checkpoints", steps=40, batch_size=4, clusters=6, learning_rate=5e-3)
    first, last, chance = result.history[0], result.history[-1], result.chance
    assert (first["step"], last["step"]) == (0, 40)
    assert last["acoustic"] < 0.8 * chance["acoustic"] < first["acoustic"]
    assert last["accuracy"] > chance["accuracy"] + 0.1
    assert last["musical"] < 0.85 < first["musical"]
    assert not result.model.training
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("chance: acoustic loss 1.")
    form = r"step \d+/40, held out: acoustic loss [\d.]+, accuracy in masked frames [\d.]+%, musical loss [\d.]+ \(.*\)"
    assert len([line for line in lines if re.fullmatch(form, line)]) == len(result.history) == 21


@pytest.mark.parametrize("options", [{"loaders": 2}, {"gradient_checkpointing": True}])
def test_how_it_runs_does_not_change_the_weights(corpus, plain, tmp_path, options):
    assert same(plain, pretrain(corpus, tmp_path, ComputeConfig(devices="cpu", **options)))


def test_two_processes_learn_the_same_up_to_rounding(corpus, plain, tmp_path):
    two = pretrain(corpus, tmp_path, ComputeConfig(devices="cpu x 2"))
    for theirs, ours in zip(two.history, plain.history, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    for key, tensor in plain.model.state_dict().items():
        # A softmax does not depend on the keys' bias: its gradient is rounding, which Adam turns into steps.
        if not key.endswith("k_proj.bias"):
            torch.testing.assert_close(two.model.state_dict()[key], tensor, atol=1e-5, rtol=1e-4)


def test_a_killed_training_resumes(corpus, plain, tmp_path, monkeypatch, capsys):
    machine = ComputeConfig(devices="cpu", checkpoint_steps=2)
    step = training._Trainer.training_step

    def killed(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(training._Trainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(corpus, tmp_path, machine)
    capsys.readouterr()
    resumed = pretrain(corpus, tmp_path, machine)
    assert "resuming from the checkpoint of step 2 of 4" in capsys.readouterr().out
    assert same(plain, resumed)
    assert resumed.history == plain.history


def test_a_checkpoint_of_the_published_layout_is_trained_further(corpus, tmp_path):
    published(tmp_path / "start")
    start = load_backbone(str(tmp_path / "start"), seed=1).state_dict()
    result = pretrain(corpus, tmp_path / "checkpoints", start=str(tmp_path / "start"), steps=2, learning_rate=1e-6)
    for key, tensor in result.model.backbone.state_dict().items():
        torch.testing.assert_close(tensor, start[key], atol=1e-5, rtol=0)
        assert not torch.equal(tensor, start[key])


def test_the_saved_backbone_loads_with_its_card(corpus, plain, tmp_path):
    samples = torch.from_numpy(melody(5.0, 9))[None]
    card = pretraining.card(pretrain_params(), corpus, plain)
    save_mert(tmp_path, plain.model.backbone, card)
    loaded = load_backbone(str(tmp_path), seed=3).eval()
    with torch.no_grad():
        states = [backbone.all_hidden_states(samples) for backbone in (loaded, plain.model.backbone)]
    assert all(torch.equal(first, second) for first, second in zip(*states, strict=True))
    assert "4 recordings, 0.01 hours" in card
    assert "in spans of 20" in card


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"start": "mel-cnn"}, r"pretrain\.start: mel-cnn is not a MERT"),
        ({"start": "mert-huge"}, r"pretrain\.start: .*mert-huge"),
        ({"clusters": 60_000}, r"pretrain\.clusters: .*fewer than 60000"),
    ],
)
def test_errors_name_the_parameter(corpus, tmp_path, changed, message):
    with pytest.raises(TarkibError, match=message):
        pretrain(corpus, tmp_path, **changed)


def test_a_non_finite_loss_is_an_error(corpus, tmp_path, monkeypatch):
    right = training._Trainer.compute_loss

    def broken(self, *args, **kwargs):
        return right(self, *args, **kwargs) * (float("nan") if self.state.global_step == 1 else 1.0)

    monkeypatch.setattr(training._Trainer, "compute_loss", broken)
    with pytest.raises(TarkibError, match=r"not finite .*at step 2 .*lower pretrain\.learning_rate"):
        pretrain(corpus, tmp_path)
