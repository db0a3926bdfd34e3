"""Choosing a backbone: by a built-in name, from the Hugging Face hub, or a directory."""

import difflib
import re
from pathlib import Path

import torch

from tarkib.errors import TarkibError
from tarkib.models import hub
from tarkib.models.checkpoint import checksum, find_weights, load_mert, read_config
from tarkib.models.hub import PUBLISHED
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.models.mert import MertModel
from tarkib.runtime.text import quoted

Backbone = MertModel | MelCnn

PACKAGED = "mert-tiny"
"""The backbone whose weights are in this package, pre-trained on synthetic music (docs/pretraining.md)."""

_TINY = Path(__file__).with_name("mert_tiny")
_BUILT_IN = (PACKAGED, "mert-tiny-random", "mel-cnn")
_NAMES = (*_BUILT_IN, *PUBLISHED)
_DIGITS = 16
"""Digits of a checksum in messages and in `revision`."""


def load_backbone(name: str, *, revision: str | None = None, seed: int, spec_augment: bool = False) -> Backbone:
    """Load a backbone: a module with `all_hidden_states(samples)`, `layer_count`, `hidden_size` and `source`.

    `source` records its origin: `name`; `revision`, the commit on the hub or the first digits of the weights' checksum,
    null for a built-in name; `weights_sha256` unless it starts at random; `weights_licence` of a published model.

    Parameters
    ----------
    name : `mert-tiny` (pre-trained), `mert-tiny-random` (the same network, random start), `mel-cnn` (random start), one
        of `PUBLISHED`, or a directory with `config.json` and `model.safetensors` or `pytorch_model.bin`.
    revision : branch, tag or commit of one of `PUBLISHED`, None for the cache's main branch (else the hub's); or the
        first digits, at least 8, of the SHA-256 of a directory's weights.
    seed : of the random start and of spec augment.
    spec_augment : mask spans of frames in training.

    Raises TarkibError if the name is unknown, the hub cannot be reached, a file is missing, damaged or of another
    model, or the weights are not those of `revision`.
    """
    source = {"name": name, "revision": revision}
    backbone: Backbone
    if name in _BUILT_IN and revision is not None:
        raise TarkibError(
            f"model.revision: {quoted(revision)} is for {', '.join(PUBLISHED)} or a directory; set it to null"
        )
    if name in ("mel-cnn", "mert-tiny-random"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = MelCnn(MelCnnConfig()) if name == "mel-cnn" else MertModel(read_config(_TINY))
    else:
        if name == PACKAGED:
            folder = _TINY
            source["weights_sha256"] = checksum(find_weights(folder))
        elif name in PUBLISHED:
            folder = hub.snapshot(name, revision)
            digest = hub.check(folder, name)
            source |= {"revision": folder.name, "weights_sha256": digest, "weights_licence": hub.LICENCE}
        else:
            folder = _directory(name)
            read_config(folder)  # refuses another model before its weights are read
            digest = _pinned(find_weights(folder), revision)
            source |= {"revision": digest[:_DIGITS], "weights_sha256": digest}
        backbone = load_mert(folder)
    backbone.source = source
    if spec_augment:
        if isinstance(backbone, MelCnn):
            raise TarkibError(f"model.spec_augment: {name} has none; set it to false")
        backbone.enable_spec_augment(seed)
    return backbone


def _directory(name: str) -> Path:
    """The directory of that name; TarkibError with the nearest known name if there is none."""
    path = Path(name)
    try:
        if path.is_dir():
            return path
        if path.exists():
            raise TarkibError(f"model.backbone: {quoted(name)} is a file; give the directory that holds config.json")
    except OSError as error:
        raise TarkibError(f"model.backbone: {quoted(name)}: {error.strerror}; give another directory") from error
    # Also without the owner, which is often left out of a hub name.
    known = {key.lower(): full for full in _NAMES for key in (full, full.rpartition("/")[2])}
    near = difflib.get_close_matches(name[:100].lower(), known, n=1)
    raise TarkibError(
        f"model.backbone: {quoted(name)} is neither a directory nor one of {', '.join(_NAMES)}"
        + (f"; did you mean {known[near[0]]}?" if near else "")
    )


def _pinned(weights: Path, revision: str | None) -> str:
    """SHA-256 of a directory's weights; TarkibError if it does not begin with `revision`."""
    if revision is not None and not re.fullmatch("[0-9a-fA-F]{8,64}", revision):
        raise TarkibError(
            f"model.revision: {quoted(revision)} is not a checksum; for a directory give the first 8 to 64 hexadecimal "
            f"digits of the SHA-256 of {weights}, or null"
        )
    digest = checksum(weights)
    if revision is not None and not digest.startswith(revision.lower()):
        raise TarkibError(
            f"{weights}: its SHA-256 begins with {digest[: max(_DIGITS, len(revision))]} and model.revision is "
            f"{revision}; restore the weights of that revision, or set model.revision to the checksum of these"
        )
    return digest
