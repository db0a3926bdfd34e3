"""The ONNX file of a classifier gives what PyTorch gives."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise
from models.small_mert import model_params, published
from small_classifier import write_classifier

from tarkib import models
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.cli import main
from tarkib.export import onnx as exporting

onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow

KINDS = ["mert-tiny", "mel-cnn", "pre-norm", "post-norm"]


def strong(folder: Path, classifier: models.InstrumentClassifier) -> Path:
    """Store a classifier whose logits spread as those of a trained one do."""
    with torch.inference_mode():
        spread = classifier.eval()(torch.from_numpy(CLIPS["three"])).std()
    with torch.no_grad():
        classifier.head[3].weight.mul_(3 / spread)
    classifier.save(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A classifier and a session of its ONNX file; the last two are made as published MERTs are."""
    folder = tmp_path_factory.mktemp(request.param)
    backbone = request.param
    if backbone.endswith("norm"):
        published(folder / "checkpoint", pre_norm=backbone == "pre-norm")
        backbone = str(folder / "checkpoint")
    source = strong(folder / "classifier", models.build(model_params(backbone=backbone), seed=0))
    made = exporting.export(source, folder / "classifier.onnx")
    assert made.difference < exporting.TOLERANCE
    return models.load(source), onnxruntime.InferenceSession(folder / "classifier.onnx")


def chord(level: float, seed: int) -> np.ndarray:
    """Plucked tones that die away, as music does, shape (120000,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    tones = [
        np.exp(-rate * time) * np.sin(2 * np.pi * hz * time) for rate, hz in rng.uniform((1, 80), (6, 2_000), (9, 2))
    ]
    return (level * np.sum(tones, axis=0)).astype(np.float32)


CLIPS = {
    "noise": noise(5, seed=1)[None],
    "quiet noise": noise(5, seed=2, level=1e-3)[None],
    "music": chord(0.2, 1)[None],
    "music above a constant": chord(0.05, 2)[None] + np.float32(0.3),
    "silence": np.zeros((1, CLIP_SAMPLES), np.float32),
    "three": np.stack([chord(0.1, 3), noise(5, seed=3), chord(0.4, 4)]),
}


@pytest.mark.parametrize("name", CLIPS)
def test_logits_are_those_of_pytorch(pair, name):
    classifier, session = pair
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(CLIPS[name])).numpy()
    logits, probabilities = session.run(["logits", "probabilities"], {"samples": CLIPS[name]})
    assert logits.shape == probabilities.shape == (len(CLIPS[name]), 10)
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-4, rtol=0)


def test_the_logits_of_these_clips_differ(pair):
    """Else the comparison would say little."""
    _, session = pair
    logits = session.run(["logits"], {"samples": CLIPS["three"]})[0]
    assert np.ptp(logits) > 1.0
    assert np.abs(logits[0] - logits[1]).max() > 0.1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier that is quickest to export."""
    return write_classifier(tmp_path_factory.mktemp("small") / "classifier", untrained=("avaz",))


def test_the_file_says_what_it_is(small, tmp_path, capsys):
    assert main(["export", str(small), "--to", "onnx", str(tmp_path / "new/a.onnx")]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'new/a.onnx'}: " in said
    assert "on 7 clips its logits are within " in said
    session = onnxruntime.InferenceSession(tmp_path / "new/a.onnx")
    (samples,) = session.get_inputs()
    assert (samples.name, samples.type, samples.shape[1]) == ("samples", "tensor(float)", CLIP_SAMPLES)
    assert [one.name for one in session.get_outputs()] == ["logits", "probabilities"]
    told, config = session.get_modelmeta().custom_metadata_map, json.loads((small / "config.json").read_text())
    for key in ("labels", "thresholds", "trained_classes"):
        assert json.loads(told[key]) == config[key]
    assert (told["sample_rate"], told["clip_seconds"]) == ("24000", "5")
    assert json.loads(told["source"])["name"] == "mel-cnn"
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new/a.onnx"]


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """The one line that an export ends with."""
    assert main(["export", *map(str, arguments)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_file_that_gives_something_else_is_not_kept(small, tmp_path, capsys, monkeypatch):
    (tmp_path / "a.onnx").write_text("the one before")
    translated = exporting._translated

    def spoilt(classifier):
        with torch.no_grad():
            classifier.head[3].bias.add_(0.001)
        model = translated(classifier)
        with torch.no_grad():
            classifier.head[3].bias.sub_(0.001)
        return model

    monkeypatch.setattr(exporting, "_translated", spoilt)
    said = refused(capsys, small, "--to", "onnx", tmp_path / "a.onnx", "--overwrite")
    assert "a.onnx: not kept, since its logits are up to 0.001 from PyTorch's" in said
    assert (tmp_path / "a.onnx").read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.onnx"]


def test_what_cannot_be_exported_is_told_in_a_line(small, tmp_path, capsys, monkeypatch):
    target = tmp_path / "a.onnx"
    assert "is a folder; give a file" in refused(capsys, small, "--to", "onnx", tmp_path)
    assert "no such model" in refused(capsys, tmp_path / "absent", "--to", "onnx", target)
    assert "config.json: missing" in refused(capsys, tmp_path, "--to", "onnx", target)
    monkeypatch.setattr(exporting, "_LARGEST", 1_000)
    assert "GiB of weights, but an ONNX file holds less than 2" in refused(capsys, small, "--to", "onnx", target)
    target.touch()
    assert "is there already; give another file, or --overwrite" in refused(capsys, small, "--to", "onnx", target)


def test_damaged_weights(tmp_path, capsys):
    folder = write_classifier(tmp_path / "classifier")
    (folder / "model.safetensors").write_bytes(b"cut")
    assert "model.safetensors: damaged" in refused(capsys, folder, "--to", "onnx", tmp_path / "a.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra(small, tmp_path, capsys, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    said = refused(capsys, small, "--to", "onnx", tmp_path / "a.onnx")
    assert said == f"error: ONNX needs {missing}: pip install 'tarkib[onnx]'"
