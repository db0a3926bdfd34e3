"""The classifier as MLflow serves it: recordings in, a table of what plays in them out (docs/serving.md).

MLflow stores this file beside the weights and runs it to load the model ("models from code"), so nothing is pickled. It
imports the copy of this package that is stored with the model.
"""

import base64
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
from pandas.api.types import is_scalar

from tarkib.errors import TarkibError
from tarkib.runtime.text import bounded, quoted
from tarkib.vocabulary import INSTRUMENTS

HOP_S = 1.0
"""Default seconds from window to window."""

REQUIREMENTS = (
    *("filelock", "mlflow", "numpy", "pandas", "psutil", "pyarrow", "pydantic", "pydantic_core", "ruamel.yaml"),
    *("safetensors", "soundfile", "soxr", "torch", "tqdm"),
)
"""The packages that a prediction needs."""

_FORMS = ("path", "audio", "samples")


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
        """Recognise each recording of a table.

        A row gives `path`, a file that this process can read; or `audio`, the bytes of one, also in base64; or
        `samples` within -1..1, shape (n,) or (channels, n), and `sample_rate`. The parameter `hop_s` is the number of
        seconds from window to window.

        Returns a row per window: `input` (the row of the input, from 0), `start_s`, `end_s`, `present` (the instruments
        at or above their threshold), and each instrument's probability, None where the classifier was not trained.
        """
        rows = model_input.to_dict("records")
        if not rows:
            raise _refused("there are no rows with a column path, audio or samples; give a row for each recording")
        hop_s = (params or {}).get("hop_s", HOP_S)
        return pd.concat([self._windows(number, row, hop_s) for number, row in enumerate(rows)], ignore_index=True)

    def _windows(self, number: int, row: Mapping[str, Any], hop_s: float) -> pd.DataFrame:
        """The windows of one row."""
        name = f"row {number}"
        # A table holds None or NaN in the columns that only other rows have.
        forms = [form for form in _FORMS if not (is_scalar(row.get(form)) and pd.isna(row.get(form)))]
        try:
            if len(forms) != 1:
                given = " and ".join(forms) or "no recording"
                raise TarkibError(f"gives {given}; a row has one of path, audio, or samples with sample_rate")
            with _sound(forms[0], row) as sound:
                if forms == ["path"]:
                    name += f": {bounded(sound)}"
                recognition = self.recogniser.recognise(sound, hop_s)
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


@contextmanager
def _sound(form: str, row: Mapping[str, Any]) -> Iterator[Path | tuple[np.ndarray, int]]:
    """Give the recording of a row as the recogniser takes it."""
    value = row[form]
    if form == "path":
        if not isinstance(value, str | Path) or not str(value):
            raise TarkibError(f"path is {quoted(value)}, not the name of a file")
        yield Path(value)
    elif form == "samples":
        try:
            is_int16 = isinstance(value, np.ndarray) and value.dtype == np.int16
            samples, rate = value if is_int16 else np.asarray(value, np.float64), float(row["sample_rate"])
            if not rate.is_integer():
                raise ValueError(f"a sample rate of {rate}")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise TarkibError(
                "samples or sample_rate are no numbers; give a list of numbers from -1 to 1, and how many there are a "
                "second, a whole number"
            ) from error
        yield samples, int(rate)
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


def _refused(message: str) -> MlflowException:
    return MlflowException(message, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(ServedRecogniser())
