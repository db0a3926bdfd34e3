"""MLflow's store: its address, whether it can be used, and what is wrong with it in one line.

The store is MLFLOW_TRACKING_URI, else `run.tracking_uri` of params.yaml, else SQLite in the project's root (that of the
original project where DVC runs an experiment in a copy), with artifacts beside it. Passwords are never shown.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tarkib.errors import TarkibError
from tarkib.runtime import project
from tarkib.runtime.locks import file_lock
from tarkib.runtime.text import bounded

EXPERIMENT = "tarkib"

_URI, _USER, _PASSWORD = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_SQLITE = "sqlite:///"

_LOG_LEVELS = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.utils.databricks_utils": logging.ERROR,
    "urllib3": logging.ERROR,
}

_REASONS = {
    "file is not a database|malformed": "it is damaged; move the file away (a new one is made) or bring back a copy",
    "database is locked": "another program keeps it locked; end that program, or wait until it is done",
    "disk is full": "the disk is full; make room",
    "disk I/O error": "it cannot be written; is the disk full?",
    "readonly database": "it is read-only; change its permissions",
    "unable to open database": "it cannot be opened; is its folder there, and may you write into it?",
}


def default() -> Path:
    """The database used where no store is named."""
    return project.root() / "mlflow.db"


def address(configured: str | None = None) -> str:
    """The store's address for MLflow; `configured` is `run.tracking_uri`, relative to the project's root.

    User name and password of a server move into MLflow's environment variables, so that no message can show them.
    """
    given = (os.environ.get(_URI) or "").strip() or configured
    if not given:
        return _sqlite(default())
    if given in ("sqlite://", _SQLITE, f"{_SQLITE}:memory:"):
        problem = f"is a database in memory, lost at the end; name a file, as in {_SQLITE}mlflow.db"
        raise TarkibError(f"{_URI} or run.tracking_uri {given}: {problem}")
    if given.startswith(_SQLITE):
        path, mark, query = given.removeprefix(_SQLITE).partition("?")
        return given if path.startswith(("/", ":")) else _sqlite(project.root() / unquote(path)) + mark + query
    if given.startswith("file:") and not given.startswith("file://"):
        return (project.root() / unquote(given.removeprefix("file:"))).as_uri()
    if ":" not in given and given not in ("databricks", "databricks-uc", "uc"):
        return (project.root() / given).as_uri()
    if not given.startswith(("http:", "https:")):
        return given
    try:
        parts = urlsplit(given)
        _ = parts.port  # raises where it is not a number
    except ValueError as error:
        raise TarkibError(f"{_URI} or run.tracking_uri {without_password(given)}: {error}") from None
    if parts.username and parts.password:
        os.environ.setdefault(_USER, unquote(parts.username))
        os.environ.setdefault(_PASSWORD, unquote(parts.password))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _sqlite(path: Path) -> str:
    # MLflow and SQLAlchemy decode %, ? and # differently. A path relative to the working directory, usually the
    # project's root, avoids them.
    return _SQLITE + (quote(os.path.relpath(path)) if any(mark in str(path) for mark in "%?#") else str(path))


def without_password(uri: str) -> str:
    """An address for messages: a database's file, or the address without user name and password.

    >>> without_password("postgresql://me:secret@host/runs")
    'postgresql://***@host/runs'
    """
    if uri.startswith(_SQLITE):
        return str(Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])).resolve())
    return re.sub(r"//.*@", "//***@", uri)


def connect(configured: str | None) -> None:
    """Choose the store and the experiment, created if missing; TarkibError, in seconds, where the store is unusable."""
    import mlflow

    for name, level in _LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    select(configured)
    # The first process that uses a store sets it up; two at once would damage it.
    with usable(), file_lock(project.cache("tracking.lock")):
        # A server decides where artifacts go; for a local store that must not depend on the working directory.
        if mlflow.get_tracking_uri().startswith("sqlite:") and mlflow.get_experiment_by_name(EXPERIMENT) is None:
            mlflow.create_experiment(EXPERIMENT, (project.root() / "mlruns").as_uri())
        mlflow.set_experiment(EXPERIMENT)


def select(configured: str | None = None) -> None:
    """Set MLflow's store; TarkibError for a database that cannot be opened. Sends nothing to a server."""
    import mlflow  # takes seconds to load

    uri = address(configured)
    # MLflow writes its choice into the environment, where it would look like the user's.
    with patch.dict(os.environ):
        mlflow.set_tracking_uri(uri)
    with usable():
        if uri.startswith(("sqlite:", "postgresql", "mysql", "mssql")):
            # MLflow itself would try for two minutes.
            import sqlalchemy

            engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
            sqlalchemy.inspect(engine).get_table_names()


@contextmanager
def usable() -> Iterator[None]:
    """Turn any error of the store within the block into a TarkibError: drivers and plug-ins raise their own kinds."""
    import mlflow

    try:
        yield
    except TarkibError:
        raise
    except Exception as error:
        raise TarkibError(f"MLflow's store {without_password(mlflow.get_tracking_uri())}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What is wrong and what to do, in one line without passwords."""
    import requests

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text = " ".join(map(str, chain))
    for pattern, explanation in _REASONS.items():
        if re.search(pattern, text):
            return explanation
    other = f"or set {_URI} to another (mlflow.db here where it is unset)"
    code = status(error)
    if code in (401, 403):
        return f"it refuses access ({code}); set {_USER} and {_PASSWORD}, or MLFLOW_TRACKING_TOKEN, {other}"
    if code:
        return f"it answers with the error {code}; look into the server's log, {other}"
    if any(isinstance(link, requests.exceptions.RequestException) for link in chain):
        return f"it does not answer; start it, {other}"
    if any(isinstance(link, ModuleNotFoundError) for link in chain):
        return f"{error}; install what this kind of store needs, {other}"
    line = str(error) or type(error).__name__
    for name in (_PASSWORD, "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN"):
        if secret := os.environ.get(name):
            line = line.replace(secret, "***")
    line = bounded(re.sub(r"//[^/\s]*@", "//***@", line), 240)
    return f"{line}; correct it, {other}"


def status(error: BaseException) -> int | None:
    """The HTTP status code where a server answered with an error."""
    from mlflow.exceptions import RestException

    if isinstance(error, RestException):
        return error.get_http_status_code()
    match = re.search(r"failed with error code (\d{3})|too many (\d{3}) error responses", str(error))
    return int(match[1] or match[2]) if match else None
