"""Downloads a published backbone into the local cache of the Hugging Face hub (HF_HOME), and checks that it loads.

It is compared with the hub's checksums; later runs need no network. Its own Python code is never run. A local directory
is checked in the same way.
"""

import argparse
from pathlib import Path

from tarkib.errors import TarkibError


def declare(parser: argparse.ArgumentParser) -> None:
    published = "m-a-p/MERT-v1-330M, m-a-p/MERT-v1-95M, OpenMuQ/MuQ-large-msd-iter"
    parser.add_argument("name", metavar="NAME", help=f"{published} or a local directory")
    parser.add_argument("--revision", help="commit, branch or tag (main); first digits of a directory's SHA-256")
    parser.add_argument("--again", action="store_true", help="download again: the files in the cache are damaged")


def run(options: argparse.Namespace) -> int:
    """Fetch, check and print what it is."""
    # torch takes seconds to import; the other commands do without.
    from tarkib.models.backbone import PUBLISHED, cached, load_backbone, snapshot
    from tarkib.models.files import find_weights

    name, revision, folder = options.name, options.revision, Path(options.name)
    published = name in PUBLISHED
    if not published and (options.again or not folder.is_dir()):
        load_backbone(name, seed=0)  # raises for an unknown name
        raise TarkibError(f"{name}: cannot be downloaded; give one of {', '.join(PUBLISHED)}")
    if published:
        present = None if options.again else cached(name, revision)
        folder = present or snapshot(name, revision, again=options.again)
        print(f"{name}: {'is here already, no network was needed' if present else 'downloaded'}")
        revision = folder.name
        print(f"  commit   {folder.name}")
    else:
        print(f"{name}: a directory, nothing to download")
    backbone, weights = load_backbone(name, revision=revision, seed=0), find_weights(folder)
    source = backbone.source
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    licence = source.get("weights_licence")
    terms = f"{licence}: no commercial use, nor of what is made from it" if licence else "the directory's own"
    print(f"  folder   {folder}")
    print(f"  weights  {weights.name}, {weights.stat().st_size / 1e6:.1f} MB, SHA-256 {source['weights_sha256']}")
    print(f"  network  {parameters:,} parameters, {backbone.layer_count} hidden states of {backbone.hidden_size}")
    print(f"  licence  {terms}")
    # In quotes, since digits alone would be a number.
    print(f"it can be loaded. To pin it, write in params.yaml:\n  model:\n    backbone: {name}")
    print(f'    revision: "{source["revision"]}"')
    return 0
