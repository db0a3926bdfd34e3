"""params.yaml as frozen dataclasses: every value checked, and one error that names all that is wrong.

The file is read as DVC reads it (`tarkib.runtime.yaml12`), so that a stage runs with the values that DVC records of it.

Each section of the file is a dataclass here and each of its keys a field; the file must hold exactly these keys. What a
field allows stands in its declaration. `run` holds what cannot change a result (engine, workers, device, tracking
address), so no stage declares it and changing it reruns nothing.
"""

import dataclasses
import difflib
import re
import types
import typing
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tarkib.errors import TarkibError
from tarkib.runtime import yaml12
from tarkib.runtime.text import quoted

DEVICES = re.compile(r"(cpu|cuda)(?: x ([1-9]\d*))?")
"""How devices are named in `run.devices`, besides `auto`: their kind and, if more than one, their number."""

_MOST_BYTES = 1_000_000
_SEED = 2**32 - 1
"""The greatest seed that every generator takes."""
_MOST = 10_000_000
"""Of mixtures, slices of a recording, or steps: far more than any use of them, and not yet too many to count."""
_MOST_UNKNOWN = 10

MODES = ("random", "bpm", "dastgah", "dastgah+bpm")


def _number(low: float, high: float, default: Any = dataclasses.MISSING) -> Any:
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

    seed: int = _number(0, _SEED)
    performers: int = _number(2, 100)
    excerpts: int = _number(1, 10_000)


@dataclass(frozen=True)
class Slice:
    """Cutting recordings into five-second slices."""

    seed: int = _number(0, _SEED)
    min_seconds: float = _number(0.5, 5.0)
    min_rms_dbfs: float = _number(-120.0, 0.0)
    max_per_recording: int | None = _number(1, _MOST)
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

    seed: int = _number(0, _SEED)
    mode: str = _choice(*MODES)
    ensembles: str = _choice("uniform", "traditional")
    train_mixtures: int = _number(1, _MOST)
    validation_mixtures: int = _number(1, _MOST)
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

    seed: int = _number(0, _SEED)
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

    seed: int = _number(0, _SEED)
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

    seed: int = _number(0, _SEED)
    bootstrap_rounds: int = _number(1, 100_000)
    label_threshold: float = _number(0.01, 1.0)


@dataclass(frozen=True)
class Run:
    """What cannot change a result; no stage's parameter."""

    engine: str = _choice("local", "ray")
    workers: int | None = _number(1, 4096)
    devices: str
    checkpoint_steps: int = _number(1, _MOST)
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
    return parse(read(path), str(path))


def read(path: Path | str) -> Any:
    """A parameter file's content, unchecked; TarkibError where it cannot be read or is not YAML."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise TarkibError(f"{path}: has more than {_MOST_BYTES:,} bytes, so it is no file of parameters")
        return yaml12.read(content.decode())
    except OSError as error:
        raise TarkibError(f"{path}: cannot be read ({error.strerror}); run from the project's root") from error
    except UnicodeDecodeError as error:
        raise TarkibError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8 text") from error
    except ValueError as error:
        raise TarkibError(f"{path}: not valid YAML: {error}") from error


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
        problems.append(f"{prefix.rstrip('.') or 'the file'}: expected keys and values, found {quoted(found)}")
        return
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [quoted(str(key))[1:-1] for key in found if key not in fields]
    for key in unknown[:_MOST_UNKNOWN]:
        near = difflib.get_close_matches(key, fields, n=1)
        hint = f"; did you mean {prefix}{near[0]}?" if near else "; remove it"
        problems.append(f"{prefix}{key}: unknown key{hint}")
    if len(unknown) > _MOST_UNKNOWN:
        problems.append(
            f"{prefix.rstrip('.') or 'the file'}: {len(unknown) - _MOST_UNKNOWN} more unknown keys; remove them"
        )
    for key, one in fields.items():
        if key in found:
            yield one, found[key]
        else:
            problems.append(f"{prefix}{key}: missing")


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "null"}


def _value(declared: dataclasses.Field, value: Any, name: str, problems: list[str]) -> Any:
    """Check one value against its field; a whole number counts as a number."""
    allowed = typing.get_args(declared.type) or (declared.type,)
    kind = float if type(value) is int and float in allowed else type(value)
    if kind not in allowed:
        wanted = " or ".join(_WORDS[one] for one in allowed)
        problems.append(f"{name}: expected {wanted}, found {quoted(value)}")
        return value
    limits, choices = declared.metadata, declared.metadata.get("choices")
    # Before it becomes a floating-point number, of which the greatest whole numbers have none.
    if kind in (int, float) and not limits["low"] <= value <= limits["high"]:
        between = f"between {limits['low']:,} and {limits['high']:,}"
        problems.append(f"{name}: {quoted(value)} is out of range; it must be {between}")
        return value
    if choices and value not in choices:
        problems.append(f"{name}: {quoted(value)} is unknown; choose one of {', '.join(choices)}")
    if kind is str and not value.strip():
        problems.append(f"{name}: must not be empty")
    if kind is str and any(unicodedata.category(one) in ("Cc", "Cs") for one in value):
        problems.append(f"{name}: {quoted(value)} holds control characters; write it without them")
    return float(value) if kind is float else value


def _contradictions(params: Params) -> Iterator[str]:
    """What no single value shows."""
    if params.annotate.min_bpm * 2 > params.annotate.max_bpm:
        # Tempi are compared modulo octave, so the range must hold one.
        yield "annotate.max_bpm: must be at least twice annotate.min_bpm, a tempo octave"
    if params.model.spec_augment and params.model.finetune == "frozen":
        yield "model.spec_augment: masks nothing where model.finetune is frozen; set it to false"
    if params.run.devices != "auto" and not DEVICES.fullmatch(params.run.devices):
        devices = quoted(params.run.devices)
        yield f"run.devices: {devices} is unknown; choose auto, cpu, cuda, or a number of them: cuda x 4"
    if params.augment.min_instruments > params.augment.max_instruments:
        yield "augment.min_instruments: greater than augment.max_instruments"
