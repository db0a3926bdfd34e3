"""The classifier as MLflow serves it: recordings in, a table of what plays in them out.

MLflow stores this file beside the weights and runs it to load the model ("models from code"), so nothing is pickled. It
imports the copy of this package that is stored with the model.

Input
-----
A table (DataFrame, list of dicts, or JSON over HTTP) with a recording per row, in one of three forms:

* `path`: a file that this process can read, of any length and format that can be decoded;
* `audio`: the bytes of such a file, in JSON in base64;
* `samples` and `sample_rate`: a list of numbers within -1..1 (or an array, also of int16, of shape (n,) or
  (channels, n)), and the number of samples per second.

Output
------
A DataFrame with a row per window of five seconds: `input` (the row of the input, from 0), `start_s`, `end_s`, `present`
(the instruments at or above their threshold), and each instrument's probability, 0..1, None for one that the classifier
was not trained on. The parameter `hop_s` is the number of seconds from window to window.
"""

import base64
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
"""Default seconds from window to window."""

REQUIREMENTS = (
    *("filelock", "mlflow", "numpy", "pandas", "psutil", "pydantic", "ruamel.yaml", "safetensors", "scipy"),
    *("soundfile", "soxr", "torch", "torchaudio", "transformers"),
)
"""The packages that a prediction needs."""

_FORMS = ("path", "audio", "samples")
_LOUDEST = 100.0


def signature() -> ModelSignature:
    """MLflow's description of input, output and parameters.

    The input's columns have no type: MLflow would refuse a whole number where a float is declared, and a value missing
    in one of several rows. `ServedRecogniser` checks the values.
    """
    windows = [ColSpec(DataType.long, "input"), ColSpec(DataType.double, "start_s"), ColSpec(DataType.double, "end_s")]
    probabilities = [ColSpec(DataType.double, name, required=False) for name in INSTRUMENTS]
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in (*_FORMS, "sample_rate")]),
        outputs=Schema([*windows, ColSpec(Array(DataType.string), "present"), *probabilities]),
        params=ParamSchema([ParamSpec("hop_s", DataType.double, HOP_S)]),
    )


class ServedRecogniser(PythonModel):
    """A `tarkib.Recogniser` behind MLflow's interface.

    A bad call raises an MlflowException that names the row; over HTTP it is answered with status 400.
    """

    def load_context(self, context) -> None:
        """Load the weights from the model's artifacts; TarkibError where they are damaged."""
        from tarkib.recognition import Recogniser

        self.recogniser = Recogniser.load(context.artifacts["classifier"])

    def predict(self, context, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Recognise each recording of a table, in the forms of the module's docstring."""
        rows = model_input.to_dict("records")
        if not rows:
            raise _refused("there are no rows with a column path, audio or samples; give a row for each recording")
        hop_s = (params or {}).get("hop_s", HOP_S)
        return pd.concat([self._windows(number, row, hop_s) for number, row in enumerate(rows)], ignore_index=True)

    def _windows(self, number: int, row: Mapping[str, Any], hop_s: float) -> pd.DataFrame:
        """The windows of one row."""
        name = f"row {number}"
        try:
            # A table holds None or NaN in the columns that only other rows have.
            forms = [form for form in _FORMS if not _is_missing(row.get(form))]
            if len(forms) != 1:
                raise TarkibError(
                    f"gives {' and '.join(forms) or 'no recording'}; a row has one of path, audio, or samples with "
                    "sample_rate"
                )
            with _sound(forms[0], row) as sound:
                if forms == ["path"]:
                    name += f": {bounded(sound)}"
                recognition = self.recogniser(sound, hop_s=hop_s)
        except TarkibError as error:
            raise _refused(f"{name}: {error}") from error
        except OSError as error:
            raise _refused(f"{name}: {error.strerror or error}") from error
        table, labels = recognition.table(), np.array(recognition.labels)
        is_present = recognition.window_probabilities >= recognition.thresholds
        # JSON has no NaN.
        table[labels[~recognition.trained]] = None
        table.insert(0, "input", number)
        table.insert(3, "present", [labels[window].tolist() for window in is_present])
        return table


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


@contextmanager
def _sound(form: str, row: Mapping[str, Any]) -> Iterator[Path | tuple[np.ndarray, int]]:
    """Give the recording of a row as the recogniser takes it."""
    value = row[form]
    if form == "path":
        if not isinstance(value, str | Path) or not str(value):
            raise TarkibError(f"path is {quoted(value)}, not the name of a file")
        yield Path(value)
    elif form == "samples":
        yield _samples(value), _sample_rate(row.get("sample_rate"))
    else:
        try:
            content = value if isinstance(value, bytes) else base64.b64decode("".join(value.split()), validate=True)
        except (AttributeError, ValueError) as error:
            raise TarkibError("audio is not base64; encode the bytes of a whole sound file") from error
        with tempfile.TemporaryDirectory() as folder:
            # Without a suffix, so that the content selects the decoder.
            path = Path(folder, "recording")
            path.write_bytes(content)
            yield path


def _samples(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype == np.int16:
        return value
    try:
        samples = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise TarkibError("samples are not numbers; give a list of numbers from -1 to 1") from error
    if samples.ndim == 0:
        raise TarkibError("samples are a single number; give a list in each row")
    peak = np.max(np.abs(samples), initial=0.0)
    if peak > _LOUDEST:
        # A list does not say that its numbers are int16, and unscaled even their noise would pass for sound.
        raise TarkibError(f"samples reach {peak:g}; give numbers from -1 to 1, those of 16 bits divided by 32768")
    return samples


def _sample_rate(value: Any) -> int:
    if _is_missing(value):
        raise TarkibError("samples without sample_rate; give the number of samples per second")
    try:
        rate = float(value)
    except (TypeError, ValueError, OverflowError):
        rate = math.nan
    if not rate.is_integer():
        raise TarkibError(f"sample_rate is {quoted(value)}; give a whole number of samples per second")
    return int(rate)


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedRecogniser())
