"""Logs to MLflow what its store did not accept earlier.

A store that does not answer costs no training: what could not be logged is kept in .cache/tracking. This logs it, and
registers the models, once the store is back. The store is MLFLOW_TRACKING_URI, else run.tracking_uri of params.yaml,
else mlflow.db in this folder.
"""

import argparse

from tarkib import params


def declare(_: argparse.ArgumentParser) -> None:
    """No options."""


def run(_: argparse.Namespace) -> int:
    """Log what is kept; 1 where some of it is still kept."""
    settings = params.load()
    from tarkib.runtime import mlflow_store
    from tarkib.tracking import runs

    if not any(runs.pending()):
        print("nothing is waiting to be logged")
        return 0
    mlflow_store.connect(settings.run.tracking_uri)
    return int(runs.send_pending(print) > 0)
