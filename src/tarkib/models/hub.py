"""Published backbones: downloaded once from the Hugging Face hub into its local cache, checked against its checksums.

The cache is huggingface_hub's own (`HF_HOME` sets it), shared with other programs; a snapshot's folder is named by its
commit.
"""

import errno
import hashlib
import re
from contextlib import suppress
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.models.checkpoint import WEIGHTS, checksum, find_weights

PUBLISHED = ("m-a-p/MERT-v1-330M", "m-a-p/MERT-v1-95M")
"""Models on the Hugging Face hub that this project loads."""

LICENCE = "CC BY-NC 4.0, as far as is known"
"""Of the published weights."""

_CONNECT_SECONDS = 5.0
_DISK_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


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
    from huggingface_hub.errors import OfflineModeIsEnabled, RemoteEntryNotFoundError, RevisionNotFoundError

    folder = None if again else cached(name, revision)
    if folder is not None:
        return folder
    missing = TarkibError(
        f"model.backbone {name}: the hub has no revision {revision!r} of it with config.json and "
        f"{' or '.join(WEIGHTS)}; choose another commit, branch or tag, or null"
    )
    reason = "the Hugging Face hub cannot be reached"
    try:
        # One request without retries, so that a missing network is an error at once and not after minutes.
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=_CONNECT_SECONDS)
        reason = "the download broke off"
        folder = Path(hf_hub_download(name, "config.json", revision=revision, force_download=again)).parent
        for file in ("preprocessor_config.json", *WEIGHTS):
            with suppress(RemoteEntryNotFoundError):
                # By the commit: a branch may move between two files.
                hf_hub_download(name, file, revision=folder.name, force_download=again)
                if file in WEIGHTS:
                    return folder
    except (RevisionNotFoundError, RemoteEntryNotFoundError) as error:
        raise missing from error
    except Exception as error:  # the network raises too many kinds of exception to list
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            place = error.filename or "the cache of the Hugging Face hub"
            raise TarkibError(f"{place}: {error.strerror}; make room there, or move HF_HOME") from error
        reason = f"{reason} ({type(error).__name__})"
        if isinstance(error, OfflineModeIsEnabled):
            reason = "HF_HUB_OFFLINE forbids to download it"
        raise TarkibError(
            f"model.backbone: {name} {'must be downloaded' if again else 'is not in the local cache'} and {reason}; "
            f"run `tarkib fetch-backbone {name}` once with a network, or give model.backbone a directory that holds "
            f"config.json and {WEIGHTS[1]}"
        ) from error
    raise missing


def cached(name: str, revision: str | None = None) -> Path | None:
    """The snapshot's folder if the local cache holds the whole model, else None; needs no network."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    folder = Path(config).parent if isinstance(config, str) else None
    # Weights are downloaded last.
    return folder if folder and any((folder / file).is_file() for file in WEIGHTS) else None


def check(folder: Path, name: str) -> str:
    """Compare a snapshot's files with the hub's checksums; returns the SHA-256 of its weights.

    The cache names a file's content by its checksum: SHA-256 for large files, git's SHA-1 for small ones. On a file
    system without links the content has another name and is not compared. TarkibError if a file differs.
    """
    weights = find_weights(folder)
    digest = checksum(weights)
    for path in (folder / "config.json", folder / "preprocessor_config.json", weights):
        # Follows one link: its target may be a link too, into a store shared by all caches.
        content = path.parent / path.readlink() if path.is_symlink() else path
        expected = content.name
        if content.parent.name != "blobs" or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected):
            continue
        actual = digest if path == weights else checksum(content)
        if len(expected) == 40:
            data = content.read_bytes()
            actual = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if actual != expected:
            raise TarkibError(
                f"{path}: damaged ({content.stat().st_size:,} bytes), its checksum is {actual[:16]}… instead of "
                f"{expected[:16]}…; run `tarkib fetch-backbone {name} --revision {folder.name} --again`"
            )
    return digest
