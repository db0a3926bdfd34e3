"""Unlabelled recordings → a backbone that has heard them, in models/backbone. Not in dvc.yaml: it is run by hand.

`python -m stages.pretrain`, with the parameters of the section `pretrain`. One that was killed goes on where it was.
"""

import shutil
from pathlib import Path

from stages import run
from tarkib import audio, models, params, pretraining, training
from tarkib.models import checkpoint
from tarkib.pretraining import publishing
from tarkib.runtime import fingerprint, project
from tarkib.runtime.outputs import atomic_dir
from tarkib.training.compute import ComputeConfig

BACKBONE = Path("models/backbone")


def main() -> None:
    """Cut the recordings, let the backbone hear them, and store it."""
    settings = params.load()
    cache = project.cache("pretraining")
    corpus = pretraining.cut(
        settings.pretrain.recordings,
        cache / "recordings",
        workers=settings.run.workers,
        engine=settings.run.engine,
    )
    print(*corpus.skipped, sep="\n", end="\n" * bool(corpus.skipped))
    print(f"{len(corpus.lengths)} recordings, {corpus.seconds / 3600:.2f} hours", flush=True)
    code = fingerprint.of_code(Path(package.__file__).parent for package in (audio, models, pretraining, training))
    result = pretraining.pretrain(
        settings.pretrain,
        corpus,
        checkpoints=cache / "checkpoints",
        machine=ComputeConfig.of(settings.run),
        identity={"code": code},
    )
    with atomic_dir(BACKBONE) as folder:
        publishing.write(folder, result.model.backbone, publishing.card(settings.pretrain, corpus, result))
    shutil.rmtree(result.checkpoints)
    # DVC does not watch a backbone's directory: a parameter that names the weights does. Quoted, lest it be a number.
    pinned = checkpoint.checksum(checkpoint.find_weights(BACKBONE))[:16]
    print(f"""fine-tune from it: dvc exp run -S model.backbone={BACKBONE} -S 'model.revision="{pinned}"'""")


if __name__ == "__main__":
    run(main)
