"""The classifier on the test set → metrics/, plots/evaluation and data/predictions.parquet."""

from pathlib import Path

import numpy as np
from scipy.special import expit

from stages import run
from tarkib import models, params
from tarkib.evaluation import plots, report, scores, testset
from tarkib.runtime import fingerprint, versioning
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import CLASSIFIER, EVALUATION_PLOTS, METRICS, OVERVIEW, PREDICTIONS
from tarkib.runtime.streams import Stream, generator
from tarkib.tracking import card, runs
from tarkib.training.datasets import WindowSet
from tarkib.training.prediction import predict

_BATCH = 16


def main() -> None:
    """Predict, score, and write figures, plots and predictions."""
    settings = params.load()
    versioning.check_tracked(Path(settings.data.test))
    model = models.load(CLASSIFIER)
    test = testset.load(Path(settings.data.test), label_threshold=settings.evaluate.label_threshold)
    test, excerpts = testset.decode(test)
    test.notes.extend(card.read(CLASSIFIER).remarks_on(Path(settings.data.test)))
    windows = WindowSet(excerpts)
    probabilities = windows.by_excerpt(expit(predict(model, windows, _BATCH, settings.run.devices)))
    scored = scores.score(
        test.targets,
        probabilities,
        np.array([model.thresholds[name] for name in model.labels]),
        groups=test.recordings,
        rng=generator(settings.evaluate.seed, Stream.EVALUATION_BOOTSTRAP),
        rounds=settings.evaluate.bootstrap_rounds,
        trained_classes=model.trained_classes,
    )
    print(report.summary(scored), *test.notes, sep="\n")
    with atomic_dir(EVALUATION_PLOTS) as folder:
        report.write_plots(folder, scored)
    plots.draw_overview(OVERVIEW, scored)
    report.write_predictions(PREDICTIONS, test, scored)
    report.write_details(METRICS / "details.json", scored, test.notes)
    report.write_metrics(METRICS / "metrics.json", scored)
    weights = fingerprint.of_files([CLASSIFIER / "model.safetensors"])
    figures = {name: None if np.isnan(value) else value for name, value in scored.figures.value.items()}
    runs.log_evaluation(settings, weights, figures, CLASSIFIER, scored.size)


if __name__ == "__main__":
    run(main)
