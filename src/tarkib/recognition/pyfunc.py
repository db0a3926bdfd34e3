"""The classifier as MLflow serves it: recordings in, a table of what plays in them out.

MLflow stores this file beside the weights and runs it to load the model ("models from code"), so nothing is pickled;
what it imports of this package it takes from the copy that is stored there too.

Input
-----
A table (DataFrame, list of dicts, or JSON over HTTP), a recording a row, given in one of three ways:

* `path`: a file that this process can read, of any length and format that can be decoded;
* `audio`: the bytes of such a file, in JSON in base64;
* `samples` and `sample_rate`: a list of numbers within -1..1 (or an array, of 16 bits too, of shape (n,) or
  (channels, n)), and how many there are a second.

Output
------
A DataFrame, a window of five seconds a row: `input` (the row of the input, from 0), `start_s`, `end_s`, `present` (the
instruments whose probability is at or above their threshold), and for each instrument its probability, 0..1, None for
one that the classifier was not trained on. The parameter `hop_s` is the seconds from window to window.
"""

import base64
import binascii
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType, Array

from tarkib.errors import TarkibError
from tarkib.runtime.text import bounded, quoted
from tarkib.vocabulary import INSTRUMENTS

HOP_S = 1.0
"""Seconds from window to window where a call does not say."""

REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "ruamel.yaml",
    "safetensors",
    "scipy",
    "soundfile",
    "soxr",
    "torch",
    "torchaudio",
    "transformers",
)
"""The packages without which this does not predict."""

_WAYS = ("path", "audio", "samples")
_LOUDEST = 100.0


def signature() -> ModelSignature:
    """What MLflow is told of input, output and parameters.

    Columns of the input have no type: MLflow refuses a whole number where a float is declared, and what is missing in a
    row where only some rows have a column. Values are checked row by row here.
    """
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in (*_WAYS, "sample_rate")]),
        outputs=Schema(
            [
                ColSpec(DataType.long, "input"),
                ColSpec(DataType.double, "start_s"),
                ColSpec(DataType.double, "end_s"),
                ColSpec(Array(DataType.string), "present"),
                *(ColSpec(DataType.double, name, required=False) for name in INSTRUMENTS),
            ]
        ),
        params=ParamSchema([ParamSpec("hop_s", DataType.double, HOP_S)]),
    )


class ServedRecogniser(PythonModel):
    """A `tarkib.Recogniser` behind MLflow's interface.

    What is wrong with a call is told by an MlflowException that names the row, over HTTP an answer with status 400.
    """

    def load_context(self, context) -> None:
        """Load the weights from the model's artifacts; TarkibError where they are damaged."""
        from tarkib.recognition import Recogniser

        self.recogniser = Recogniser.load(context.artifacts["classifier"])

    def predict(self, context, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """What plays in each recording of a table, as the module's docstring tells."""
        rows = model_input.to_dict("records")
        if not rows:
            raise _refused("there are no rows with a column path, audio or samples; give a row for each recording")
        hop_s = _hop((params or {}).get("hop_s", HOP_S))
        return pd.concat([self._heard(number, row, hop_s) for number, row in enumerate(rows)], ignore_index=True)

    def _heard(self, number: int, row: Mapping[str, Any], hop_s: float) -> pd.DataFrame:
        """The windows of one row."""
        name = f"row {number}"
        try:
            given = _given(row)
            if len(given) != 1:
                raise TarkibError(
                    f"gives {' and '.join(given) or 'nothing to hear'}; a row has one of path, audio, or samples with "
                    "sample_rate"
                )
            with _sound(given[0], row) as sound:
                if given == ["path"]:
                    name += f": {bounded(sound)}"
                found = self.recogniser(sound, hop_s=hop_s)
        except TarkibError as error:
            raise _refused(f"{name}: {error}") from error
        except OSError as error:
            raise _refused(f"{name}: {error.strerror or error}") from error
        table = found.table()
        present = [
            [label for label, plays in zip(found.labels, window, strict=True) if plays]
            for window in found.window_probabilities >= found.thresholds
        ]
        for label in np.array(found.labels)[~found.trained]:
            # JSON has no NaN.
            table[label] = pd.Series([None] * len(table), dtype=object)
        table.insert(0, "input", number)
        table.insert(3, "present", present)
        return table


def _given(row: Mapping[str, Any]) -> list[str]:
    """In which of the ways a row names a recording; what other rows have is None or NaN in this one."""
    return [way for way in _WAYS if not _absent(row.get(way))]


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


@contextmanager
def _sound(way: str, row: Mapping[str, Any]) -> Iterator[Path | tuple[np.ndarray, int]]:
    """What the recogniser takes, of a row that names a recording in one way."""
    value = row[way]
    if way == "path":
        if not isinstance(value, str | Path) or not str(value):
            raise TarkibError(f"path is {quoted(value)}, not the name of a file")
        yield Path(value)
    elif way == "samples":
        yield _samples(value), _sample_rate(row.get("sample_rate"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            # Without an ending, so that the content decides how it is decoded.
            path = Path(folder, "recording")
            path.write_bytes(_bytes(value))
            yield path


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (AttributeError, binascii.Error, ValueError) as error:
        raise TarkibError("audio is not base64; encode the bytes of a whole sound file") from error


def _samples(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype == np.int16:
        return value
    try:
        samples = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise TarkibError("samples are not numbers; give a list of numbers from -1 to 1") from error
    if samples.ndim == 0:
        raise TarkibError("samples are one number; give a list of them in each row")
    if samples.size and np.max(np.abs(samples)) > _LOUDEST:
        # A list does not say that it was of 16 bits, and read as it is even its noise would pass for sound.
        raise TarkibError(
            f"samples reach {np.max(np.abs(samples)):g}; give numbers from -1 to 1, of 16 bits a 32768th each"
        )
    return samples


def _sample_rate(value: Any) -> int:
    if _absent(value):
        raise TarkibError("samples without sample_rate; say how many there are a second")
    try:
        rate = float(value)
    except (TypeError, ValueError, OverflowError):
        rate = math.nan
    if not rate.is_integer():
        raise TarkibError(f"sample_rate is {quoted(value)}; give a whole number of samples a second")
    return int(rate)


def _hop(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _refused(f"hop_s is {quoted(value)}; give a number of seconds") from error


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedRecogniser())
