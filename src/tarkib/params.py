"""params.yaml as frozen dataclasses: every value checked, and one error that names all that is wrong.

Each section of the file is a dataclass here and each of its keys a field; the file must hold exactly these keys. What a
field allows stands in its declaration. `run` holds what cannot change a result (engine, workers, device, tracking
address), so no stage declares it and changing it reruns nothing.
"""

import contextlib
import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tarkib.errors import TarkibError

DEVICES = re.compile(r"(cpu|cuda)(?: x ([1-9]\d*))?")
"""How devices are named in `run.devices`, besides `auto`: their kind and, if more than one, their number."""

MODES = ("random", "bpm", "dastgah", "dastgah+bpm")


def _number(low: float, high: float = math.inf, default: Any = dataclasses.MISSING) -> Any:
    """Declare a number from low to high, both ends included; a default serves Python's callers, not the file."""
    return field(default=default, metadata={"low": low, "high": high})


def _choice(*choices: str) -> Any:
    """Declare a word that must be one of the choices."""
    return field(metadata={"choices": choices})


@dataclass(frozen=True)
class Data:
    """Where the solo recordings and the test set are."""

    raw: str
    test: str


@dataclass(frozen=True)
class Demo:
    """The built-in orchestra: how many players an instrument has, how many test excerpts are cut."""

    seed: int = _number(0)
    performers: int = _number(2, 100)
    excerpts: int = _number(1, 10_000)


@dataclass(frozen=True)
class Slice:
    """Cutting recordings into five-second slices."""

    seed: int = _number(0)
    min_seconds: float = _number(0.5, 5.0)
    min_rms_dbfs: float = _number(-120.0, 0.0)
    max_per_recording: int | None = _number(1)
    validation_share: float = _number(0.0, 0.9)


@dataclass(frozen=True)
class Annotate:
    """Estimating tempo, tonic and dastgah."""

    min_bpm: float = _number(20.0, 400.0, 50.0)
    max_bpm: float = _number(20.0, 400.0, 200.0)
    prior_bpm: float = _number(20.0, 400.0, 100.0)
    prior_octaves: float = _number(0.05, 10.0, 0.9)
    min_confidence: float = _number(0.0, 1.0, 0.8)
    min_tonal_confidence: float = _number(0.0, 1.0, 0.5)
    suspect_confidence: float = _number(0.0, 1.0, 0.9)


@dataclass(frozen=True)
class Augment:
    """Mixing slices into polyphony."""

    seed: int = _number(0)
    mode: str = _choice(*MODES)
    ensembles: str = _choice("uniform", "traditional")
    train_mixtures: int = _number(1)
    validation_mixtures: int = _number(1)
    min_instruments: int = _number(1, 10)
    max_instruments: int = _number(1, 10)
    max_stretch: float = _number(1.0, 2.0)
    tempo_tolerance: float = _number(0.0, 0.2)
    gain_range_db: float = _number(0.0, 30.0)
    align_tonic: bool
    align_beats: bool
    reverb: bool


@dataclass(frozen=True)
class Model:
    """The classifier: its backbone and its head."""

    backbone: str
    revision: str | None
    finetune: str = _choice("full", "frozen", "lora")
    freeze_convolutions: bool
    spec_augment: bool
    head_hidden: int = _number(1, 65_536)
    head_dropout: float = _number(0.0, 0.95)
    lora_rank: int = _number(1, 1024)
    lora_alpha: int = _number(1, 1024)


@dataclass(frozen=True)
class Train:
    """Fitting the classifier to the mixtures."""

    seed: int = _number(0)
    epochs: int = _number(1, 10_000)
    batch_size: int = _number(1, 4096)
    accumulate: int = _number(1, 4096)
    learning_rate: float = _number(1e-9, 1.0)
    head_learning_rate: float | None = _number(1e-9, 1.0)
    weight_decay: float = _number(0.0, 10.0)
    warmup_fraction: float = _number(0.0, 1.0)
    schedule: str = _choice("linear", "cosine", "constant")
    max_grad_norm: float = _number(0.0, 1e6)
    pos_weight: float = _number(1e-3, 1e3)


@dataclass(frozen=True)
class Pretrain:
    """Letting a backbone hear music without labels; an entry point of its own, no stage of dvc.yaml."""

    seed: int = _number(0)
    recordings: str
    start: str
    steps: int = _number(1, 100_000_000)
    batch_size: int = _number(1, 4096)
    learning_rate: float = _number(1e-9, 1.0)
    weight_decay: float = _number(0.0, 10.0)
    warmup_fraction: float = _number(0.0, 1.0)
    clusters: int = _number(2, 65_536)
    mask_share: float = _number(0.01, 0.95)
    mask_frames: int = _number(1, 374)
    musical_weight: float = _number(0.0, 1e3)


@dataclass(frozen=True)
class Evaluate:
    """Scoring on the test set."""

    seed: int = _number(0)
    bootstrap_rounds: int = _number(1, 100_000)
    label_threshold: float = _number(0.01, 1.0)


@dataclass(frozen=True)
class Run:
    """What cannot change a result; no stage's parameter."""

    engine: str = _choice("local", "ray")
    workers: int | None = _number(1, 4096)
    devices: str
    checkpoint_steps: int = _number(1)
    gradient_checkpointing: bool
    compile: bool
    tracking_uri: str | None


@dataclass(frozen=True)
class Params:
    """All of params.yaml."""

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
    """Read and check a parameter file.

    Raises TarkibError with one line for each value that is missing, unknown, of the wrong type or out of its range.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror}); run from the project's root") from error
    except yaml.YAMLError as error:
        raise TarkibError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    return parse(content, str(path))


def parse(content: Any, name: str = "params.yaml") -> Params:
    """Check a parameter file's content (nested dicts) and return it typed; errors as in `load`, led by `name`."""
    problems: list[str] = []
    sections = {}
    for section_field, found in _match(Params, content, "", problems):
        section_class = typing.cast(type, section_field.type)
        values = {
            key.name: _value(key, value, f"{section_field.name}.{key.name}", problems)
            for key, value in _match(section_class, found, f"{section_field.name}.", problems)
        }
        if len(values) == len(dataclasses.fields(section_class)):
            sections[section_field.name] = section_class(**values)
    if not problems:
        params = Params(**sections)
        problems.extend(_contradictions(params))
    if problems:
        raise TarkibError("\n  ".join([f"{name}: {len(problems)} value(s) to put right:", *problems]))
    return params


def _match(kind: type, found: Any, prefix: str, problems: list[str]) -> Iterator[tuple[dataclasses.Field, Any]]:
    """Pair a dataclass's fields with a mapping's values; what is missing or unknown goes to `problems`."""
    if not isinstance(found, dict):
        problems.append(f"{prefix.rstrip('.') or 'the file'}: expected keys and values, found {found!r}")
        return
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in found:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else "; remove it"
            problems.append(f"{prefix}{key}: unknown key{hint}")
    for key, one in fields.items():
        if key in found:
            yield one, found[key]
        else:
            problems.append(f"{prefix}{key}: missing")


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "null"}


def _value(declared: dataclasses.Field, value: Any, name: str, problems: list[str]) -> Any:
    """Check one value against its field; `1e-4`, which is text to YAML 1.1, and whole numbers count as numbers."""
    allowed = typing.get_args(declared.type) or (declared.type,)
    if float in allowed and isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) not in allowed:
        wanted = " or ".join(_WORDS[kind] for kind in allowed)
        problems.append(f"{name}: expected {wanted}, found {value!r}")
        return value
    low, high = declared.metadata.get("low", -math.inf), declared.metadata.get("high", math.inf)
    if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
        bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        problems.append(f"{name}: {value!r} is out of range; it must be {bounds}")
    choices = declared.metadata.get("choices")
    if choices and value not in choices:
        problems.append(f"{name}: {value!r} is unknown; choose one of {', '.join(choices)}")
    if isinstance(value, str) and not value.strip():
        problems.append(f"{name}: must not be empty")
    return value


def _contradictions(params: Params) -> Iterator[str]:
    """What no single value shows."""
    if params.annotate.min_bpm * 2 > params.annotate.max_bpm:
        # Tempi are compared modulo octave, so the range must hold one.
        yield "annotate.max_bpm: must be at least twice annotate.min_bpm, a tempo octave"
    if params.model.spec_augment and params.model.finetune == "frozen":
        yield "model.spec_augment: masks nothing where model.finetune is frozen; set it to false"
    if params.run.devices != "auto" and not DEVICES.fullmatch(params.run.devices):
        yield f"run.devices: {params.run.devices!r} is unknown; choose auto, cpu, cuda, or a number of them: cuda x 4"
    if params.augment.min_instruments > params.augment.max_instruments:
        yield "augment.min_instruments: greater than augment.max_instruments"
