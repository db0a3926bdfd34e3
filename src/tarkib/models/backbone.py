"""Choosing a backbone: by a built-in name, from the Hugging Face hub, or a directory.

Published ones are downloaded once into the cache of huggingface_hub (`HF_HOME` sets it), which other programs share: a
snapshot's folder is named by its commit. They are checked against the hub's checksums.
"""

import difflib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tarkib.errors import TarkibError
from tarkib.models.files import WEIGHTS, checksum, find_weights, load_mert
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.models.mert import MertModel
from tarkib.models.muq import Muq, is_muq, load_muq
from tarkib.models.musicnn import CHECKSUMS, LICENCE, Musicnn, load_musicnn
from tarkib.runtime.text import bounded, quoted

Backbone = MertModel | MelCnn | Muq | Musicnn

_MERT_LICENCE = "CC BY-NC 4.0, as far as is known"
PUBLISHED = {
    "m-a-p/MERT-v1-330M": _MERT_LICENCE,
    "m-a-p/MERT-v1-95M": _MERT_LICENCE,
    "OpenMuQ/MuQ-large-msd-iter": "CC BY-NC 4.0",
}
"""Models on the Hugging Face hub that this project loads, with the licence of their weights."""

PACKAGED = "mert-tiny"
"""The backbone whose weights are in this package, pre-trained on synthetic music (docs/pretraining.md)."""

_TINY = Path(__file__).with_name("mert_tiny")
MUSICNN = "musicnn"
"""The backbone whose weights are in another package, of its name."""

_BUILT_IN = (PACKAGED, "mert-tiny-random", "mel-cnn", MUSICNN)
_NAMES = (*_BUILT_IN, *PUBLISHED)


def load_backbone(name: str, *, revision: str | None = None, seed: int, spec_augment: bool = False) -> Backbone:
    """Load a backbone: a module with `layer_count` (L), `hidden_size` (H), `all_hidden_states` and `source`.

    `all_hidden_states(samples)` maps normalised samples `[B, n]` to L tensors `[B, T, H]`. `source` records its origin:
    `name`; `revision`, the commit on the hub or the first digits of the weights' checksum, None for a built-in name;
    `weights_sha256` unless it starts at random; `weights_licence` of a published model.

    Raises TarkibError if the name is unknown, the hub cannot be reached, a package or a file is missing, damaged or of
    another model, or the weights are not those of `revision`.

    Parameters
    ----------
    name
        `mert-tiny` (pre-trained), `mert-tiny-random` (the same network, random start), `mel-cnn` (random start),
        `musicnn`, one of `PUBLISHED`, or a directory with `config.json` and `model.safetensors` or `pytorch_model.bin`.
    revision
        Branch, tag or commit of one of `PUBLISHED`, None for the cache's main branch (else the hub's); or the first
        digits, at least 8, of the SHA-256 of a directory's weights.
    seed
        Of the random initial weights and of SpecAugment's masks.
    spec_augment
        Mask random spans of frames in training (MERT only).
    """
    source: dict[str, Any] = {"name": name, "revision": revision}
    backbone: Backbone
    if name in _BUILT_IN and revision is not None:
        raise TarkibError(
            f"model.revision: {quoted(revision)} is for {', '.join(PUBLISHED)} or a directory; set it to null"
        )
    if name in ("mel-cnn", "mert-tiny-random"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = MelCnn(MelCnnConfig()) if name == "mel-cnn" else MertModel(load_mert(_TINY).config)
    elif name == MUSICNN:
        backbone = load_musicnn()
        source |= {"weights_sha256": CHECKSUMS[1], "weights_licence": LICENCE}
    elif name in PUBLISHED:
        folder = snapshot(name, revision)
        source |= {"revision": folder.name, "weights_sha256": _check(folder, name), "weights_licence": PUBLISHED[name]}
        backbone = _load(folder)
    else:
        folder = _TINY if name == PACKAGED else _directory(name)
        backbone = _load(folder)
        digest = source["weights_sha256"] = checksum(find_weights(folder))
        if name != PACKAGED:
            source["revision"] = digest[:16]
        if revision is not None and not (len(revision) >= 8 and digest.startswith(revision.lower())):
            raise TarkibError(
                f"{find_weights(folder)}: its SHA-256 begins with {digest[:16]} and model.revision is "
                f"{quoted(revision)}; restore the weights of that revision, or set model.revision to the first 8 or "
                "more digits of that checksum, or to null"
            )
    backbone.source = source
    if spec_augment:
        if not isinstance(backbone, MertModel):
            raise TarkibError(f"model.spec_augment: {name} does not support it; set it to false")
        backbone.enable_spec_augment(seed)
    return backbone


def _load(folder: Path) -> MertModel | Muq:
    """The model in a directory, by its `config.json`."""
    return load_muq(folder) if is_muq(folder) else load_mert(folder)


def _directory(name: str) -> Path:
    """The directory of that name; TarkibError with the nearest known name if there is none."""
    if os.path.isdir(name):
        return Path(name)
    # Also without the owner, which is often left out of a hub name.
    known = {key.lower(): full for full in _NAMES for key in (full, full.rpartition("/")[2])}
    near = difflib.get_close_matches(name[:100].lower(), known, n=1)
    raise TarkibError(
        f"model.backbone: {quoted(name)} is neither a directory nor one of {', '.join(_NAMES)}"
        + (f"; did you mean {known[near[0]]}?" if near else "")
    )


def snapshot(name: str, revision: str | None = None, *, again: bool = False) -> Path:
    """Folder of a published model's files, named by the commit; downloads them unless the local cache has them.

    Parameters
    ----------
    name : one of `PUBLISHED`.
    revision : branch, tag or commit; None: the cache's main branch, or the hub's if the cache has none.
    again : download even if the cache has the files.

    Raises TarkibError if the hub cannot be reached or lacks that revision, or the disk is full or read-only.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    folder = None if again else cached(name, revision)
    if folder is not None:
        return folder
    try:
        # One request without retries, so that a missing network is an error at once and not after minutes.
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=5)
        folder = Path(hf_hub_download(name, "config.json", revision=revision, force_download=again)).parent
        for file in ("preprocessor_config.json", *WEIGHTS):
            with suppress(RemoteEntryNotFoundError):
                # By the commit: a branch may move between two files.
                hf_hub_download(name, file, revision=folder.name, force_download=again)
                if file in WEIGHTS:
                    return folder
        raise FileNotFoundError(f"it has neither {' nor '.join(WEIGHTS)}")
    except Exception as error:  # the network raises too many kinds of exception to list
        raise TarkibError(
            f"model.backbone: {name} (revision {revision or 'main'}) cannot be downloaded from the Hugging Face hub "
            f"({type(error).__name__}: {bounded(error)}); run `tarkib fetch-backbone {name}` with a network, room in "
            f"HF_HOME and a revision that the hub has, or give model.backbone a directory that holds config.json and "
            f"{WEIGHTS[1]}"
        ) from error


def cached(name: str, revision: str | None = None) -> Path | None:
    """The snapshot's folder if the local cache holds the whole model, else None; needs no network."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    folder = Path(config).parent if isinstance(config, str) else None
    # Weights are downloaded last.
    return folder if folder and any((folder / file).is_file() for file in WEIGHTS) else None


def _check(folder: Path, name: str) -> str:
    """Compare a snapshot's files with the hub's checksums; returns the SHA-256 of its weights.

    The cache names a file's content by its checksum: SHA-256 for large files, git's SHA-1 for small ones. On a file
    system without links the content has another name and is not compared. TarkibError if a file differs.
    """
    from huggingface_hub.utils.sha import git_hash

    weights = find_weights(folder)
    digest = checksum(weights)
    for path in (folder / "config.json", folder / "preprocessor_config.json", weights):
        # Follows one link: its target may be a link too, into a store shared by all caches.
        content = path.parent / path.readlink() if path.is_symlink() else path
        expected = content.name
        if content.parent.name != "blobs" or len(expected) not in (40, 64):
            continue
        if not content.is_file():
            actual = "missing"
        elif len(expected) == 40:
            actual = git_hash(content.read_bytes())
        else:
            actual = digest if path == weights else checksum(content)
        if actual != expected:
            raise TarkibError(
                f"{path}: damaged, its checksum is {actual[:16]}… instead of "
                f"{expected[:16]}…; run `tarkib fetch-backbone {name} --revision {folder.name} --again`"
            )
    return digest
