"""A classifier as an ONNX file, for programs without Python or without PyTorch.

The file takes `samples`, float32 ``[batch, 120000]``, five seconds of mono sound at 24 kHz and of any level (they are
normalised inside), and gives `logits` and `probabilities`, float32 ``[batch, 10]``. Its metadata, all text, are
`labels`, `trained_classes` and `thresholds` (JSON, the last by label), `sample_rate`, `clip_seconds`, `source` (JSON),
`licence` where one is known, and `tarkib_version`.
"""

import importlib
import json
import logging
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE
from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier
from tarkib.recognition import Recogniser
from tarkib.runtime.outputs import atomic_file

TOLERANCE = 1e-4
"""How far a logit of the file may be from PyTorch's; a file that is further off is not kept."""

_OPSET = 20
_LARGEST = 2**31 - 2**24
"""Bytes of weights that fit a file: a protocol buffer ends at 2 GiB."""


@dataclass(frozen=True)
class OnnxExport:
    """What was written: the file's size in bytes, and the largest difference of a logit from PyTorch's on `clips`."""

    size: int
    difference: float
    clips: int


def export(source: Path | str, out: Path | str, *, overwrite: bool = False) -> OnnxExport:
    """Write a classifier as ONNX, and check by onnxruntime that it gives the same.

    Parameters
    ----------
    source : a classifier's folder, or what MLflow has, as `Recogniser.load` takes it.
    out : the file to write.
    overwrite : whether `out` may be there, and is then replaced.

    Raises TarkibError where the classifier cannot be loaded or is too large for one file, `out` is taken, the packages
    of the extra `onnx` are missing, or a logit is further than `TOLERANCE` from PyTorch's; `out` is then as it was.
    """
    out = Path(out)
    if out.is_dir():
        raise TarkibError(f"{out}: is a folder; give a file, {out / 'classifier.onnx'} say")
    if out.exists() and not overwrite:
        raise TarkibError(f"{out}: is there already; give another file, or --overwrite to replace it")
    onnx, onnxruntime = _packages()
    classifier = Recogniser.load(source, device="cpu").classifier
    size = sum(one.numel() * one.element_size() for one in classifier.state_dict().values())
    if size > _LARGEST:
        raise TarkibError(f"{source}: {size / 2**30:.1f} GiB of weights, but an ONNX file holds less than 2")
    model = _translated(classifier)
    try:
        with atomic_file(out) as path:
            onnx.save(model, path)
            clips = _clips()
            difference = _difference(classifier, onnxruntime, path, clips)
            if not difference <= TOLERANCE:
                raise TarkibError(
                    f"{out}: not kept, since its logits are up to {difference:.2g} from PyTorch's, more than "
                    f"{TOLERANCE:g}; try another version of torch or onnxruntime, and tell us"
                )
    except OSError as error:
        raise TarkibError(f"{out}: cannot be written ({error.strerror or error})") from error
    return OnnxExport(out.stat().st_size, difference, sum(map(len, clips)))


class _WithProbabilities(nn.Module):
    def __init__(self, classifier: InstrumentClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.classifier(samples)
        return logits, logits.sigmoid()


def _packages() -> list[Any]:
    """The modules onnx and onnxruntime; onnxscript must be there for torch."""
    try:
        return [importlib.import_module(name) for name in ("onnx", "onnxruntime", "onnxscript")][:2]
    except ImportError as error:
        raise TarkibError(f"ONNX needs {error.name}: pip install 'tarkib[onnx]'") from error


def _translated(classifier: InstrumentClassifier) -> Any:
    """The classifier as an `onnx.ModelProto`."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    # It lists packages that are not installed and not needed.
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            program = torch.onnx.export(
                _WithProbabilities(classifier).eval(),
                # Two clips: one would be taken for all that there can be.
                (torch.zeros(2, CLIP_SAMPLES),),
                dynamo=True,
                input_names=["samples"],
                output_names=["logits", "probabilities"],
                dynamic_shapes={"samples": {0: torch.export.Dim("batch")}},
                opset_version=_OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    _widen(model.graph)
    del model.metadata_props[:]
    for key, value in _metadata(classifier).items():
        model.metadata_props.add(key=key, value=value)
    return model


def _widen(graph: Any) -> None:
    """Let means and Fourier transforms compute in double precision.

    In single precision onnxruntime loses digits: a mean it sums number by number, over the 120,000 samples of a clip
    too, and transforms whose length is no power of two, as those of the constant-Q branch, it does by Bluestein's
    algorithm.
    """
    from onnx import TensorProto, helper

    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type not in ("DFT", "ReduceMean"):
            graph.node.append(node)
            continue
        narrow, wide, result = node.output[0], f"{node.name}_wide", f"{node.name}_result"
        graph.node.append(helper.make_node("Cast", [node.input[0]], [wide], to=TensorProto.DOUBLE))
        node.input[0], node.output[0] = wide, result
        graph.node.append(node)
        graph.node.append(helper.make_node("Cast", [result], [narrow], to=TensorProto.FLOAT))


def _metadata(classifier: InstrumentClassifier) -> dict[str, str]:
    found = {
        "labels": json.dumps(classifier.labels),
        "trained_classes": json.dumps(classifier.trained_classes),
        "thresholds": json.dumps(classifier.thresholds),
        "sample_rate": str(SAMPLE_RATE),
        "clip_seconds": f"{CLIP_SECONDS:g}",
        "source": json.dumps(classifier.source),
        "tarkib_version": metadata.version("tarkib"),
    }
    licence = classifier.source.get("weights_licence")
    return {**found, "licence": licence} if licence else found


def _clips() -> list[np.ndarray]:
    """Batches of clips to compare on, float32 ``[B, 120000]``: noise, a pure tone, plucked chords, silence."""
    rng = np.random.default_rng(0)
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    # Three chords of harmonics that die away, each from its own moment.
    plucked = sum(
        np.where(time >= start, np.exp(-3 * (time - start)), 0.0)
        * np.sin(2 * np.pi * pitch * overtone * time)
        / overtone
        for start in (0.1, 1.6, 3.2)
        for pitch in rng.uniform(110, 880, 3)
        for overtone in range(1, 9)
    )
    clips = [0.1 * rng.standard_normal(CLIP_SAMPLES), np.sin(2 * np.pi * 382 * time), 0.05 * plucked, 0.0 * time]
    mixed = plucked + 0.05 * rng.standard_normal(CLIP_SAMPLES)
    return [
        *(clip[None].astype(np.float32) for clip in clips),
        np.stack([clips[0], mixed, clips[3]]).astype(np.float32),
    ]


def _difference(classifier: InstrumentClassifier, onnxruntime: Any, path: Path, clips: list[np.ndarray]) -> float:
    """The largest difference of a logit between the file and PyTorch."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        return max(
            float(
                np.abs(
                    session.run(["logits"], {"samples": batch})[0] - classifier(torch.from_numpy(batch)).numpy()
                ).max()
            )
            for batch in clips
        )
