"""Unlabelled recordings → a pre-trained backbone in models/backbone. Not in dvc.yaml: it is run by hand.

`python -m stages.pretrain`, with the parameters of the section `pretrain`. An interrupted run resumes.
"""

import shutil
from pathlib import Path

from stages import run
from tarkib import audio, models, params, pretraining, training
from tarkib.models import files
from tarkib.runtime import fingerprint, project
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.text import counted
from tarkib.training import processes
from tarkib.training.compute import ComputeConfig

BACKBONE = Path("models/backbone")


def main() -> None:
    """Cut the recordings, pre-train the backbone, and store it."""
    if processes.work_for_first():
        return
    settings = params.load()
    cache = project.cache("pretraining")
    corpus = pretraining.cut(
        settings.pretrain.recordings,
        cache / "recordings",
        workers=settings.run.workers,
        engine=settings.run.engine,
    )
    print(*corpus.skipped, sep="\n", end="\n" * bool(corpus.skipped))
    print(f"{counted(len(corpus.lengths), 'recording')}, {corpus.seconds / 3600:.2f} hours", flush=True)
    code = fingerprint.of_code(Path(package.__path__[0]) for package in (audio, models, pretraining, training))
    result = pretraining.pretrain(
        settings.pretrain,
        corpus,
        checkpoint_root=cache / "checkpoints",
        machine=ComputeConfig.of(settings.run),
        identity={"code": code},
    )
    with atomic_dir(BACKBONE) as folder:
        card = pretraining.card(settings.pretrain, corpus, result)
        checksum = files.save_mert(folder, result.model.backbone, card)
    shutil.rmtree(result.checkpoint_folder)
    # DVC does not watch a backbone's directory, so a parameter names its weights; quoted, since it may be all digits.
    print(f"""fine-tune from it: dvc exp run -S model.backbone={BACKBONE} -S 'model.revision="{checksum[:16]}"'""")


if __name__ == "__main__":
    run(main)
