"""Finding and loading a backbone: by name, from the Hugging Face hub, or from a directory of the published layout.

A checkpoint's own Python is never run, and a pickle is read for its tensors only.
"""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.models.mert import SAMPLE_RATE, MertConfig, MertModel

PUBLISHED = ("m-a-p/MERT-v1-330M", "m-a-p/MERT-v1-95M")
"""Models on the Hugging Face hub; their weights are under CC BY-NC 4.0 as far as is known."""

MERT_TINY = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "do_stable_layer_norm": True,
    # As wide a start as 96 channels ask for: the published 0.02 suits 1024 and leaves a narrow network asleep.
    "initializer_range": 0.1,
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    # Two strided convolutions with the receptive field (400 samples) and the stride (320) of the published seven.
    "conv_dim": (16, 16),
    "conv_kernel": (40, 19),
    "conv_stride": (20, 16),
    "num_conv_pos_embeddings": 9,
    "num_conv_pos_embedding_groups": 1,
    # Eight octaves from 40 Hz, a bin a semitone.
    "feature_extractor_cqt": True,
    "feature_extractor_cqt_bins": 96,
    "feature_extractor_cqt_fmin": 40.0,
    "feature_extractor_cqt_bins_per_octave": 12,
    "feature_extractor_cqt_gamma": 100.0,
}
"""A MERT that learns in a minute without a GPU: the constant-Q branch on, and a thin waveform branch beside it."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CONNECT_SECONDS = 5.0


def load_backbone(
    name: str, *, revision: str | None = None, seed: int, attention: str = "sdpa", spec_augment: bool = False
) -> nn.Module:
    """Load a backbone: a module with `all_hidden_states(samples)`, `layer_count` and `hidden_size`.

    Parameters
    ----------
    name : `mert-tiny` or `mel-cnn` (random start), one of `PUBLISHED`, or a directory that holds `config.json` and
        `model.safetensors` or `pytorch_model.bin`.
    revision : branch, tag or commit on the hub; the hub's main branch where None. For `PUBLISHED` alone.
    seed : of the random start and of spec augment.
    attention : `sdpa` or `eager`.
    spec_augment : mask spans of frames in training.

    Raises TarkibError where the name is unknown, the hub cannot be reached, or a file is missing, damaged or of another
    model.
    """
    if revision is not None and name not in PUBLISHED:
        raise TarkibError(f"model.revision: {revision!r} is of use with {' or '.join(PUBLISHED)} only; set it to null")
    if name in ("mel-cnn", "mert-tiny"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = MelCnn(MelCnnConfig()) if name == "mel-cnn" else MertModel(MertConfig(**MERT_TINY))
    elif name in PUBLISHED:
        backbone = _from_directory(_download(name, revision), name)
    elif Path(name).is_dir():
        backbone = _from_directory(Path(name), name)
    else:
        raise TarkibError(
            f"model.backbone: {name!r} is neither a directory nor one of mert-tiny, mel-cnn, {', '.join(PUBLISHED)}"
        )
    if isinstance(backbone, MertModel):
        backbone.set_attn_implementation(attention)
        if spec_augment:
            backbone.enable_spec_augment(seed)
    elif spec_augment:
        raise TarkibError(f"model.spec_augment: {name} has none; set it to false")
    return backbone


def read_config(folder: Path) -> MertConfig:
    """Read a checkpoint's `config.json`.

    Raises TarkibError where it is missing, no JSON, or of a model that is not MERT v1.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TarkibError(f"{folder}: no config.json; a backbone's directory holds it beside its weights") from None
    except (OSError, ValueError) as error:
        raise TarkibError(f"{path}: cannot be read ({error}); copy or download the file again") from error
    return config_from_dict(content, str(path))


def config_from_dict(content: Any, name: str) -> MertConfig:
    """Make a configuration of `config.json`'s content; errors begin with `name`."""
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in ("mert_model", "hubert"):
        raise TarkibError(f"{name}: model_type is {kind!r}, expected mert_model or hubert; this is another model")
    try:
        # `auto_map` names the checkpoint's own Python, which has no business here.
        config = MertConfig.from_dict({k: v for k, v in content.items() if k not in ("model_type", "auto_map")})
    except TarkibError as error:
        raise TarkibError(f"{name}: {error}") from error
    except Exception as error:  # whatever the checks of transformers raise for a value out of place
        raise TarkibError(f"{name}: {_line(error)}") from error
    if config.sample_rate != SAMPLE_RATE:
        raise TarkibError(
            f"{name}: sample_rate is {config.sample_rate}, but clips have {SAMPLE_RATE} Hz; use a MERT-v1 checkpoint"
        )
    return config


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Fill a module with exactly these tensors; TarkibError beginning with `name` where keys or shapes differ."""
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state and state[key].shape != tensor.shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unknown", extra), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise TarkibError(
            f"{name}: the weights do not fit the configuration beside them, tensors {'; '.join(problems)}; "
            "copy or download both files again"
        )
    module.load_state_dict(state)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors or a pickled file of tensors; TarkibError where it is damaged or holds anything else."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "unsupported global" in str(error).lower():
            raise TarkibError(
                f"{path}: a pickle that asks to run code, which is refused; use a file that holds tensors only "
                "(model.safetensors)"
            ) from error
        raise _damaged(path) from error
    except Exception as error:  # each format has its own exceptions for a damaged file
        raise _damaged(path) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise TarkibError(f"{path}: expected a mapping of names to tensors; use the weights file as published")
    return state


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _damaged(path: Path) -> TarkibError:
    size = path.stat().st_size
    return TarkibError(f"{path}: damaged, cut short or of another format ({size:,} bytes); copy or download it again")


def _from_directory(folder: Path, name: str) -> MertModel:
    """Load a MERT from a directory of the published layout."""
    config = read_config(folder)
    _check_preprocessor(folder)
    path = next((folder / file for file in _WEIGHTS if (folder / file).is_file()), None)
    if path is None:
        raise TarkibError(f"{folder}: no weights; expected {' or '.join(_WEIGHTS)} beside config.json")
    # The keys of weight normalisation as they were before torch's parametrizations.
    renamed = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    state = {}
    for key, tensor in read_tensors(path).items():
        stem, _, last = key.rpartition(".")
        state[f"{stem}.{renamed[last]}" if last in renamed else key] = tensor
    try:
        backbone = MertModel(config)
    except Exception as error:  # a configuration whose fields contradict each other, found in one of many modules
        raise TarkibError(f"{folder / 'config.json'}: no model can be made of it: {_line(error)}") from error
    load_weights(backbone, state, str(path))
    return backbone


def _check_preprocessor(folder: Path) -> None:
    """Refuse a checkpoint whose input is prepared in another way than `normalise` does."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rate, normalised = content.get("sampling_rate", SAMPLE_RATE), content.get("do_normalize", True)
    except (OSError, ValueError, AttributeError) as error:
        raise TarkibError(f"{path}: cannot be read ({error}); copy or download the file again") from error
    if rate != SAMPLE_RATE or normalised is not True:
        raise TarkibError(
            f"{path}: wants sampling_rate {rate} and do_normalize {normalised}; expected {SAMPLE_RATE} and true, "
            "as MERT-v1 has them"
        )


def _download(name: str, revision: str | None) -> Path:
    """Directory with a published model's files, from the hub's local cache or else from the hub."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    def fetch(offline: bool) -> Path:
        config = hf_hub_download(name, "config.json", revision=revision, local_files_only=offline)
        for file in ("preprocessor_config.json", *_WEIGHTS):
            try:
                hf_hub_download(name, file, revision=revision, local_files_only=offline)
            except EntryNotFoundError:
                continue
            if file in _WEIGHTS:
                return Path(config).parent
        raise EntryNotFoundError(f"no {' or '.join(_WEIGHTS)}")

    try:
        return fetch(offline=True)
    except EntryNotFoundError:
        pass
    try:
        # Asked for once and without retries, so that no network means an error now and not in minutes.
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=_CONNECT_SECONDS)
        return fetch(offline=False)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise TarkibError(f"model.backbone {name}: the hub knows no revision {revision!r} of it") from error
    except Exception as error:  # the network has more exceptions than one would list
        raise TarkibError(
            f"model.backbone: {name} is not in the local cache and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}); run once with a network, or give model.backbone a directory that holds "
            f"config.json and {_WEIGHTS[1]}"
        ) from error
