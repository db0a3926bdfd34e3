"""Choosing a backbone: by name (in this package, or started at random), from the Hugging Face hub, or a directory."""

import difflib
import re
from pathlib import Path

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models import hub
from tarkib.models.checkpoint import checksum, find_weights, load_mert, read_config
from tarkib.models.hub import PUBLISHED
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.models.mert import MertConfig, MertModel
from tarkib.runtime.text import quoted

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

_SHOWN_DIGITS = 16
"""Of a checksum: enough to tell weights apart."""

PACKAGED = "mert-tiny"
"""The one whose weights are in this package, in `mert_tiny/`: it has heard synthetic music (docs/pretraining.md)."""

_STARTED_HERE = ("mert-tiny-random", "mel-cnn")
_BUILT_IN = (PACKAGED, *_STARTED_HERE)


def load_backbone(
    name: str, *, revision: str | None = None, seed: int, attention: str = "sdpa", spec_augment: bool = False
) -> nn.Module:
    """Load a backbone: a module with `all_hidden_states(samples)`, `layer_count`, `hidden_size` and `source`.

    `source` says what was loaded: `name`; `revision`, the commit on the hub or the beginning of the weights' checksum;
    `weights_sha256` and, of a published model, `weights_licence`. A random start has a name and no revision, and
    neither has `mert-tiny`.

    Parameters
    ----------
    name : `mert-tiny`, which has heard music, `mert-tiny-random`, the same with a random start, `mel-cnn` (random
        start), one of `PUBLISHED`, or a directory that holds `config.json` and `model.safetensors` or
        `pytorch_model.bin`.
    revision : branch, tag or commit of one of `PUBLISHED`, what the cache has of the main branch (else the hub) where
        None; or the first digits, 8 at least, of the SHA-256 of a directory's weights.
    seed : of the random start and of spec augment.
    attention : `sdpa` or `eager`.
    spec_augment : mask spans of frames in training.

    Raises TarkibError where the name is unknown, the hub cannot be reached, a file is missing, damaged or of another
    model, or the weights are not those of `revision`.
    """
    source = {"name": name, "revision": revision}
    if name in _BUILT_IN and revision is not None:
        raise TarkibError(
            f"model.revision: {quoted(revision)} is for {', '.join(PUBLISHED)} or a directory; set it to null"
        )
    if name == PACKAGED:
        folder = Path(__file__).with_name("mert_tiny")
        source["weights_sha256"] = checksum(find_weights(folder))
        backbone = load_mert(folder)
    elif name in _STARTED_HERE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = MelCnn(MelCnnConfig()) if name == "mel-cnn" else MertModel(MertConfig(**MERT_TINY))
    elif name in PUBLISHED:
        folder = hub.snapshot(name, revision)
        source |= {
            "revision": folder.name,
            "weights_sha256": hub.check(folder, name),
            "weights_licence": hub.LICENCE,
        }
        backbone = load_mert(folder)
    else:
        folder = _directory(name)
        read_config(folder)  # that it is another model is told before its weights are read
        digest = _pinned(find_weights(folder), revision)
        source |= {"revision": digest[:_SHOWN_DIGITS], "weights_sha256": digest}
        backbone = load_mert(folder)
    backbone.source = source
    if isinstance(backbone, MertModel):
        backbone.set_attn_implementation(attention)
        if spec_augment:
            backbone.enable_spec_augment(seed)
    elif spec_augment:
        raise TarkibError(f"model.spec_augment: {name} has none; set it to false")
    return backbone


def _directory(name: str) -> Path:
    """The directory of that name; where there is none, TarkibError with the nearest name that is known."""
    path = Path(name)
    try:
        if path.is_dir():
            return path
        if path.exists():
            raise TarkibError(f"model.backbone: {quoted(name)} is a file; give the directory that holds config.json")
    except OSError as error:
        raise TarkibError(f"model.backbone: {quoted(name)}: {error.strerror}; give another directory") from error
    # By the last part as well: the hub's names are often given without their owner.
    known = {key.lower(): full for full in (*_BUILT_IN, *PUBLISHED) for key in (full, full.rpartition("/")[2])}
    near = difflib.get_close_matches(name[:100].lower(), known, n=1)
    raise TarkibError(
        f"model.backbone: {quoted(name)} is neither a directory nor one of {', '.join((*_BUILT_IN, *PUBLISHED))}"
        + (f"; did you mean {known[near[0]]}?" if near else "")
    )


def _pinned(weights: Path, revision: str | None) -> str:
    """SHA-256 of a directory's weights; TarkibError where it does not begin with `revision`."""
    if revision is not None and not re.fullmatch("[0-9a-fA-F]{8,64}", revision):
        raise TarkibError(
            f"model.revision: {quoted(revision)}; for a directory give the first 8 to 64 hexadecimal digits of the "
            f"SHA-256 of {weights}, or null"
        )
    digest = checksum(weights)
    if revision is not None and not digest.startswith(revision.lower()):
        raise TarkibError(
            f"{weights}: its SHA-256 begins with {digest[: max(_SHOWN_DIGITS, len(revision))]} and model.revision is "
            f"{revision}; put the weights that were meant there, or set model.revision to the former"
        )
    return digest
