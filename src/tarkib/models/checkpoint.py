"""A MERT in a directory of the published layout: `config.json` beside `model.safetensors` or `pytorch_model.bin`.

A checkpoint's own Python is never run, and a pickle is read for its tensors only.
"""

import hashlib
import json
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import HubertConfig

from tarkib.errors import TarkibError
from tarkib.models import bounds
from tarkib.models.mert import SAMPLE_RATE, MertConfig, MertModel, frame_count
from tarkib.runtime.text import bounded, quoted, some

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of the file with the weights, the preferred one first."""

_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
"""Keys of weight normalisation as they were before torch's parametrizations."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_HOP = 320
"""Samples between two frames, 75 a second, in every MERT."""

_CLIP_SAMPLES = 5 * SAMPLE_RATE

_MOST_JSON_BYTES = 1_000_000
"""Far more than any configuration has."""

_GIT_LFS = b"version https://git-lfs"


def load_mert(folder: Path) -> MertModel:
    """Load the model in a directory, float32, on the CPU; no random number is drawn.

    Raises TarkibError where a file is missing, damaged or of another model.
    """
    config = read_config(folder)
    _check_preprocessor(folder)
    path = find_weights(folder)
    backbone = empty_mert(config, str(folder / "config.json"))
    state = {}
    for key, tensor in read_tensors(path).items():
        stem, _, last = key.rpartition(".")
        state[f"{stem}.{_RENAMED[last]}" if last in _RENAMED else key] = tensor
    if not hasattr(backbone, "masked_spec_embed"):
        # Of use with masks alone, so a configuration that masks nothing has no place for it.
        state.pop("masked_spec_embed", None)
    load_weights(backbone, state, str(path))
    return backbone


def empty_mert(config: MertConfig, name: str) -> MertModel:
    """A model without weights, for `load_weights` to fill: neither memory nor time goes into a random start.

    Raises TarkibError, beginning with `name`, for a configuration whose fields contradict each other.
    """
    try:
        # One vector is drawn all the same, from the generator that is everyone's.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return MertModel(config)
    except Exception as error:  # whatever the one of many modules raises that finds it
        raise TarkibError(
            f"{name}: no model can be made of it: {_line(error)}; copy or download the file again"
        ) from error


def find_weights(folder: Path) -> Path:
    """The file with a directory's weights; TarkibError where there is none."""
    for path in (folder / name for name in WEIGHTS):
        if path.is_file():
            return path
        if path.exists():
            raise TarkibError(f"{path}: not a file; put the weights there, or give model.backbone another directory")
    for name in WEIGHTS:
        if (folder / f"{name}.index.json").exists():
            raise TarkibError(
                f"{folder}: its weights are cut into several files, which is not read; save them as one {name} "
                "(save_pretrained with a greater max_shard_size)"
            )
    raise TarkibError(f"{folder}: no weights; expected {' or '.join(WEIGHTS)} beside config.json")


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; TarkibError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_config(folder: Path) -> MertConfig:
    """Read a checkpoint's `config.json`.

    Raises TarkibError where it is missing, no JSON, or of a model that is not MERT v1.
    """
    path = folder / "config.json"
    if not path.exists():
        raise TarkibError(f"{folder}: no config.json; a backbone's directory holds it beside its weights")
    return config_from_dict(read_json(path), str(path))


def config_from_dict(content: Any, name: str) -> MertConfig:
    """Make a configuration of `config.json`'s content; errors begin with `name`."""
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in ("mert_model", "hubert"):
        raise TarkibError(
            f"{name}: model_type is {quoted(kind)}, expected mert_model or hubert; this is another model, give "
            "model.backbone the directory of a MERT-v1"
        )
    if kind == "hubert" and "sample_rate" not in content:
        # HuBERT's own speech models hear 16 kHz and do not say so.
        raise TarkibError(f"{name}: a hubert without sample_rate; if it hears {SAMPLE_RATE} Hz, add that to the file")
    # Nothing else: neither the checkpoint's own Python (`auto_map`) nor a number of labels, for each of which a name
    # would be made, has business here.
    fields = {**HubertConfig.__annotations__, **MertConfig.__annotations__}.keys() - {"model_type"}
    known = {key: content[key] for key in fields & content.keys()}
    bounds.check({key: value for key, value in known.items() if value is not None}, bounds.MERT, name)
    try:
        config = MertConfig.from_dict(known)
    except TarkibError as error:
        raise TarkibError(f"{name}: {error}") from error
    except Exception as error:  # whatever the checks of transformers raise for a value out of place
        raise TarkibError(f"{name}: {_line(error)}; copy or download the file again") from error
    if config.sample_rate != SAMPLE_RATE:
        raise TarkibError(
            f"{name}: sample_rate is {quoted(config.sample_rate)}, but clips have {SAMPLE_RATE} Hz; use a MERT-v1 "
            "checkpoint"
        )
    if math.prod(config.conv_stride) != _HOP:
        raise TarkibError(
            f"{name}: conv_stride is {list(config.conv_stride)}, whose product is not {_HOP}, the samples between two "
            "frames of a MERT; use a MERT-v1 checkpoint"
        )
    if not len(config.conv_dim) == len(config.conv_kernel) == len(config.conv_stride):
        raise TarkibError(f"{name}: conv_dim, conv_kernel and conv_stride differ in length; copy the file again")
    if frame_count(config, _CLIP_SAMPLES) < 1:
        raise TarkibError(f"{name}: conv_kernel is {quoted(config.conv_kernel)}, wider than a clip of five seconds")
    return config


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Fill a module with exactly these tensors, which become its own, in its number formats.

    The module may be empty (on torch's meta device). Raises TarkibError beginning with `name` where keys, shapes or
    kinds of number differ, or a number is not finite.
    """
    expected = module.state_dict()
    both = [key for key in expected if key in state]
    problems = [
        f"{len(found)} {what} ({some(map(bounded, found), 3)})"
        for what, found in (
            ("missing", sorted(expected.keys() - state.keys())),
            ("unknown", sorted(state.keys() - expected.keys())),
            (
                "of another shape",
                [
                    f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
                    for key in both
                    if state[key].shape != expected[key].shape
                ],
            ),
            (
                "of another kind",
                [
                    f"{key} {state[key].dtype}".replace("torch.", "")
                    for key in both
                    if (state[key].dtype in _FLOATS) != (expected[key].dtype in _FLOATS)
                ],
            ),
        )
        if found
    ]
    if problems:
        raise TarkibError(
            f"{name}: the weights do not fit the configuration beside them, tensors {'; '.join(problems)}; "
            "copy or download both files again"
        )
    # One pass without a copy: the least and the greatest number are finite only where all are.
    spoilt = [key for key in both if state[key].numel() and not all(map(torch.isfinite, state[key].aminmax()))]
    if spoilt:
        more = f" and {len(spoilt) - 1} more" if len(spoilt) > 1 else ""
        raise TarkibError(
            f"{name}: NaN or infinite numbers in {bounded(spoilt[0])}{more}; such weights give nothing but NaN, copy "
            "or download the file again, or use an earlier checkpoint"
        )
    for key in both:
        # Popped, so that no more than one tensor is in memory twice; copied, so that none lives in the mapped file.
        state[key] = state[key].to(expected[key].dtype, copy=True, memory_format=torch.contiguous_format)
    module.load_state_dict(state, assign=True)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors or a pickled file of tensors; TarkibError where it is damaged or holds anything else."""
    try:
        with path.open("rb") as file:
            if file.read(len(_GIT_LFS)) == _GIT_LFS:
                raise TarkibError(f"{path}: a pointer of Git LFS and not the weights; run `git lfs pull` there")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (PermissionError, IsADirectoryError) as error:
        raise _unreadable(path, error) from error
    except pickle.UnpicklingError as error:
        if "unsupported global" in str(error).lower():
            raise TarkibError(
                f"{path}: a pickle that asks to run code, which is refused; use a file that holds tensors only "
                "(model.safetensors)"
            ) from error
        raise _damaged(path) from error
    except TarkibError:
        raise
    except Exception as error:  # each format has its own exceptions for a damaged file
        raise _damaged(path) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) and value.layout is torch.strided
        for key, value in state.items()
    ):
        raise TarkibError(f"{path}: expected a mapping of names to tensors; use the weights file as published")
    return state


def read_json(path: Path) -> Any:
    """Content of a small JSON file; TarkibError where it cannot be read, is not JSON or not small."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_JSON_BYTES + 1)
        if len(content) > _MOST_JSON_BYTES:
            raise TarkibError(f"{path}: has more than {_MOST_JSON_BYTES:,} bytes, so it is no configuration")
        return json.loads(content.decode())
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise TarkibError(f"{path}: not JSON ({_line(error)}); copy or download the file again") from error


def _check_preprocessor(folder: Path) -> None:
    """Refuse a checkpoint whose input is prepared in another way than `normalise` does."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return
    content = read_json(path)
    if not isinstance(content, dict):
        raise TarkibError(f"{path}: expected a mapping, found {quoted(content)}; copy or download the file again")
    rate, normalised = content.get("sampling_rate", SAMPLE_RATE), content.get("do_normalize", True)
    if rate != SAMPLE_RATE or normalised is not True:
        raise TarkibError(
            f"{path}: wants sampling_rate {quoted(rate)} and do_normalize {quoted(normalised)}; expected {SAMPLE_RATE} "
            "and true, as MERT-v1 has them"
        )


def _line(error: Exception) -> str:
    text = bounded(error)
    return f"unknown value {text}" if isinstance(error, KeyError) else text


def _unreadable(path: Path, error: OSError) -> TarkibError:
    return TarkibError(f"{path}: cannot be read ({error.strerror}); see that it is a file that you may read")


def _damaged(path: Path) -> TarkibError:
    size = path.stat().st_size
    return TarkibError(f"{path}: damaged, cut short or of another format ({size:,} bytes); copy or download it again")
