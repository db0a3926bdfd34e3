"""How well classifiers that were trained on the demo orchestra alone recognise real solos, backbone by backbone.

    python -m benchmarks.real --audio FOLDER         # half an hour; prints, and writes into docs/real.md
    python -m benchmarks.real --audio FOLDER --once  # also scores the half that is to be looked at once

Takes the demo's data/mixtures (make repro) and the folder of real recordings that benchmarks/solos.py describes.
Trained classifiers are kept in .cache/real, so that a second run only scores them.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from benchmarks import known, real_tables, solos, tables
from benchmarks.real_tables import Row
from benchmarks.solos import Solo
from tarkib import models, params
from tarkib import tables as columns
from tarkib.annotation import jobs
from tarkib.errors import TarkibError
from tarkib.evaluation import testset
from tarkib.recordings import finding, slicing
from tarkib.runtime import fingerprint, parallel, program, project, yaml12
from tarkib.runtime.cache import Cache
from tarkib.runtime.outputs import atomic_dir, atomic_file
from tarkib.runtime.streams import Stream, generator
from tarkib.training import fitting, selection
from tarkib.training.datasets import ClipSet, MixtureSet, WindowSet
from tarkib.training.prediction import predict

DOCUMENT = Path("docs/real.md")

BACKBONES: dict[str, dict[str, Any]] = {
    "mert-tiny": {"finetune": "full"},
    "mel-cnn": {"finetune": "full"},
    "musicnn": {"finetune": "frozen"},
}
"""What is compared, each with the parameters of the section `model` that differ from params.yaml."""

_OPTIONAL = {"musicnn"}  # its weights are in a package of its name, which may be missing
_MIXED = ("slice", "annotate", "augment")  # sections that decide what is mixed
_SET_HERE = ("data", "demo")  # the demo that is scored must be the demo that is trained on
_BATCH = 16


@dataclass(frozen=True)
class Trained:
    """A stored classifier, and the seconds of CPU that its training took."""

    folder: Path
    cpu_s: float


def settings_for(content: Any, name: str, overrides: Iterable[tuple[str, str]], seed: int) -> params.Params:
    """The parameters of one training: those of a file, of a backbone of `BACKBONES`, then the overrides."""
    content = json.loads(json.dumps(content))
    content["model"] |= {"backbone": name, **BACKBONES[name]}
    content["train"]["seed"] = seed
    for key, text in overrides:
        section, _, field = key.partition(".")
        if section in _SET_HERE or key in ("model.backbone", "train.seed"):
            raise TarkibError(f"-S {key}: cannot be set here; change params.yaml and run dvc repro, or --only, --seeds")
        try:
            content.setdefault(section, {})[field] = yaml12.read(text)
        except ValueError as error:
            raise TarkibError(f"-S {key}={text}: not a YAML value ({error}); quote it if it is text") from error
    return params.parse(content, "-S")


def mixtures(settings: params.Params, audio: Path, own: Sequence[Solo]) -> Path:
    """The folder of mixtures to train on: the project's, or others where parameters or real recordings are added.

    The real recordings are all for training, so the demo's performers stay in the split that they are in without them.
    """
    if not own and all(getattr(settings, name) == getattr(params.load(), name) for name in _MIXED):
        return project.MIXTURES
    root = Path(settings.data.raw)
    code = fingerprint.of(*map(project.code_of, ("slice", "annotate", "mix")))
    content = [getattr(settings, name) for name in _MIXED]
    data = fingerprint.of_files([root, *(audio / solo.file for solo in own)])
    work = project.cache("real") / f"mixtures-{fingerprint.of(data, code, *content)[:16]}"
    if not (work / project.MIXTURES / "mixtures.parquet").is_file():
        shutil.rmtree(work, ignore_errors=True)
        (work / project.SLICES).mkdir(parents=True)
        chosen = {solo.file.removeprefix("raw/") for solo in own}
        real = [one for one in finding.find(audio / "raw") if one.path in chosen] if own else []
        _slice_and_annotate(settings, columns.Roots(own=audio / "raw", demo=root), real, work)
        with atomic_file(work / "params.yaml") as path:
            path.write_text(yaml12.dump(asdict(settings)), encoding="utf-8")
        code_folder = Path(__file__).resolve().parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(code_folder), str(code_folder / "src")])}
        subprocess.run([sys.executable, "-m", "stages.mix"], cwd=work, env=environment, check=True)
    return work / project.MIXTURES


def _slice_and_annotate(
    settings: params.Params, roots: columns.Roots, real: Sequence[finding.Recording], work: Path
) -> None:
    """Slice and annotate the demo's recordings and some real ones as the stages do, but with all of these to train."""
    recordings = [*finding.find(roots.demo, origin="demo"), *real]
    planned = slicing.plan(roots, work / project.SLICES, recordings, settings.slice)
    planned = [
        replace(job, recordings=tuple((one, "train" if one.origin == "own" else name) for one, name in job.recordings))
        for job in planned
    ]
    sliced = list(parallel.map_jobs(slicing.slice_recordings, planned, what="slicing"))
    rows, slices = slicing.gather(recordings, sliced)
    todo = jobs.plan(roots, rows, slices, Cache(project.cache("annotation")), settings.annotate)
    results = parallel.map_jobs(jobs.annotate_recording, todo, what="annotating")
    annotated = {row["slice_id"]: row for result in results for row in result.rows}
    columns.RECORDINGS.write(work / project.SLICES / "recordings.parquet", rows)
    columns.SLICES.write(work / project.SLICES / "slices.parquet", slices)
    columns.ANNOTATIONS.write(work / project.ANNOTATIONS, [annotated[row["slice_id"]] for row in slices])


def train(settings: params.Params, folder: Path) -> Trained:
    """Train as the train stage does, unless the same training is stored already."""
    identity = fitting.identity_of(fingerprint.of_files([folder]), settings.model)
    stored = project.cache("real") / f"classifier-{fingerprint.of(identity, settings.train)[:16]}"
    if not (stored / "cpu.json").is_file():
        train_set, validation_set = MixtureSet(folder, "train"), MixtureSet(folder, "validation")
        begun = time.process_time()
        result = fitting.train_in_project(
            settings.model, settings.train, settings.run, train_set, validation_set, identity
        )
        spent = time.process_time() - begun
        stored.parent.mkdir(parents=True, exist_ok=True)
        with atomic_dir(stored) as path:
            selection.save(result, selection.class_table(train_set, validation_set, result), path, path)
            (path / "cpu.json").write_text(json.dumps(spent), encoding="utf-8")
        shutil.rmtree(result.checkpoint_folder)
    return Trained(stored, json.loads((stored / "cpu.json").read_text(encoding="utf-8")))


def probabilities(trained: Trained, data: ClipSet, devices: str) -> np.ndarray:
    """What a stored classifier says of each clip, shape (n, 10)."""
    return expit(predict(models.load(trained.folder), data, _BATCH, devices).astype(np.float64))


class Benchmark:
    """The demo's test set and the real clips, decoded once, and what is measured on them."""

    def __init__(self, options: argparse.Namespace, halves: dict[str, list[Solo]]) -> None:
        self.options, self.halves = options, halves
        self.content = params.read("params.yaml")
        self.defaults = params.parse(self.content)
        test = testset.load(Path(self.defaults.data.test), label_threshold=self.defaults.evaluate.label_threshold)
        self.test, excerpts = testset.decode(test)
        self.windows = WindowSet(excerpts)

    def own(self, half: str) -> list[Solo]:
        """The real recordings to train on for a half: of the other half, whose players are others."""
        (other,) = self.halves.keys() - {half}
        return solos.of_own(self.halves[other], self.options.real_solos, self.defaults.slice.min_seconds)

    def row(self, name: str, half: str, real: solos.Clips) -> Row:
        """Train a backbone with every seed, and score it; without figures where its package is not installed."""
        if name in _OPTIONAL and find_spec(name) is None:
            return Row(name, reason=f"skipped: the package {name} is not installed")
        demo, heard, spent = [], [], []
        for seed in self.options.seeds:
            settings = settings_for(self.content, name, self.options.set_param, seed)
            trained = train(settings, mixtures(settings, self.options.audio, self.own(half)))
            demo.append(self.windows.by_excerpt(probabilities(trained, self.windows, settings.run.devices)))
            heard.append(probabilities(trained, real.windows, settings.run.devices))
            spent.append(trained.cpu_s)
            print(f"{name}, seed {seed}: {trained.cpu_s:.0f} s of CPU", file=sys.stderr, flush=True)
        drawn = partial(generator, self.defaults.evaluate.seed, Stream.EVALUATION_BOOTSTRAP)
        rounds = self.defaults.evaluate.bootstrap_rounds
        return Row(
            name,
            demo=solos.score(self.test.targets, np.array(demo), self.test.recordings, drawn(), rounds),
            real=solos.score(real.targets, np.array(heard), real.recordings, drawn(), rounds),
            by_seed=[solos.Statistic(real.targets, np.array([one]))(np.ones((1, len(one)))) for one in heard],
            cpu_s=float(np.mean(spent)),
            confusion=solos.confusion(real.targets, np.array(heard)),
        )


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _override(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or "." not in key:
        raise argparse.ArgumentTypeError(f"{text!r}: give a parameter and its value, such as train.epochs=8")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--audio", type=Path, default=known.REAL, help="folder of real recordings with a manifest.csv")
    add("--only", default=",".join(BACKBONES), help=f"backbones, separated by commas; default: {','.join(BACKBONES)}")
    add("--seeds", type=_numbers, default=[42, 43, 44], help="of the trainings, separated by commas")
    add("-S", "--set-param", type=_override, action="append", default=[], metavar="KEY=VALUE", help="set a parameter")
    add("--real-solos", type=int, default=0, metavar="N", help="train on N real recordings an instrument, too")
    add("--once", action="store_true", help="also score the half that is to be looked at once")
    add("--confusion", action="store_true", help="print what each instrument is taken for")
    add("--print-only", action="store_true", help="leave the document as it is")
    return parser


def _region(half: str, own: int) -> str:
    """Name of the marks in the document between which the tables of a half lie."""
    return f"{half}-{own}" if own else half


def _check_document(regions: Iterable[str]) -> None:
    """Raise TarkibError before anything is trained where the document lacks marks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    if missing := [name for name in regions if f"<!-- {name} -->" not in text]:
        marks = ", ".join(f"<!-- {name} --> and <!-- /{name} -->" for name in missing)
        raise TarkibError(f"{DOCUMENT}: lacks the marks {marks}; add them on lines of their own, or give --print-only")


def main() -> None:
    """Train, score, print, and put the tables into the document."""
    parser = _parser()
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in BACKBONES]:
        parser.error(f"--only {','.join(unknown)}: known are {', '.join(BACKBONES)}")
    halves = solos.halves(solos.read(options.audio))
    scored = [solos.BUILDING, solos.ONCE] if options.once else [solos.BUILDING]
    if not options.print_only:
        _check_document(["halves", *(_region(half, options.real_solos) for half in scored)])
        tables.fill(DOCUMENT, "halves", real_tables.listed(halves))
    benchmark = Benchmark(options, halves)
    arguments = ["FOLDER" if part == str(options.audio) else part for part in sys.argv[1:]]
    command = shlex.join(["python", "-m", "benchmarks.real", *arguments])
    for half in scored:
        real = solos.clips(options.audio, halves[half])
        rows = [benchmark.row(name, half, real) for name in names]
        size = f"{len(real.windows)} clips of {len(halves[half])} recordings"
        lines = [
            f"Measured with `{command}` on {tables.machine()}: {size}, seeds {', '.join(map(str, options.seeds))}."
        ]
        if options.real_solos:
            lines.append(real_tables.trained_on(benchmark.own(half)))
        text = "\n\n".join([*lines, real_tables.summary(rows), real_tables.by_instrument(rows, halves[half], real)])
        print(text)
        if options.confusion:
            print(real_tables.confusions(rows))
        if not options.print_only:
            tables.fill(DOCUMENT, _region(half, options.real_solos), text)


if __name__ == "__main__":
    sys.exit(program.guard(main))
