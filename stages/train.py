"""Mixtures → a classifier in models/classifier and its curves in plots/training."""

import shutil
from functools import partial

import pandas as pd
from scipy.special import expit, softmax

from stages import CLASSIFIER, MIXTURES, TRAINING_PLOTS, code_of, run
from tarkib import models, params, training
from tarkib.evaluation import metrics
from tarkib.runtime import fingerprint, project
from tarkib.runtime.cache import Cache
from tarkib.runtime.outputs import atomic_dir
from tarkib.tracking import card, runs
from tarkib.training.datasets import MixtureSet
from tarkib.vocabulary import INSTRUMENTS


def main() -> None:
    """Fit, choose the best epoch and the thresholds by validation, and store."""
    settings = params.load()
    train_set, validation_set = MixtureSet(MIXTURES, "train"), MixtureSet(MIXTURES, "validation")
    trained = [name for name, count in zip(INSTRUMENTS, train_set.targets.sum(axis=0), strict=True) if count]
    identity = {
        "data": fingerprint.of_files([MIXTURES]),
        "code": code_of("train"),
        **{f"model.{name}": value for name, value in vars(settings.model).items()},
    }
    machine = training.ComputeConfig(
        devices=settings.run.devices,
        checkpoint_steps=settings.run.checkpoint_steps,
        gradient_checkpointing=settings.run.gradient_checkpointing,
        compile=settings.run.compile,
    )
    with runs.training(settings, fingerprint.of(identity, settings.train), {"mixtures": identity["data"]}) as tracked:
        result = training.train(
            partial(models.build, settings.model, seed=settings.train.seed),
            train_set,
            validation_set,
            settings.train,
            checkpoints=project.cache("training"),
            cache=Cache(project.cache("hidden_states")),
            machine=machine,
            callbacks=[runs.Curves(tracked)],
            identity=identity,
        )
        model = result.model
        targets, probabilities = validation_set.targets, expit(result.validation_logits)
        recordings = validation_set.observed()
        thresholds = metrics.best_thresholds(targets, probabilities, recordings)
        chosen = metrics.choosable(targets, recordings)
        found = metrics.predict(probabilities, thresholds)
        with atomic_dir(CLASSIFIER) as folder, atomic_dir(TRAINING_PLOTS) as plots:
            model.save(
                folder,
                trained_classes=trained,
                thresholds=dict(zip(INSTRUMENTS, map(float, thresholds), strict=True)),
                chosen_thresholds=[name for name, enough in zip(INSTRUMENTS, chosen, strict=True) if enough],
            )
            about = card.Card(
                source=model.source,
                mode=train_set.mode,
                seed=settings.train.seed,
                data_sha256=identity["data"],
                train_mixtures=len(train_set),
                validation_mixtures=len(validation_set),
                best_epoch=result.best_epoch,
                classes=card.classes(
                    INSTRUMENTS,
                    train_set.targets.sum(axis=0),
                    train_set.recordings(),
                    thresholds,
                    metrics.roc_auc(targets, probabilities),
                    validation_recordings=recordings[0],
                    chosen=chosen,
                ),
                validation={
                    "roc_auc": result.best_roc_auc,
                    "average_precision": metrics.average_precision_macro(targets, probabilities),
                    "f1_macro": metrics.f1_macro(targets, found),
                    "f1_micro": metrics.f1_micro(targets, found),
                    "accuracy": metrics.accuracy(targets, found),
                },
            )
            card.write(folder, about)
            if about.unchosen:
                print(about.unchosen)
            pd.DataFrame(result.history).to_csv(plots / "history.csv", index=False, float_format="%.6f")
            shares = softmax(model.layer_weights.detach().cpu().numpy())
            layers = pd.DataFrame({"layer": range(len(shares)), "share": shares})
            layers.to_csv(plots / "layers.csv", index=False, float_format="%.6f")
        tracked.note_weights(fingerprint.of_files([CLASSIFIER / "model.safetensors"]))
    shutil.rmtree(result.checkpoints)


if __name__ == "__main__":
    run(main)
