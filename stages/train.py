"""Mixtures → a classifier in models/classifier and its curves in plots/training."""

import shutil

from stages import run
from tarkib import params
from tarkib.runtime import fingerprint
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import CLASSIFIER, MIXTURES, TRAINING_PLOTS
from tarkib.tracking import card, runs
from tarkib.training import fitting, processes, selection, trainer
from tarkib.training.datasets import MixtureSet


def main() -> None:
    """Fit, choose the best epoch and the thresholds by validation, and store."""
    if processes.work_for_first():
        return
    settings = params.load()
    train_set, validation_set = MixtureSet(MIXTURES, "train"), MixtureSet(MIXTURES, "validation")
    data = fingerprint.of_files([MIXTURES])
    identity = fitting.identity_of(data, settings.model)
    with runs.training(settings, fingerprint.of(identity, settings.train), {"mixtures": data}) as tracked:
        result = fitting.train_in_project(
            settings.model,
            settings.train,
            settings.run,
            train_set,
            validation_set,
            identity,
            [trainer.LogTo(tracked.log)],
        )
        classes = selection.class_table(train_set, validation_set, result)
        model_card = card.Card(
            source=result.model.source,
            mode=train_set.mode,
            seed=settings.train.seed,
            data_sha256=data,
            train_mixtures=len(train_set),
            validation_mixtures=len(validation_set),
            best_epoch=result.best_epoch,
            classes=classes.to_dict("records"),
            validation=selection.figures(validation_set, result, classes),
        )
        with atomic_dir(CLASSIFIER) as folder, atomic_dir(TRAINING_PLOTS) as plots:
            selection.save(result, classes, folder, plots)
            card.write(folder, model_card)
        print(model_card.unchosen, end="\n" * bool(model_card.unchosen))
        tracked.tag_weights(fingerprint.of_files([CLASSIFIER / "model.safetensors"]))
    shutil.rmtree(result.checkpoint_folder)


if __name__ == "__main__":
    run(main)
