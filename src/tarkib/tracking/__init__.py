"""MLflow: one run per experiment, begun by the train stage and finished by the evaluate stage, and a registered model.

Nothing here changes a result, and a store that fails costs no work: what it did not take is kept and logged later.
"""

import os

# MLflow reads some of these when it is imported.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # By default MLflow retries a dead server for minutes, and waits two for each answer.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Stores of plain files must be allowed; a user who names one has decided.
    "MLFLOW_ALLOW_FILE_STORE": "true",
}.items():
    os.environ.setdefault(_name, _value)
