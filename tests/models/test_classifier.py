import hashlib
import json
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_mert import change, model_params, noise, published
from transformers import HubertConfig

from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier, build, load
from tarkib.models.familiarity import Familiarity
from tarkib.vocabulary import INSTRUMENTS

CLIPS = noise(4, 12_000, seed=3)
HEAD = {"layer_weights", "head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"}


def stirred(**changed: object) -> InstrumentClassifier:
    """A classifier with noise on every weight, as after training."""
    classifier = build(model_params(**changed), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return classifier.eval()


def logits(classifier: InstrumentClassifier, samples: torch.Tensor = CLIPS) -> torch.Tensor:
    with torch.no_grad():
        return classifier(samples)


def test_forward_is_the_formula_of_the_design():
    classifier, samples = stirred(), 0.1 * CLIPS + 0.3
    normal = (samples - samples.mean(1, keepdim=True)) / samples.std(1, correction=0, keepdim=True)
    with torch.no_grad():
        states = torch.stack(classifier.backbone.all_hidden_states(normal), dim=1)
        shares = torch.exp(classifier.layer_weights) / torch.exp(classifier.layer_weights).sum()
        mixed = torch.einsum("blth,l->bh", states, shares) / states.shape[2]
        first, _, _, second = classifier.head
        expected = torch.relu(mixed @ first.weight.T + first.bias) @ second.weight.T + second.bias
    assert states.shape[1] == len(classifier.layer_weights) == 3
    assert expected.shape == (4, 10)
    torch.testing.assert_close(logits(classifier, samples), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["mert-tiny", "mel-cnn"])
def test_neither_level_nor_offset_nor_the_batch_matters(backbone):
    classifier = stirred(backbone=backbone)
    torch.testing.assert_close(logits(classifier, 0.01 * CLIPS + 0.5), logits(classifier), atol=2e-2, rtol=2e-2)
    torch.testing.assert_close(logits(classifier)[1:2], logits(classifier, CLIPS[1:2]), atol=1e-5, rtol=1e-4)


def test_the_start_depends_on_the_seed_and_weighs_layers_equally():
    first, again, other = (build(model_params(), seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.0.weight"], other["head.0.weight"])
    assert torch.equal(first["layer_weights"], torch.zeros(3))


@pytest.mark.parametrize("finetune", ["full", "lora", "frozen"])
def test_what_is_trained(finetune):
    classifier = build(model_params(finetune=finetune, freeze_convolutions=finetune != "full"), seed=0).train()
    assert classifier.head.training
    assert classifier.backbone.training == (finetune != "frozen")
    classifier(CLIPS).square().sum().backward()
    trained = {name for name, parameter in classifier.named_parameters() if parameter.grad is not None}
    inside = trained - HEAD
    assert trained >= HEAD
    if finetune == "full":
        # Only spec augment uses the embedding.
        assert set(dict(classifier.named_parameters())) - trained == {"backbone.masked_spec_embed"}
    elif finetune == "lora":
        assert len(inside) == 2 * 2 * 2
        assert all(".lora_" in name and (".q_proj." in name or ".v_proj." in name) for name in inside)
    else:
        assert inside == set()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"backbone": "mel-cnn"},
        {"finetune": "frozen"},
        {"finetune": "lora"},
        {"finetune": "lora", "freeze_convolutions": True, "spec_augment": True},
    ],
)
def test_saved_and_loaded_it_is_the_same(tmp_path, changed):
    classifier = stirred(**changed)
    before = logits(classifier)
    classifier.save(tmp_path / "model", trained_classes=["tar", "ney"], thresholds=dict.fromkeys(INSTRUMENTS, 0.25))
    assert torch.equal(logits(classifier), before)
    again = load(tmp_path / "model")
    # Merging an adapter adds in another order.
    torch.testing.assert_close(logits(again), before, atol=1e-5 if "lora" in changed.values() else 0, rtol=0)
    assert not again.training
    assert (again.labels, again.trained_classes) == (INSTRUMENTS, ("ney", "tar"))
    assert again.thresholds == dict.fromkeys(INSTRUMENTS, 0.25)
    assert again.source == classifier.source
    assert again.source["name"] == changed.get("backbone", "mert-tiny")
    assert again.source["finetune"] == changed.get("finetune", "full")


def test_saving_again_gives_the_same_bytes(tmp_path):
    classifier = stirred()
    for name in ("a", "b"):
        classifier.save(tmp_path / name)
    load(tmp_path / "a").save(tmp_path / "c")
    for file in ("model.safetensors", "config.json"):
        assert len({(tmp_path / name / file).read_bytes() for name in "abc"}) == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]


def test_a_classifier_on_a_checkpoint_loads_without_the_checkpoint(tmp_path):
    published(tmp_path / "checkpoint")
    classifier = stirred(backbone=str(tmp_path / "checkpoint"))
    classifier.save(tmp_path / "model")
    (tmp_path / "checkpoint").rename(tmp_path / "gone")
    assert torch.equal(logits(load(tmp_path / "model")), logits(classifier))


def step(classifier: InstrumentClassifier) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one training step on two clips."""
    targets = torch.from_numpy(np.random.default_rng(4).integers(0, 2, (2, 10)).astype(np.float32))
    torch.manual_seed(3)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(classifier(CLIPS[:2]), targets)
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in classifier.named_parameters() if p.grad is not None}


def assert_same_step(found: tuple, expected: tuple, atol: float) -> None:
    assert found[0] == pytest.approx(expected[0], abs=atol)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, atol=atol, rtol=1e-4, msg=lambda text, name=name: name + text
        )


@pytest.mark.parametrize("changed", [{}, {"freeze_convolutions": True}, {"finetune": "lora"}])
def test_recomputed_activations_give_the_same_gradients_from_less_memory(tmp_path, changed):
    # With dropout: what is computed again must drop the same.
    published(tmp_path / "checkpoint", hidden_dropout=0.1, attention_dropout=0.1)
    steps, counts = [], []

    def count(tensor: torch.Tensor) -> torch.Tensor:
        counts[-1] += 1
        return tensor

    for recompute in (False, True):
        classifier = build(model_params(backbone=str(tmp_path / "checkpoint"), **changed), seed=0).train()
        if recompute:
            classifier.gradient_checkpointing_enable()
        counts.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            steps.append(step(classifier))
    assert_same_step(steps[1], steps[0], atol=1e-7)
    # Layers keep their input alone for the backward pass.
    assert counts[1] < 0.9 * counts[0]


def test_merged_adapters_change_queries_and_values_alone(tmp_path):
    classifier = build(model_params(finetune="lora"), seed=0).eval()
    plain = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    before = logits(classifier)
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            if ".lora_" in name:
                parameter += 0.05
    adapted = logits(classifier)
    assert (adapted - before).abs().max() > 1e-4
    classifier.save(tmp_path)
    again = load(tmp_path)
    torch.testing.assert_close(logits(again), adapted, atol=2e-6, rtol=0)
    weights = again.state_dict()
    assert weights.keys() == {name.replace(".base_layer", "") for name in plain if ".lora_" not in name}
    for name, tensor in weights.items():
        same = torch.equal(tensor, plain.get(name, plain.get(name.replace("_proj.", "_proj.base_layer."))))
        assert same is not name.endswith(("q_proj.weight", "v_proj.weight")), name


@pytest.mark.slow
def test_loading_and_recognising_take_torch_alone(tmp_path):
    classifier = stirred(finetune="lora")
    states = np.random.default_rng(1).standard_normal((200, 96)).astype(np.float32)
    classifier.familiarity = Familiarity.fitted(states, states)
    classifier.save(tmp_path)
    code = """
import sys
absent = "accelerate dvc huggingface_hub librosa matplotlib mlflow pandas peft pyarrow scipy sklearn torchaudio"
for name in [*absent.split(), "transformers", "soundfile"]:
    sys.modules[name] = None
import torch
from tarkib.models import load
assert load(sys.argv[1])(torch.zeros(1, 12000)).shape == (1, 10)
del sys.modules["soundfile"]  # which opens files
from tarkib import Recogniser
found = Recogniser.load(sys.argv[1], device="cpu")((torch.randn(48000).numpy(), 24000))
assert found.window_probabilities.shape == (1, 10)
assert not {"sympy", "torch._dynamo"} & set(sys.modules)  # torch's compiler, three seconds
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_classifier_with_all_fields_of_hubert_loads(saved):
    """Those that Tarkib 0.2 wrote, whose MERT was made of transformers."""
    content = json.loads((saved / "config.json").read_text())
    config = content["backbone"]["config"]
    older = {**HubertConfig(**config).to_dict(), **config, "tie_last_hidden_states": True, "layerdrop": 0}
    assert len(older) > len(config) + 20
    change(saved / "config.json", backbone={**content["backbone"], "config": older})
    assert torch.equal(logits(load(saved)), logits(build(model_params(), seed=0).eval()))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    build(model_params(), seed=0).save(tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path, message: str) -> None:
    with pytest.raises(TarkibError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 2_000


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


def backbone(kind: str, **config: object) -> dict:
    return {"backbone": {"kind": kind, "source": {}, "config": config}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format is 99 .*should be 1"),
        ({"head": {"hidden": 8, "dropout": 0.1}}, r"head\.0\.weight is \(16, 96\) instead of \(8, 96\)"),
        ({"head": None}, "head is None"),
        ({"head": {"hidden": 10**12, "dropout": 0.1}}, "head.hidden is 1000000000000 .*less than or equal to 65536"),
        ({"head": {"hidden": [8], "dropout": 0.1}}, r"head.hidden is \[8\]"),
        ({"head": {"hidden": 8, "dropout": float("nan")}}, "not readable as JSON"),
        ({"labels": ["oud"]}, r"labels is \['oud'\] .*has the classes ney"),
        ({"labels": ["oud" * 100] * 1000}, "labels is .*has the classes ney"),
        ({"thresholds": {}}, "thresholds is {} .*has the classes ney"),
        ({"thresholds": dict.fromkeys(INSTRUMENTS, 7)}, "thresholds.ney is 7 .*less than or equal to 1"),
        ({"thresholds": dict.fromkeys(INSTRUMENTS, True)}, "thresholds.ney is True"),
        ({"thresholds": dict.fromkeys(INSTRUMENTS, 10**400)}, r"thresholds.ney is 10{30,}"),
        ({"trained_classes": ["oud"]}, r"trained_classes is \['oud'\] .*has the classes ney"),
        ({"trained_classes": []}, r"trained_classes is \[\]"),
        ({"sample_rate": 16000}, "sample_rate is 16000"),
        ({"backbone": {}}, "backbone.kind is missing"),
        (backbone("lstm"), "backbone.kind is 'lstm' .*'mert', 'mel-cnn', 'muq' or 'musicnn'"),
        (backbone("mert", model_type="mert_model", num_hidden_layers=10**9), "backbone: num_hidden_layers is 10000"),
        (backbone("mel-cnn", channels=10**9), "backbone: channels is 1000000000"),
        (backbone("mel-cnn", channels=None), "backbone: channels is None"),
        (backbone("mel-cnn", layers=1), "do not fit the configuration"),
        (backbone("mel-cnn", depth=1), "backbone: depth is 1"),
    ],
)
def test_a_configuration_of_something_else(saved, changes, message):
    change(saved / "config.json", **changes)
    refused(saved, message)


def test_the_largest_allowed_network_takes_no_memory_before_its_weights_are_read(saved):
    """With weights it would take 6 GB."""
    largest = {"window": 8192, "hop": 2400, "bands": 512, "channels": 4096, "layers": 12, "kernel": 101}
    change(saved / "config.json", **backbone("mel-cnn", **largest))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(saved, "do not fit the configuration")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_a_config_json_that_is_not_a_configuration(saved, text):
    (saved / "config.json").write_text(text)
    refused(saved, r"config\.json: (format is missing|the content is|not readable as JSON)")


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (2**63, b"{}"),
        (100_000, b"[" * 100_000),
        (None, {"head.0.weight": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 16]}}),
        (None, {"head.0.weight": {"dtype": "F32", "shape": [4], "data_offsets": [2**60, 2**60 + 16]}}),
        (None, {"a" * 1_000_000: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    ],
    ids=["2**63 bytes", "nested", "shape", "offsets", "name"],
)
def test_weights_with_an_absurd_header(saved, size, header):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    content = struct.pack("<Q", size or len(text)) + text + bytes(16)
    (saved / "model.safetensors").write_bytes(content)
    change(saved / "config.json", weights_sha256=hashlib.sha256(content).hexdigest())
    refused(saved, r"model\.safetensors: (holds no tensors|the weights do not fit)")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"finetune": "lora"}, r"model\.finetune: mel-cnn has no attention"),
        ({"freeze_convolutions": True}, r"model\.freeze_convolutions: mel-cnn does not support it; set it to false"),
        ({}, r"run\.gradient_checkpointing: mel-cnn does not support it; set it to false"),
    ],
)
def test_settings_that_do_not_go_together(changed, message):
    def build_and_prepare() -> None:
        build(model_params(**{"backbone": "mel-cnn", **changed}), seed=0).gradient_checkpointing_enable()

    with pytest.raises(TarkibError, match=message):
        build_and_prepare()
