"""Whether a pre-trained backbone learns the demo better than one with random weights.

    python -m benchmarks.pretraining         # an hour and more; prints, and writes into docs/pretraining.md

Makes hours of the orchestra with players that the demo does not have, pre-trains `mert-tiny` on them with the section
`pretrain` of params.yaml, and fine-tunes it, the random start and the log-mel baseline on the demo's mixtures (make
repro) with the section `train`, three seeds each. What was made stays in .cache/benchmark-pretraining, from where a
killed run goes on; delete that folder after a change of parameters, data or code.
"""

import argparse
import dataclasses
import itertools
import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from scipy.special import expit

from benchmarks import tables
from tarkib import models, params, pretraining
from tarkib.audio import SAMPLE_RATE
from tarkib.demo import orchestra
from tarkib.evaluation import metrics, testset
from tarkib.models.files import save_mert
from tarkib.runtime import outputs, parallel, project
from tarkib.runtime.cache import Cache
from tarkib.training import fitting
from tarkib.training.compute import ComputeConfig
from tarkib.training.datasets import MixtureSet, WindowSet
from tarkib.training.prediction import predict

DOCUMENT = Path("docs/pretraining.md")
MIXTURES, TEST = Path("data/mixtures"), Path("data/demo/test")
ORCHESTRA = {"seed": 2026, "performers": 3, "excerpts": 1200}
"""192 solos and 300 ensemble pieces, three and a half hours: another orchestra than the demo's, which has seed 1."""

SEEDS = (42, 43, 44)
EPOCHS = (1, 4)
_BATCH = 16
_MACHINE = ComputeConfig(devices="cpu")


def play(job: orchestra.Job, folder: Path) -> None:
    """One solo, or one whole piece, as a file in a folder without labels."""
    path = folder / f"{Path(job.path).stem}.flac"
    if not path.exists():
        with outputs.atomic_file(path) as partial_path:
            soundfile.write(partial_path, orchestra.render(job), SAMPLE_RATE, format="FLAC", subtype="PCM_16")


def pretrained(settings: params.Params, folder: Path) -> Path:
    """The pre-trained backbone's folder, made where it is not there."""
    recordings, backbone = folder / "recordings", folder / "backbone"
    if not backbone.is_dir():
        recordings.mkdir(parents=True, exist_ok=True)
        list(parallel.map_jobs(partial(play, folder=recordings), orchestra.plan(**ORCHESTRA), what="recordings"))
        corpus = pretraining.cut(recordings, folder / "cut")
        checkpoints = folder / "checkpoints"
        result = pretraining.pretrain(settings.pretrain, corpus, checkpoint_root=checkpoints, machine=_MACHINE)
        with outputs.atomic_dir(backbone) as partial_folder:
            save_mert(partial_folder, result.model.backbone, pretraining.card(settings.pretrain, corpus, result))
    return backbone


@dataclasses.dataclass(frozen=True)
class Run:
    """One fine-tuning; `start` is what `model.backbone` would say."""

    start: str
    epochs: int
    seed: int


def fine_tune(run: Run, settings: params.Params, folder: Path) -> dict[str, float]:
    """Validation ROC-AUC of the best epoch, and the scores on the test set; kept in a file."""
    wanted = dataclasses.replace(settings.train, seed=run.seed, epochs=run.epochs)
    kept = folder / f"{Path(run.start).name}-{run.epochs}-{run.seed}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    model = partial(build, run, settings)
    train_set, validation_set = MixtureSet(MIXTURES, "train"), MixtureSet(MIXTURES, "validation")
    with tempfile.TemporaryDirectory() as name:
        cache = Cache(Path(name) / "states")
        result = fitting.train(
            model, train_set, validation_set, wanted, checkpoint_root=Path(name), cache=cache, machine=_MACHINE
        )
    thresholds = metrics.best_thresholds(validation_set.targets, expit(result.validation_logits))
    test, excerpts = testset.decode(testset.load(TEST, label_threshold=settings.evaluate.label_threshold))
    windows = WindowSet(excerpts)
    probabilities = windows.by_excerpt(expit(predict(result.model, windows, _BATCH, _MACHINE.devices)))
    found = {
        "validation": float(result.best_roc_auc or np.nan),
        "test": float(metrics.roc_auc_macro(test.targets, probabilities)),
        "accuracy": float(((probabilities >= np.asarray(thresholds)) == (test.targets > 0)).mean()),
    }
    with outputs.atomic_file(kept) as partial_path:
        partial_path.write_text(json.dumps(found))
    return found


def build(run: Run, settings: params.Params) -> models.InstrumentClassifier:
    """The classifier as it starts."""
    return models.build(dataclasses.replace(settings.model, backbone=run.start), seed=run.seed)


def table(found: dict[Run, dict[str, float]], starts: dict[str, str]) -> str:
    """A row for each number of epochs and start, which `starts` calls by a name."""
    rows = []
    for epochs, start in itertools.product(EPOCHS, starts):
        runs = [found[Run(start, epochs, seed)] for seed in SEEDS]
        cells = [
            f"{np.mean([run[name] for run in runs]):.3f} ({', '.join(f'{run[name]:.3f}' for run in runs)})"
            for name in ("validation", "test", "accuracy")
        ]
        rows.append([starts[start], epochs, *cells])
    header = ("start", "epochs", "validation ROC-AUC", "**test ROC-AUC**", "test accuracy")
    return tables.markdown(header, rows)


def main() -> None:
    """Make the recordings, pre-train, fine-tune, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print-only", action="store_true", help="leave the document as it is")
    chosen = parser.parse_args()
    settings = params.load()
    folder = project.cache("benchmark-pretraining")
    ours = str(pretrained(settings, folder))
    starts = {"mel-cnn": "`mel-cnn`", "mert-tiny-random": "`mert-tiny-random`", ours: "`mert-tiny`, pre-trained"}
    runs = [Run(*one) for one in itertools.product(starts, EPOCHS, SEEDS)]
    found = {run: fine_tune(run, settings, folder) for run in runs}
    text = f"Measured with `python -m benchmarks.pretraining` on {tables.machine()}.\n\n{table(found, starts)}"
    tables.report(DOCUMENT, "pretraining", text, chosen.print_only)


if __name__ == "__main__":
    main()
