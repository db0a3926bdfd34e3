import hashlib
import json
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_mert import model_params, published, tiny

from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier, build, load
from tarkib.models.checkpoint import save_mert
from tarkib.models.mert import MertModel
from tarkib.vocabulary import INSTRUMENTS


def clips(count: int = 2, seconds: float = 0.5) -> torch.Tensor:
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.standard_normal((count, int(seconds * 24_000))).astype(np.float32))


def stirred(classifier: InstrumentClassifier) -> InstrumentClassifier:
    """The classifier with noise on every weight, as after training."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return classifier.eval()


def logits(classifier: InstrumentClassifier, samples: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return classifier(samples)


def test_forward_is_the_formula_of_the_design():
    classifier, samples = stirred(build(model_params(), seed=0)), 0.1 * clips() + 0.3
    normal = (samples - samples.mean(1, keepdim=True)) / samples.std(1, correction=0, keepdim=True)
    with torch.no_grad():
        states = torch.stack(classifier.backbone.all_hidden_states(normal), dim=1)
        shares = torch.exp(classifier.layer_weights) / torch.exp(classifier.layer_weights).sum()
        mixed = torch.einsum("blth,l->bh", states, shares) / states.shape[2]
        first, _, _, second = classifier.head
        expected = torch.relu(mixed @ first.weight.T + first.bias) @ second.weight.T + second.bias
    assert states.shape[1] == len(classifier.layer_weights) == 3
    assert expected.shape == (2, 10)
    torch.testing.assert_close(logits(classifier, samples), expected, atol=1e-4, rtol=1e-4)


def test_layer_weights_start_equal_and_are_learnt():
    classifier = build(model_params(), seed=0)
    assert torch.equal(torch.softmax(classifier.layer_weights, 0), torch.full((3,), 1 / 3))
    classifier(clips()).square().sum().backward()
    assert classifier.layer_weights.grad.abs().min() > 0


@pytest.mark.parametrize("backbone", ["mert-tiny", "mert-tiny-random", "mel-cnn"])
def test_level_and_offset_of_a_clip_do_not_matter(backbone):
    classifier = stirred(build(model_params(backbone=backbone), seed=0))
    torch.testing.assert_close(
        logits(classifier, 0.01 * clips() + 0.5), logits(classifier, clips()), atol=2e-2, rtol=2e-2
    )


def test_a_clip_s_logits_do_not_depend_on_the_batch():
    classifier, samples = stirred(build(model_params(), seed=0)), clips(4)
    torch.testing.assert_close(logits(classifier, samples)[1:2], logits(classifier, samples[1:2]), atol=1e-5, rtol=1e-4)


def test_same_seed_same_start():
    first, again, other = (build(model_params(), seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.0.weight"], other["head.0.weight"])


def test_frozen_backbone_is_neither_trained_nor_random():
    classifier = build(model_params(finetune="frozen", freeze_convolutions=True), seed=0).train()
    assert classifier.training
    assert classifier.head.training
    assert not any(module.training for module in classifier.backbone.modules())
    classifier(clips()).sum().backward()
    trained = {name for name, parameter in classifier.named_parameters() if parameter.grad is not None}
    assert trained == {"layer_weights", "head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"}


def test_full_backbone_trains():
    classifier = build(model_params(), seed=0).train()
    classifier(clips()).sum().backward()
    without = {name for name, parameter in classifier.named_parameters() if parameter.grad is None}
    # Only spec augment uses the embedding.
    assert without == {"backbone.masked_spec_embed"}


def test_lora_trains_queries_values_and_head_alone():
    classifier = build(model_params(finetune="lora"), seed=0).train()
    classifier(clips()).sum().backward()
    trained = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    inside = {name for name in trained if name.startswith("backbone.")}
    assert len(inside) == 2 * 2 * 2
    assert all(".lora_" in name and (".q_proj." in name or ".v_proj." in name) for name in inside)
    assert trained - inside == {"layer_weights", "head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"backbone": "mel-cnn"},
        {"finetune": "frozen"},
        {"finetune": "lora"},
        {"finetune": "lora", "freeze_convolutions": True, "spec_augment": True},
        {"freeze_convolutions": True},
        {"spec_augment": True},
    ],
)
def test_saved_and_loaded_it_is_the_same(tmp_path, changed):
    classifier, samples = stirred(build(model_params(**changed), seed=0)), clips()
    before = logits(classifier, samples)
    classifier.save(tmp_path / "model", trained_classes=["tar", "ney"], thresholds=dict.fromkeys(INSTRUMENTS, 0.25))
    assert torch.equal(logits(classifier, samples), before)
    again = load(tmp_path / "model")
    # Merging an adapter adds in another order.
    torch.testing.assert_close(logits(again, samples), before, atol=1e-5 if "lora" in changed.values() else 0, rtol=0)
    assert not again.training
    assert (again.labels, again.trained_classes) == (INSTRUMENTS, ("ney", "tar"))
    assert again.thresholds == dict.fromkeys(INSTRUMENTS, 0.25)
    assert again.source == classifier.source
    assert again.source["name"] == changed.get("backbone", "mert-tiny")
    assert again.source["revision"] is None
    assert again.source["finetune"] == changed.get("finetune", "full")
    again.train()
    assert torch.equal(logits(again.eval(), samples), logits(again, samples))


def test_saving_again_gives_the_same_bytes(tmp_path):
    classifier = stirred(build(model_params(), seed=0))
    for name in ("a", "b"):
        classifier.save(tmp_path / name)
    load(tmp_path / "a").save(tmp_path / "c")
    for file in ("model.safetensors", "config.json"):
        assert len({(tmp_path / name / file).read_bytes() for name in "abc"}) == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]


def test_a_classifier_on_a_checkpoint_loads_without_the_checkpoint(tmp_path):
    published(tmp_path / "checkpoint")
    classifier = stirred(build(model_params(backbone=str(tmp_path / "checkpoint")), seed=0))
    classifier.save(tmp_path / "model")
    (tmp_path / "checkpoint").rename(tmp_path / "gone")
    assert torch.equal(logits(load(tmp_path / "model"), clips()), logits(classifier, clips()))


def test_published_weights_are_named_with_their_licence(tmp_path, monkeypatch):
    published(tmp_path / "checkpoint")
    monkeypatch.setattr("tarkib.models.hub.snapshot", lambda name, revision: tmp_path / "checkpoint")
    classifier = build(model_params(backbone="m-a-p/MERT-v1-95M", revision="abc"), seed=0)
    # The snapshot's folder is named by the commit.
    assert classifier.source["revision"] == "checkpoint"
    assert "CC BY-NC 4.0" in classifier.source["weights_licence"]


def step(classifier: InstrumentClassifier, forward: Any = None) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one training step on two clips."""
    targets = torch.from_numpy(np.random.default_rng(4).integers(0, 2, (2, 10)).astype(np.float32))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        (classifier if forward is None else forward)(clips()), targets
    )
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in classifier.named_parameters() if p.grad is not None}


def kept_tensors(classifier: InstrumentClassifier) -> int:
    """How many tensors a forward pass keeps for the backward pass."""
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        classifier(clips())
    return len(kept)


def assert_same_step(found: tuple, expected: tuple, atol: float) -> None:
    assert found[0] == pytest.approx(expected[0], abs=atol)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, atol=atol, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("changed", [{}, {"freeze_convolutions": True}, {"finetune": "lora"}, {"finetune": "frozen"}])
def test_recomputed_activations_give_the_same_hidden_states_and_gradients(tmp_path, changed):
    # With dropout: what is computed again must drop the same.
    published(tmp_path / "checkpoint", hidden_dropout=0.1, attention_dropout=0.1)
    steps, kept = [], []
    for recompute in (False, True):
        classifier = build(model_params(backbone=str(tmp_path / "checkpoint"), **changed), seed=0)
        if recompute:
            classifier.gradient_checkpointing_enable()
        torch.manual_seed(2)
        pooled = classifier.train().pooled_states(clips())
        assert pooled.shape == (2, 3, 32)
        kept.append(pooled.detach())
        torch.manual_seed(3)
        steps.append((*step(classifier), kept_tensors(classifier)))
    assert torch.equal(*kept)
    assert_same_step(steps[1][:2], steps[0][:2], atol=1e-7)
    if changed.get("finetune") != "frozen":
        # Layers keep their input alone.
        assert steps[1][2] < 0.7 * steps[0][2]


def test_every_layer_is_recomputed_in_training(monkeypatch):
    classifier = build(model_params(), seed=0).train()
    classifier.gradient_checkpointing_enable()
    layer, calls = classifier.backbone.encoder.layers[1].attention, []
    layer.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    step(classifier)
    assert len(calls) == 2
    logits(classifier.eval(), clips())
    assert len(calls) == 3


def test_the_baseline_has_no_layers_to_recompute():
    with pytest.raises(TarkibError, match=r"run\.gradient_checkpointing: mel-cnn has none; set it to false"):
        build(model_params(backbone="mel-cnn"), seed=0).gradient_checkpointing_enable()


@pytest.fixture
def one_layer(tmp_path: Path) -> str:
    """A backbone of one layer: a compiler takes its time for each."""
    save_mert(tmp_path, MertModel(tiny(num_hidden_layers=1)), "")
    torch._dynamo.reset()
    return str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{}, {"recompute": True}, {"finetune": "lora", "freeze_convolutions": True}])
def test_a_training_step_is_one_graph(one_layer, changed):
    changed = dict(changed)
    recompute, steps = changed.pop("recompute", False), []
    for compiled in (False, True):
        classifier = build(model_params(backbone=one_layer, head_dropout=0.0, **changed), seed=0).train()
        if recompute:
            classifier.gradient_checkpointing_enable()
        classifier.prepare_for_compile()
        # This backend needs no compiler; fullgraph refuses anything that does not fit into one graph.
        forward = torch.compile(classifier, backend="aot_eager", fullgraph=True) if compiled else None
        steps.append(step(classifier, forward))
    assert_same_step(steps[1], steps[0], atol=1e-6)


def test_masks_are_not_compiled():
    with pytest.raises(TarkibError, match=r"run\.compile: model\.spec_augment cannot be compiled; set one"):
        build(model_params(spec_augment=True), seed=0).prepare_for_compile()


def test_merged_adapters_give_the_adapted_model(tmp_path):
    classifier = build(model_params(finetune="lora"), seed=0)
    plain = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    samples, before = clips(), logits(classifier.eval(), clips())
    stirred(classifier)
    with torch.no_grad():
        # All but the adapters as it was: what changes the logits is theirs.
        for name, parameter in classifier.named_parameters():
            if ".lora_" not in name:
                parameter.copy_(plain[name])
    adapted = logits(classifier, samples)
    assert (adapted - before).abs().max() > 1e-4
    classifier.save(tmp_path)
    again = load(tmp_path)
    assert not any("lora" in name or "base_layer" in name for name in again.state_dict())
    torch.testing.assert_close(logits(again, samples), adapted, atol=2e-6, rtol=0)
    weights = again.state_dict()
    for name, tensor in plain.items():
        if ".lora_" in name:
            continue
        name = name.replace(".base_layer", "")
        changed = "q_proj.weight" in name or "v_proj.weight" in name
        assert torch.equal(weights[name], tensor) is not changed, name


@pytest.mark.slow
def test_loading_takes_torch_and_transformers_alone(tmp_path):
    stirred(build(model_params(finetune="lora"), seed=0)).save(tmp_path)
    code = """
import sys
for name in "accelerate dvc librosa mlflow pandas peft pyarrow sklearn soundfile torchaudio".split():
    sys.modules[name] = None
import torch
from tarkib.models import load
assert load(sys.argv[1])(torch.zeros(1, 12000)).shape == (1, 10)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    build(model_params(), seed=0).save(tmp_path / "model")
    return tmp_path / "model"


def safetensors_header(content: dict) -> bytes:
    """The beginning of a safetensors file."""
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


def refused(folder: Path, message: str) -> None:
    with pytest.raises(TarkibError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file(saved, file):
    (saved / file).unlink()
    refused(saved, rf"{file}: missing; a classifier's folder holds config.json and model.safetensors")


def test_damaged_weights_and_those_of_another_training(saved, tmp_path):
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    build(model_params(), seed=1).save(tmp_path / "other")
    other = (tmp_path / "other/model.safetensors").read_bytes()
    for wrong in (content, content[:1000], other):
        path.write_bytes(wrong)
        refused(saved, "damaged, or written with another config.json; train or pull it again")


def cnn(**config: object) -> dict:
    return {"backbone": {"kind": "mel-cnn", "source": {}, "config": config}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format is 99 .*should be 1"),
        ({"head": {"hidden": 8, "dropout": 0.1}}, r"head\.0\.weight is \(16, 96\) instead of \(8, 96\)"),
        ({"head": None}, "head is None"),
        ({"head": {"hidden": 10**12, "dropout": 0.1}}, "head.hidden is 1000000000000 .*less than or equal to 65536"),
        ({"head": {"hidden": [8], "dropout": 0.1}}, r"head.hidden is \[8\]"),
        ({"head": {"hidden": 8, "dropout": float("nan")}}, "NaN is not a number"),
        ({"labels": ["oud"]}, r"labels is \['oud'\] .*has the classes ney"),
        ({"labels": [1, 2]}, "labels.0 is 1"),
        ({"labels": ["oud" * 100] * 1000}, "labels is .*has the classes ney"),
        ({"thresholds": {}}, "thresholds is {} .*has the classes ney"),
        ({"thresholds": dict.fromkeys(INSTRUMENTS, 7)}, "thresholds.ney is 7 .*less than or equal to 1"),
        ({"thresholds": dict.fromkeys(INSTRUMENTS, True)}, "thresholds.ney is True"),
        ({"thresholds": dict.fromkeys(INSTRUMENTS, 10**400)}, r"thresholds.ney is 10{30,}"),
        ({"trained_classes": ["oud"]}, r"trained_classes is \['oud'\] .*has the classes ney"),
        ({"trained_classes": []}, r"trained_classes is \[\]"),
        ({"trained_classes": "ney"}, "trained_classes is 'ney'"),
        ({"sample_rate": 16000}, "sample_rate is 16000"),
        (
            {"backbone": {"kind": "mert", "source": {}, "config": {"model_type": "mert_model", "hidden_size": 10**9}}},
            "backbone: hidden_size is 1000000000",
        ),
        ({"backbone": {"kind": "mel-cnn", "source": [1], "config": {}}}, r"backbone.source is \[1\]"),
        ({"backbone": {"kind": "lstm", "source": {}, "config": {}}}, "backbone.kind is 'lstm' .*'mert' or 'mel-cnn'"),
        ({"backbone": {}}, "backbone.kind is missing"),
        (cnn(channels=10**9), "backbone: channels is 1000000000"),
        (cnn(channels=None), "backbone: channels is None"),
        (cnn(sample_rate=16000), "backbone: sample_rate is 16000"),
        (cnn(layers=1), "do not fit the configuration"),
        (cnn(depth=1), "backbone: depth is 1"),
    ],
)
def test_a_configuration_of_something_else(saved, changes, message):
    content = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**content, **changes}))
    refused(saved, message)


def test_the_largest_allowed_network_takes_no_memory_before_its_weights_are_read(saved):
    """With weights it would take 6 GB."""
    content = json.loads((saved / "config.json").read_text())
    largest = {"window": 8192, "hop": 2400, "bands": 512, "channels": 4096, "layers": 12, "kernel": 101}
    (saved / "config.json").write_text(json.dumps({**content, **cnn(**largest)}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(saved, "do not fit the configuration")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"a": "' + "a" * 2_000_000])
def test_a_config_json_that_is_not_a_configuration(saved, text):
    (saved / "config.json").write_text(text)
    refused(saved, r"config\.json: (format is missing|the content is|not JSON|larger than 1,000,000 bytes)")


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        safetensors_header({"head.0.weight": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}}),
        safetensors_header({"head.0.weight": {"dtype": "F32", "shape": [4], "data_offsets": [2**60, 2**60 + 16]}}),
        safetensors_header({"a" * 1_000_000: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    ],
    ids=["2**63 bytes", "10**9 bytes", "nested", "shape", "offsets", "name"],
)
def test_weights_with_an_absurd_header(saved, header):
    (saved / "model.safetensors").write_bytes(header + bytes(16))
    content = json.loads((saved / "config.json").read_text())
    content["weights_sha256"] = hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    (saved / "config.json").write_text(json.dumps(content))
    with pytest.raises(TarkibError, match=r"model\.safetensors: (damaged|the weights do not fit)") as error:
        load(saved)
    assert len(str(error.value)) < 2_000


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"finetune": "lora"}, r"model\.finetune: mel-cnn has no attention"),
        ({"freeze_convolutions": True}, r"model\.freeze_convolutions: mel-cnn is all convolutions"),
        ({"spec_augment": True}, r"model\.spec_augment: mel-cnn has none"),
    ],
)
def test_what_the_baseline_does_not_have(changed, message):
    with pytest.raises(TarkibError, match=message):
        build(model_params(backbone="mel-cnn", **changed), seed=0)
