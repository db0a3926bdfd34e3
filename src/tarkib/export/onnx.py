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
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE
from tarkib.errors import TarkibError
from tarkib.models import InstrumentClassifier
from tarkib.recognition import Recogniser
from tarkib.runtime.outputs import atomic_file

TOLERANCE = 1e-4
"""Greatest difference of a logit from PyTorch's (so a quarter of it for a probability); else no file is kept.

The logits of musicnn differ by 3e-6 between runtimes, those of a small MuQ by 3e-5.
"""

_OPSET = 20
_DOUBLE = {"DFT": [0], "ReduceMean": [0], "STFT": [0, 2]}  # operators to compute in double precision: inputs to cast
_LARGEST = 2**31 - 2**24  # bytes of weights that fit a file: a protocol buffer ends at 2 GiB


class OnnxExport(NamedTuple):
    """What was written: the file's size in bytes, and the largest difference of a logit from PyTorch's on `clips`."""

    size: int
    difference: float
    clips: int


def export(source: Path | str, out: Path | str, *, overwrite: bool = False) -> OnnxExport:
    """Write a classifier, as `Recogniser.load` takes it, as ONNX, and check by onnxruntime that it gives the same.

    Raises TarkibError where the classifier cannot be loaded or is too large for one file, `out` is there already and
    not to be overwritten, the packages of the extra `onnx` are missing, or a logit is further than `TOLERANCE` from
    PyTorch's; `out` is then as it was.
    """
    out = Path(out)
    if out.is_dir():
        raise TarkibError(f"{out}: is a folder; give a file, {out / 'classifier.onnx'} say")
    if out.exists() and not overwrite:
        raise TarkibError(f"{out}: is there already; give another file, or --overwrite to replace it")
    try:
        # torch needs onnxscript.
        onnx, onnxruntime, _ = map(importlib.import_module, ("onnx", "onnxruntime", "onnxscript"))
    except ImportError as error:
        raise TarkibError(f"ONNX needs {error.name}: pip install 'tarkib[onnx]'") from error
    classifier = Recogniser.load(source, device="cpu").classifier
    size = sum(tensor.nbytes for tensor in classifier.state_dict().values())
    if size > _LARGEST:
        raise TarkibError(f"{source}: {size / 2**30:.1f} GiB of weights, but an ONNX file holds less than 2")
    model, clips = _to_onnx(classifier), _test_clips()
    try:
        with atomic_file(out) as path:
            onnx.save(model, path)
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            difference = max(_difference(classifier, session, batch) for batch in (clips, clips[:1]))
            if not difference <= TOLERANCE:
                raise TarkibError(
                    f"{out}: not kept, since its logits are up to {difference:.2g} from PyTorch's, more than "
                    f"{TOLERANCE:g}; try another version of torch or onnxruntime, and report this"
                )
    except OSError as error:
        raise TarkibError(f"{out}: cannot be written ({error.strerror or error})") from error
    return OnnxExport(out.stat().st_size, difference, len(clips))


class _WithProbabilities(nn.Module):
    def __init__(self, classifier: InstrumentClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.classifier(samples)
        return logits, logits.sigmoid()


def _to_onnx(classifier: InstrumentClassifier) -> Any:
    """The classifier as an `onnx.ModelProto`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it lists packages that are not needed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        program = torch.onnx.export(
            _WithProbabilities(classifier).eval(),
            (torch.zeros(2, CLIP_SAMPLES),),  # two clips: one would be taken for all that there can be
            dynamo=True,
            input_names=["samples"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"samples": {0: torch.export.Dim("batch")}},
            opset_version=_OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _use_double_precision(model.graph)
    del model.metadata_props[:]
    for key, value in _metadata(classifier).items():
        model.metadata_props.add(key=key, value=value)
    return model


def _use_double_precision(graph: Any) -> None:
    """Make means and Fourier transforms compute in double precision.

    In single precision onnxruntime is inaccurate: it adds the terms of a mean one by one, even the 120,000 samples of a
    clip, and computes Fourier transforms whose length is no power of two (constant-Q branch) by Bluestein's algorithm.
    Short spectra are rounded differently from PyTorch's, which shows in decibels beside a pure tone.
    """
    from onnx import TensorProto, helper

    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type not in _DOUBLE:
            graph.node.append(node)
            continue
        for place in _DOUBLE[node.op_type]:
            wide = f"{node.name}_wide_{place}"
            graph.node.append(helper.make_node("Cast", [node.input[place]], [wide], to=TensorProto.DOUBLE))
            node.input[place] = wide
        narrow, result = node.output[0], f"{node.name}_result"
        node.output[0] = result
        graph.node.append(node)
        graph.node.append(helper.make_node("Cast", [result], [narrow], to=TensorProto.FLOAT))


def _metadata(classifier: InstrumentClassifier) -> dict[str, str]:
    licence = classifier.source.get("weights_licence")
    return {
        "labels": json.dumps(classifier.labels),
        "trained_classes": json.dumps(classifier.trained_classes),
        "thresholds": json.dumps(classifier.thresholds),
        "sample_rate": str(SAMPLE_RATE),
        "clip_seconds": f"{CLIP_SECONDS:g}",
        "source": json.dumps(classifier.source),
        "tarkib_version": metadata.version("tarkib"),
        **({"licence": licence} if licence else {}),
    }


def _test_clips() -> np.ndarray:
    """Clips to compare on, float32 ``[4, 120000]``: plucked chords, noise, a pure tone, silence."""
    rng = np.random.default_rng(0)
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    partials = np.outer(rng.uniform(110, 880, 3), np.arange(1, 9)).ravel()
    chords = np.exp(-3 * (time % 1.6)) * sum(np.sin(2 * np.pi * hz * time) for hz in partials)
    noise = rng.standard_normal(CLIP_SAMPLES)
    return np.stack([0.05 * chords, 0.1 * noise, np.sin(2 * np.pi * 382 * time), 0 * time]).astype(np.float32)


def _difference(classifier: InstrumentClassifier, session: Any, clips: np.ndarray) -> float:
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(clips)).numpy()
    return float(np.abs(session.run(["logits"], {"samples": clips})[0] - expected).max())
