"""MLflow: one run an experiment, begun by the train stage and finished by the evaluate stage, and a registered model.

Nothing in here changes a result, and a store that stops answering costs no work: what could not be logged is kept, and
logged when the store is back (`pending`).
"""

import os

# MLflow reads these when it is imported: nothing is reported to anyone, and small copies need no progress bars.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# MLflow would try a server that is down for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
# MLflow refuses stores of files unless this is set; whoever names one has decided.
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
