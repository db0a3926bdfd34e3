"""Published backbones: from the Hugging Face hub into its local cache, once, and checked against the hub's checksums.

The cache is huggingface_hub's own (`HF_HOME` says where), so what other programs downloaded is used and what is
downloaded here others find. A folder of it is named by the commit that it holds.
"""

import errno
import hashlib
import os
import re
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.models.checkpoint import WEIGHTS, checksum, find_weights

PUBLISHED = ("m-a-p/MERT-v1-330M", "m-a-p/MERT-v1-95M")
"""Models on the Hugging Face hub that this project loads."""

LICENCE = "CC BY-NC 4.0, as far as is known"
"""Of the published weights."""

_CONNECT_SECONDS = 5.0
_OF_THE_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def snapshot(name: str, revision: str | None = None, *, again: bool = False) -> Path:
    """Folder with a published model's files; its name is the commit.

    What the local cache has is taken without asking anyone; else it is downloaded, which needs the network once.

    Parameters
    ----------
    name : one of `PUBLISHED`.
    revision : branch, tag or commit; where None, the main branch as the cache knows it, or else the hub.
    again : download anew, whatever the cache has.

    Raises TarkibError where the hub cannot be reached, lacks that revision, or the disk takes no more.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    found = None if again else cached(name, revision)
    if found is not None:
        return found
    reached = False
    try:
        # Asked for once and without retries, so that no network means an error now and not in minutes.
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=_CONNECT_SECONDS)
        reached = True
        return _fetch(name, revision, again=again)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise TarkibError(
            f"model.backbone {name}: the hub knows no revision {revision!r} of it; choose a commit, branch or tag that "
            "it has, or null"
        ) from error
    except Exception as error:  # the network has more exceptions than one would list
        # One that was not found on this side only was not found for want of a network.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise TarkibError(
                f"model.backbone {name}: revision {revision!r} has no config.json with {' or '.join(WEIGHTS)}; choose "
                "another model.revision, or null"
            ) from error
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise TarkibError(
                f"{error.filename or 'the cache of the Hugging Face hub'}: {error.strerror}; make room there, or set "
                "HF_HOME to another folder"
            ) from error
        if isinstance(error, OfflineModeIsEnabled):
            what = "HF_HUB_OFFLINE forbids to download it"
        elif reached:
            what = f"the download broke off ({type(error).__name__})"
        else:
            what = f"the Hugging Face hub cannot be reached ({type(error).__name__})"
        raise TarkibError(
            f"model.backbone: {name} is {'to be fetched again' if again else 'not in the local cache'} and {what}; run "
            f"`tarkib fetch-backbone {name}` once with a network, or give model.backbone a directory that holds "
            f"config.json and {WEIGHTS[1]}"
        ) from error


def cached(name: str, revision: str | None = None) -> Path | None:
    """The folder where the local cache has all of it, else None; no network is used."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return _fetch(name, revision, offline=True)
    except EntryNotFoundError:
        return None


def check(folder: Path, name: str) -> str:
    """Compare a snapshot's files with the hub's checksums; the SHA-256 of its weights.

    The cache names a file's content by its checksum: SHA-256 for large files, git's SHA-1 for small ones. Where the
    file system has no links there is no such name, and nothing to compare with.

    Raises TarkibError with the remedy where a file differs.
    """
    weights = find_weights(folder)
    digest = checksum(weights)
    for path in (folder / "config.json", folder / "preprocessor_config.json", weights):
        # One link far: what it points to may itself be a link into a store that all caches share.
        content = path.parent / path.readlink() if path.is_symlink() else path
        expected = content.name
        if content.parent.name != "blobs":
            continue
        if re.fullmatch("[0-9a-f]{64}", expected):
            found = digest if path == weights else checksum(content)
        elif re.fullmatch("[0-9a-f]{40}", expected):
            data = content.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        else:
            continue
        if found != expected:
            raise TarkibError(
                f"{path}: damaged ({content.stat().st_size:,} bytes), its checksum is {found[:16]}… and the hub's "
                f"{expected[:16]}…; run `tarkib fetch-backbone {name} --revision {folder.name} --again`"
            )
    return digest


def _fetch(name: str, revision: str | None, *, offline: bool = False, again: bool = False) -> Path:
    """The folder, with all its files there; EntryNotFoundError where one is nowhere."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    how = {"local_files_only": offline, "force_download": again}
    folder = Path(hf_hub_download(name, "config.json", revision=revision, **how)).parent
    # The rest of the same commit, also where the branch has moved in between.
    for file in ("preprocessor_config.json", *WEIGHTS):
        try:
            if file in WEIGHTS and not offline and _download(name, file, folder.name, again):
                how["force_download"] = False
            hf_hub_download(name, file, revision=folder.name, **how)
        except LocalEntryNotFoundError:
            if not offline:
                raise  # this is how no network is told, too
            continue
        except EntryNotFoundError:
            continue
        if file in WEIGHTS:
            return folder
    raise EntryNotFoundError(f"no {' or '.join(WEIGHTS)}")


def _download(name: str, file: str, commit: str, again: bool) -> bool:
    """Download a large file to where huggingface_hub looks for it, going on where an interrupted call stopped.

    huggingface_hub itself throws away what an interrupted call has fetched. False, and nothing is done, where the file
    is small or the cache has no links: then the download is huggingface_hub's.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import are_symlinks_supported, http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    cache = Path(constants.HF_HUB_CACHE)
    found = get_hf_file_metadata(hf_hub_url(name, file, revision=commit), timeout=_CONNECT_SECONDS)
    if not re.fullmatch("[0-9a-f]{64}", found.etag or "") or not are_symlinks_supported(cache):
        return False
    folder = repo_folder_name(repo_id=name, repo_type="model")
    blob = cache / folder / "blobs" / found.etag
    partial = blob.with_name(f"{found.etag}.tarkib.incomplete")
    # The lock that huggingface_hub itself takes.
    lock = cache / ".locks" / folder / f"{found.etag}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists() and not again:
            return True
        with partial.open("ab") as out:
            # Without a token: the file lies with another host, and these models are for everyone.
            http_get(
                found.location,
                out,
                resume_size=out.tell(),
                headers=build_hf_headers(token=False),
                expected_size=found.size,
                displayed_filename=file,
            )
        if checksum(partial) != found.etag:
            partial.unlink()
            raise OSError(f"{file} arrived with another checksum than the hub's")
        os.replace(partial, blob)
    return True
