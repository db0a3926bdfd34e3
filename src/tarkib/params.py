"""params.yaml as frozen dataclasses, a class a section, and one error that names every value that is wrong.

The file is read as DVC reads it, so a stage runs with the values that DVC records. Construction in Python checks
nothing: `parse` does.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from tarkib.errors import TarkibError
from tarkib.runtime import yaml12
from tarkib.runtime.text import quoted

DEVICES = re.compile(r"(cpu|cuda)(?: x ([1-9]\d*))?")
"""Names of devices in `run.devices`, besides `auto`: their kind and, if more than one, their number."""


def _between(low: float, high: float) -> Any:
    """Both ends included; strict: a whole number counts as a number, true and "1" do not."""
    return Field(ge=low, le=high, strict=True)


Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Seed = Annotated[int, _between(0, 2**32 - 1)]
Count = Annotated[int, _between(1, 10_000_000)]
Bpm = Annotated[float, _between(20, 400)]
Share = Annotated[float, _between(0, 1)]
LearningRate = Annotated[float, _between(1e-9, 1)]

Mode = Literal["random", "bpm", "dastgah", "dastgah+bpm"]
MODES: tuple[str, ...] = get_args(Mode)


class _Section:
    __pydantic_config__ = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Data(_Section):
    raw: Text
    fill: Flag
    test: Text


@dataclass(frozen=True)
class Demo(_Section):
    seed: Seed
    performers: Annotated[int, _between(2, 100)]
    excerpts: Annotated[int, _between(1, 10_000)]


@dataclass(frozen=True)
class Slice(_Section):
    seed: Seed
    min_seconds: Annotated[float, _between(0.5, 5)]
    min_rms_dbfs: Annotated[float, _between(-120, 0)]
    max_per_recording: Count | None
    validation_share: Annotated[float, _between(0, 0.9)]


@dataclass(frozen=True)
class Annotate(_Section):
    """The defaults are for callers in Python; the file must name every key."""

    min_bpm: Bpm = 50.0
    max_bpm: Bpm = 200.0
    prior_bpm: Bpm = 100.0
    prior_octaves: Annotated[float, _between(0.05, 10)] = 0.9
    min_confidence: Share = 0.8
    min_tonal_confidence: Share = 0.5
    suspect_confidence: Share = 0.9


@dataclass(frozen=True)
class Augment(_Section):
    seed: Seed
    mode: Mode
    comparable: Flag
    ensembles: Literal["uniform", "traditional"]
    train_mixtures: Count
    validation_mixtures: Count
    min_instruments: Annotated[int, _between(1, 10)]
    max_instruments: Annotated[int, _between(1, 10)]
    max_stretch: Annotated[float, _between(1, 2)]
    tempo_tolerance: Annotated[float, _between(0, 0.2)]
    gain_range_db: Annotated[float, _between(0, 30)]
    align_tonic: Flag
    align_beats: Flag
    reverb: Flag


@dataclass(frozen=True)
class Model(_Section):
    backbone: Text
    revision: Text | None
    finetune: Literal["full", "frozen", "lora"]
    freeze_convolutions: Flag
    spec_augment: Flag
    head_hidden: Annotated[int, _between(1, 65_536)]
    head_dropout: Annotated[float, _between(0, 0.95)]
    lora_rank: Annotated[int, _between(1, 1024)]
    lora_alpha: Annotated[int, _between(1, 1024)]


@dataclass(frozen=True)
class Train(_Section):
    seed: Seed
    epochs: Annotated[int, _between(1, 10_000)]
    batch_size: Annotated[int, _between(1, 4096)]
    accumulate: Annotated[int, _between(1, 4096)]
    learning_rate: LearningRate
    head_learning_rate: LearningRate | None
    weight_decay: Annotated[float, _between(0, 10)]
    warmup_fraction: Share
    schedule: Literal["linear", "cosine", "constant"]
    max_grad_norm: Annotated[float, _between(0, 1e6)]
    pos_weight: Annotated[float, _between(1e-3, 1e3)]
    label_smoothing: Annotated[float, _between(0, 0.9)]
    augmentation: Literal["none", "light", "strong"]


@dataclass(frozen=True)
class Pretrain(_Section):
    """No stage of dvc.yaml: `stages.pretrain` is run by hand."""

    seed: Seed
    recordings: Text
    start: Text
    steps: Annotated[int, _between(1, 100_000_000)]
    batch_size: Annotated[int, _between(1, 4096)]
    learning_rate: LearningRate
    weight_decay: Annotated[float, _between(0, 10)]
    warmup_fraction: Share
    clusters: Annotated[int, _between(2, 65_536)]
    mask_share: Annotated[float, _between(0.01, 0.95)]
    mask_frames: Annotated[int, _between(1, 374)]
    musical_weight: Annotated[float, _between(0, 1e3)]


@dataclass(frozen=True)
class Evaluate(_Section):
    seed: Seed
    bootstrap_rounds: Annotated[int, _between(1, 100_000)]
    label_threshold: Annotated[float, _between(0.01, 1)]


@dataclass(frozen=True)
class Run(_Section):
    """What cannot change a result: no stage declares it, and changing it reruns nothing."""

    engine: Literal["local", "ray"]
    workers: Annotated[int | None, _between(1, 4096)]
    devices: Text
    checkpoint_steps: Count
    gradient_checkpointing: Flag
    cuda_graphs: Flag
    tracking_uri: Text | None


@dataclass(frozen=True)
class Params(_Section):
    data: Data
    demo: Demo
    slice: Slice
    annotate: Annotate
    augment: Augment
    model: Model
    train: Train
    pretrain: Pretrain
    evaluate: Evaluate
    run: Run


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check a parameter file; TarkibError with a line for each value that is wrong."""
    return parse(read(path), str(path))


def read(path: Path | str) -> Any:
    """Content of a parameter file, unchecked; TarkibError where it cannot be read or is not YAML."""
    try:
        return yaml12.read(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror}); run from the project's root") from error
    except UnicodeDecodeError as error:
        raise TarkibError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8 text") from error
    except ValueError as error:
        raise TarkibError(f"{path}: not valid YAML: {error}") from error


def parse(content: Any, name: str = "params.yaml") -> Params:
    """Check nested dicts as a parameter file holds them; errors as in `load`, with `name` as the file's name."""
    try:
        params = TypeAdapter(Params).validate_python(content)
    except ValidationError as error:
        problems = [_problem(*detail["loc"], detail=detail) for detail in error.errors()]
    else:
        problems = [f"annotate.{key}: missing" for key in vars(params.annotate) if key not in content["annotate"]]
        problems += _contradictions(params)
        if not problems:
            return params
    raise TarkibError("\n  ".join([f"{name}: {len(problems)} value(s) to put right:", *problems]))


def _problem(*keys: Any, detail: Any) -> str:
    """One of pydantic's errors in a line: where, what is wrong, and what to write."""
    where = ".".join(quoted(str(key))[1:-1] for key in keys) or "the file"
    if detail["type"] == "missing":
        return f"{where}: missing"
    if detail["type"] in ("unexpected_keyword_argument", "invalid_key"):
        section = Params.__annotations__[keys[0]] if len(keys) == 2 else Params
        near = difflib.get_close_matches(where.rpartition(".")[2], section.__annotations__, n=1)
        return f"{where}: unknown key; " + (f"did you mean {'.'.join([*keys[:-1], *near])}?" if near else "remove it")
    if detail["type"] == "dataclass_type":
        return f"{where}: must hold keys and values, not {quoted(detail['input'])}"
    if detail["type"] == "value_error":
        return f"{where}: {detail['ctx']['error']}"
    return f"{where}: {detail['msg'].replace('Input should', 'must')}, not {quoted(detail['input'])}"


def _contradictions(params: Params) -> Iterator[str]:
    """Values that are allowed alone but not together."""
    if params.annotate.min_bpm * 2 > params.annotate.max_bpm:
        yield "annotate.max_bpm: must be at least twice annotate.min_bpm: tempi are compared modulo octave"
    if params.model.spec_augment and params.model.finetune == "frozen":
        yield "model.spec_augment: has no effect with model.finetune: frozen; set it to false"
    if params.run.devices != "auto" and not DEVICES.fullmatch(params.run.devices):
        devices = quoted(params.run.devices)
        yield f"run.devices: {devices} is unknown; choose auto, cpu, cuda, or a number of them: cuda x 4"
    if params.augment.min_instruments > params.augment.max_instruments:
        yield "augment.min_instruments: greater than augment.max_instruments"
