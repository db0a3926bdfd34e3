"""``tarkib fetch-backbone NAME``: a published backbone, downloaded once, checked, and how to pin it."""

import argparse
from pathlib import Path

from tarkib.errors import TarkibError


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "fetch-backbone",
        help="download a published MERT once, check it, and show how to pin it",
        description="Downloads a published MERT into the local cache of the Hugging Face hub (HF_HOME), unless it is "
        "there, checks it against the hub's checksums and loads it. Later runs need no network. Its own Python code is "
        "never run. A local directory is checked in the same way.",
    )
    parser.add_argument("name", metavar="NAME", help="m-a-p/MERT-v1-330M, m-a-p/MERT-v1-95M or a local directory")
    parser.add_argument(
        "--revision", help="commit, branch or tag (default: the main branch); first digits of a directory's SHA-256"
    )
    parser.add_argument("--again", action="store_true", help="download anew, where the files in the cache are damaged")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fetch, check and tell."""
    # torch and transformers take seconds to import, which the other commands need not wait for.
    from tarkib.models import hub, load_backbone
    from tarkib.models.checkpoint import find_weights

    name, revision = options.name, options.revision
    published = name in hub.PUBLISHED
    if not published and (options.again or not Path(name).is_dir()):
        load_backbone(name, seed=0)  # an unknown name is told in the words of the other commands
        raise TarkibError(f"{name}: there is nothing to download of it; give one of {', '.join(hub.PUBLISHED)}")
    folder = Path(name)
    if published:
        found = None if options.again else hub.cached(name, revision)
        folder = found or hub.snapshot(name, revision, again=options.again)
        print(f"{name}: {'is here already, no network was needed' if found else 'downloaded'}")
        revision = folder.name
    else:
        print(f"{name}: a directory, nothing to download")
    backbone = load_backbone(name, revision=revision, seed=0)
    source, weights = backbone.source, find_weights(folder)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    licence = source.get("weights_licence")
    facts = {
        "commit": folder.name if published else None,
        "folder": folder,
        "weights": f"{weights.name}, {weights.stat().st_size / 1e6:.1f} MB, SHA-256 {source['weights_sha256']}",
        "network": f"{parameters:,} parameters, {backbone.layer_count} hidden states of {backbone.hidden_size}",
        "licence": f"{licence}: no commercial use, nor of what is made from it" if licence else "the directory's own",
    }
    for what, fact in facts.items():
        if fact is not None:
            print(f"  {what:7}  {fact}")
    print(f"it loads. To use it and no other, in params.yaml:\n  model:\n    backbone: {name}")
    # In quotes, since digits alone would be a number.
    print(f'    revision: "{source["revision"]}"')
    return 0
