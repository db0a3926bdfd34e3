"""Classifiers on the Hugging Face hub, by addresses such as `hf://owner/name` or `hf://owner/name@revision`.

A repository there holds a classifier's folder: its configuration, its weights as safetensors, and the model card. No
Python and no pickle is read from it.
"""

import re
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.models import load
from tarkib.runtime.text import bounded, quoted

SCHEME = "hf://"
_FILES = ["README.md", "config.json", "model.safetensors"]
_ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def download(address: str) -> Path:
    """Fetch a classifier into the hub's cache (HF_HOME sets it); returns its folder there.

    Without a network a copy that is in the cache is used. Raises TarkibError where the address is malformed, or the
    hub has no such classifier or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    name, revision = _parts(address)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the network raises too many kinds of exception to list
        raise TarkibError(
            f"{address}: cannot be downloaded ({type(error).__name__}: {bounded(error)}); check the name and the "
            "network, and for a private one call `hf auth login`"
        ) from error


def upload(folder: Path, address: str, *, private: bool = False) -> str:
    """Publish a classifier's folder with its model card, in one commit; returns the commit's web address.

    The repository is made if there is none, for its owner alone if `private`. Raises TarkibError where the folder holds
    no classifier that loads, the address is malformed or the hub refuses it.
    """
    from huggingface_hub import HfApi

    name, revision = _parts(address)
    if revision is not None:
        raise TarkibError(f"{address}: a commit goes to the main branch; leave @{revision} out")
    load(folder)
    try:
        hub = HfApi()
        hub.create_repo(name, private=private, exist_ok=True)
        message = "A classifier of Tarkib"
        commit = hub.upload_folder(repo_id=name, folder_path=folder, allow_patterns=_FILES, commit_message=message)
    except Exception as error:  # as above
        raise TarkibError(
            f"{address}: cannot be uploaded ({type(error).__name__}: {bounded(error)}); check the network, call "
            "`hf auth login` with a token that may write, and give a name of your own"
        ) from error
    return commit.commit_url


def _parts(address: str) -> tuple[str, str | None]:
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise TarkibError(f"{quoted(address)}: not an address on the hub; write hf://owner/name")
    return match["name"], match["revision"]
