"""Reading and writing the files of models: JSON with checked fields, weights, and the directory of a published MERT.

Such a directory holds `config.json` beside `model.safetensors` or `pytorch_model.bin`. A pickle is read for its tensors
only, and no Python of a checkpoint is run.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.mert import MertModel
from tarkib.models.mert_config import SAMPLE_RATE, MertConfig
from tarkib.runtime.text import bounded, quoted, some

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of the weights file, the preferred one first."""

_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""Keys of weight normalisation in published files, and in torch now."""

_HOP = 320
"""Samples between two frames, 75 a second, in every MERT."""

_REMEDY = "copy or download the file again, or use a MERT-v1 checkpoint"


class StrictModel(BaseModel):
    """A pydantic model that converts no types and refuses unknown keys, NaN and infinity."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


_Model = TypeVar("_Model", bound=BaseModel)


def validate(kind: type[_Model], content: Any, name: str, remedy: str) -> _Model:
    """Validate a JSON object; TarkibError with `name`, the first wrong field, its value and `remedy`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "the content"
        value = "missing" if problem["type"] == "missing" else quoted(problem["input"])
        raise TarkibError(f"{name}: {bounded(field)} is {value} ({bounded(problem['msg'])}); {remedy}") from error


def read_json(path: Path) -> Any:
    """Content of a JSON file; TarkibError if it is unreadable or not JSON."""
    try:
        return from_json(path.read_bytes(), allow_inf_nan=False)
    except (OSError, ValueError) as error:
        raise TarkibError(f"{path}: not readable as JSON ({bounded(error)}); copy or download it again") from error


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; TarkibError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror}); make it a file that you may read") from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name of a safetensors file or a pickle; TarkibError if it is damaged or holds anything else."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not all(isinstance(key, str) and value.layout is torch.strided for key, value in state.items()):
            raise TypeError("no names of dense tensors")
    except Exception as error:  # each format has its own exceptions for a damaged file
        raise TarkibError(
            f"{path}: holds no tensors that can be read ({type(error).__name__}, {path.stat().st_size:,} bytes): "
            "damaged, truncated, or of another kind; download the weights again (`git lfs pull` for a Git LFS pointer)"
        ) from error
    return state


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Fill a module, which may be on torch's meta device, with exactly these tensors, copied and in its dtypes.

    Raises TarkibError, beginning with `name`, if keys, shapes or kinds of number differ, or a number is not finite.
    """
    expected = module.state_dict()
    problems = [f"{key} is {'missing' if key in expected else 'unknown'}" for key in expected.keys() ^ state.keys()]
    for key in expected.keys() & state.keys():
        tensor, target = state[key], expected[key]
        if tensor.shape != target.shape:
            problems.append(f"{key} is {tuple(tensor.shape)} instead of {tuple(target.shape)}")
        elif tensor.is_floating_point() != target.is_floating_point():
            problems.append(f"{key} is {tensor.dtype} instead of {target.dtype}")
        else:
            # Copied one by one: only one tensor is in memory twice, and none stays in the memory-mapped file.
            state[key] = tensor.to(target.dtype, copy=True, memory_format=torch.contiguous_format)
            # The minimum and maximum are finite only if all numbers are, and need no copy.
            if tensor.numel() and not all(map(torch.isfinite, state[key].aminmax())):
                problems.append(f"{key} has NaN or infinite numbers")
    if problems:
        raise TarkibError(
            f"{name}: the weights do not fit the configuration beside them: {some(map(bounded, sorted(problems)), 3)}; "
            "copy or download both files again, or use an earlier checkpoint"
        )
    module.load_state_dict(state, assign=True)


class _Preprocessor(StrictModel, extra="ignore"):
    """What `preprocessor_config.json` may hold: the input that `mert.normalise` makes."""

    sampling_rate: Literal[24_000] = SAMPLE_RATE
    do_normalize: Literal[True] = True


def mert_on_meta(content: Any, name: str) -> MertModel:
    """The model of a `config.json`'s content on torch's meta device, for `load_weights` to fill.

    Raises TarkibError, beginning with `name`, if the content is not the configuration of a MERT v1.
    """
    kind = content.get("model_type") if isinstance(content, dict) else None
    # HuBERT's speech models take 16 kHz and do not state it.
    if kind != "mert_model" and not (kind == "hubert" and "sample_rate" in content):
        raise TarkibError(
            f"{name}: model_type is {quoted(kind)}, expected mert_model, or hubert with a sample_rate of "
            f"{SAMPLE_RATE}; {_REMEDY}"
        )
    # A null stands for a default.
    config = validate(MertConfig, {key: value for key, value in content.items() if value is not None}, name, _REMEDY)
    if math.prod(config.conv_stride) != _HOP or config.frame_count(5 * SAMPLE_RATE) < 1:
        raise TarkibError(
            f"{name}: conv_kernel and conv_stride do not give a clip of five seconds frames of {_HOP} samples; "
            f"{_REMEDY}"
        )
    try:
        with torch.device("meta"):
            return MertModel(config)
    except Exception as error:  # any of the many modules inside may raise
        raise TarkibError(f"{name}: no model can be made of it ({bounded(repr(error))}); {_REMEDY}") from error


def find_weights(folder: Path) -> Path:
    """The weights file of a directory; TarkibError if there is none."""
    for path in (folder / name for name in WEIGHTS):
        if path.exists():
            return path
    raise TarkibError(f"{folder}: no weights; put {' or '.join(WEIGHTS)}, as one file, beside config.json")


def load_mert(folder: Path) -> MertModel:
    """Load the model in a directory, float32, on the CPU; no random number is drawn.

    Raises TarkibError if a file is missing, damaged or of another model.
    """
    config, preprocessor = folder / "config.json", folder / "preprocessor_config.json"
    backbone = mert_on_meta(read_json(config), str(config))
    if preprocessor.exists():
        validate(_Preprocessor, read_json(preprocessor), str(preprocessor), _REMEDY)
    path = find_weights(folder)
    state = {}
    for key, tensor in read_tensors(path).items():
        stem, _, last = key.rpartition(".")
        state[f"{stem}.{_RENAMED[last]}" if last in _RENAMED else key] = tensor
    if not hasattr(backbone, "masked_spec_embed"):
        # Only masks use it, so a configuration without masks has no such parameter.
        state.pop("masked_spec_embed", None)
    load_weights(backbone, state, str(path))
    return backbone


def save_mert(folder: Path, backbone: MertModel, card: str) -> str:
    """Write the weights, both configurations and README.md; returns the SHA-256 of the weights."""
    from safetensors.torch import save

    state = {}
    for key, tensor in sorted(backbone.state_dict().items()):
        for published, ours in _RENAMED.items():
            key = key.replace(ours, published)
        state[key] = tensor.detach().cpu().contiguous()
    # The library's own file would be readable by its owner alone, and its error on a full disk no OSError.
    (folder / WEIGHTS[0]).write_bytes(save(state, metadata={"format": "pt"}))
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", **_Preprocessor().model_dump()}
    for name, content in (("config.json", backbone.config.to_dict()), ("preprocessor_config.json", extractor)):
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
    return checksum(folder / WEIGHTS[0])
