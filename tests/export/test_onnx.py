"""The ONNX file of a classifier gives what PyTorch gives."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise
from models.muq_reference import checkpoint
from models.small_mert import model_params, published
from small_classifier import write_classifier

from tarkib import models
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.cli import main
from tarkib.export import onnx as exporting

onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.slow


def chord(level: float, seed: int) -> np.ndarray:
    """Plucked tones that die away, as music does, shape (120000,)."""
    rates = np.random.default_rng(seed).uniform((1, 80), (6, 2_000), (9, 2))
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    return (level * sum(np.exp(-rate * time) * np.sin(2 * np.pi * hz * time) for rate, hz in rates)).astype(np.float32)


BATCHES = {
    "three": np.stack([chord(0.1, 3), noise(5, seed=3), chord(0.4, 4)]),
    "quiet noise": noise(5, seed=2, level=1e-3)[None],
    "music above a constant": chord(0.05, 2)[None] + np.float32(0.3),
    "silence": np.zeros((1, CLIP_SAMPLES), np.float32),
}


@pytest.mark.parametrize("backbone", ["mert-tiny", "mel-cnn", "musicnn", "muq", "pre-norm", "post-norm"])
def test_logits_are_those_of_pytorch(tmp_path, backbone):
    """Also where the backbone is made as published MERTs are, and where logits spread as those of trained ones do."""
    if backbone == "musicnn" and find_spec("musicnn") is None:
        pytest.skip("the package musicnn is not installed")
    if backbone == "muq":
        backbone = str(checkpoint(tmp_path / "checkpoint"))
    if backbone.endswith("norm"):
        published(tmp_path / "checkpoint", pre_norm=backbone == "pre-norm")
        backbone = str(tmp_path / "checkpoint")
    classifier = models.build(model_params(backbone=backbone), seed=0).eval()
    with torch.inference_mode():
        spread = classifier(torch.from_numpy(BATCHES["three"])).std()
    with torch.no_grad():
        classifier.head[3].weight.mul_(3 / spread)
    classifier.save(tmp_path / "classifier")
    made = exporting.export(tmp_path / "classifier", tmp_path / "classifier.onnx")
    assert made.difference < exporting.TOLERANCE
    session = onnxruntime.InferenceSession(tmp_path / "classifier.onnx")
    for name, batch in BATCHES.items():
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(batch)).numpy()
        logits, probabilities = session.run(["logits", "probabilities"], {"samples": batch})
        assert logits.shape == probabilities.shape == (len(batch), 10)
        np.testing.assert_allclose(logits, expected, atol=exporting.TOLERANCE, rtol=0, err_msg=name)
        np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected)), atol=1e-4, rtol=0, err_msg=name)
        # Else the comparison would prove little.
        assert np.ptp(logits) > 0.1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier that is quickest to export."""
    return write_classifier(tmp_path_factory.mktemp("small") / "classifier", untrained=("avaz",))


def test_the_file_says_what_it_is(small, tmp_path, capsys):
    file = tmp_path / "new/a.onnx"
    assert main(["export", str(small), "--to", "onnx", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"{file}: on 4 clips its logits are within " in printed
    session = onnxruntime.InferenceSession(file)
    (samples,) = session.get_inputs()
    assert (samples.name, samples.type, samples.shape[1]) == ("samples", "tensor(float)", CLIP_SAMPLES)
    metadata = session.get_modelmeta().custom_metadata_map
    config = json.loads((small / "config.json").read_text())
    for key in ("labels", "thresholds", "trained_classes"):
        assert json.loads(metadata[key]) == config[key]
    assert (metadata["sample_rate"], metadata["clip_seconds"]) == ("24000", "5")
    assert json.loads(metadata["source"])["name"] == "mel-cnn"
    assert list(file.parent.iterdir()) == [file]


def refused(capsys: pytest.CaptureFixture, source: Path, file: Path, *options: str) -> str:
    """The one line that an export ends with."""
    assert main(["export", str(source), "--to", "onnx", str(file), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_file_that_gives_something_else_is_not_kept(small, tmp_path, capsys, monkeypatch):
    file, translated = tmp_path / "a.onnx", exporting._to_onnx

    def spoilt(classifier):
        model = translated(classifier)
        with torch.no_grad():
            classifier.head[3].bias.add_(0.002)
        return model

    monkeypatch.setattr(exporting, "_to_onnx", spoilt)
    file.write_text("the old file")
    assert "a.onnx: not kept, since its logits are up to 0.002" in refused(capsys, small, file, "--overwrite")
    assert file.read_text() == "the old file"
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_exported_is_named_in_a_line(small, tmp_path, capsys, monkeypatch):
    file = tmp_path / "a.onnx"
    assert "is a folder; give a file" in refused(capsys, small, tmp_path)
    assert "no such model" in refused(capsys, tmp_path / "absent", file)
    monkeypatch.setattr(exporting, "_LARGEST", 1_000)
    assert "GiB of weights, but an ONNX file holds less than 2" in refused(capsys, small, file)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert refused(capsys, small, file) == "error: ONNX needs onnxscript: pip install 'tarkib[onnx]'"
    file.touch()
    assert "is there already; give another file, or --overwrite" in refused(capsys, small, file)
