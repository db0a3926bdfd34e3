"""Mixtures → a classifier in models/classifier and its curves in plots/training."""

import shutil
from functools import partial

from stages import run
from tarkib import models, params
from tarkib.runtime import fingerprint, project
from tarkib.runtime.cache import Cache
from tarkib.runtime.outputs import atomic_dir
from tarkib.runtime.project import CLASSIFIER, MIXTURES, TRAINING_PLOTS, code_of
from tarkib.tracking import card, runs
from tarkib.training import fitting, processes, selection, trainer
from tarkib.training.compute import ComputeConfig
from tarkib.training.datasets import MixtureSet


def main() -> None:
    """Fit, choose the best epoch and the thresholds by validation, and store."""
    if processes.follow():
        return
    settings = params.load()
    train_set, validation_set = MixtureSet(MIXTURES, "train"), MixtureSet(MIXTURES, "validation")
    data = fingerprint.of_files([MIXTURES])
    model_params = {f"model.{name}": value for name, value in vars(settings.model).items()}
    identity = {"data": data, "code": code_of("train"), **model_params}
    with runs.training(settings, fingerprint.of(identity, settings.train), {"mixtures": data}) as tracked:
        result = fitting.train(
            partial(models.build, settings.model, seed=settings.train.seed),
            train_set,
            validation_set,
            settings.train,
            checkpoints=project.cache("training"),
            cache=Cache(project.cache("hidden_states")),
            machine=ComputeConfig.of(settings.run),
            callbacks=[trainer.LogTo(tracked.log)],
            identity=identity,
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
        tracked.note_weights(fingerprint.of_files([CLASSIFIER / "model.safetensors"]))
    shutil.rmtree(result.checkpoints)


if __name__ == "__main__":
    run(main)
