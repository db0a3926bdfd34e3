"""The tracking store: which one is meant, whether it can be used, and what is wrong with it in one line.

It is MLFLOW_TRACKING_URI, else `run.tracking_uri` of params.yaml, else SQLite in the project's root (the original's,
where DVC runs an experiment in a copy), with artifacts beside it. Passwords are never shown.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from tarkib.errors import TarkibError
from tarkib.runtime import project
from tarkib.runtime.locks import file_lock
from tarkib.runtime.text import bounded

EXPERIMENT = "tarkib"

_URI, _USER, _PASSWORD, _TIMEOUT = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_HTTP_REQUEST_TIMEOUT",
)
_SMALL_REQUEST_SECONDS = "10"
_SQLITE = "sqlite:///"
_DATABRICKS = ("databricks", "databricks-uc", "uc")
_LONGEST_REASON = 240

# What goes wrong with a store is one line, ours.
_LOGS = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.utils.databricks_utils": logging.ERROR,
    "urllib3": logging.ERROR,
}

_REASONS = {
    "file is not a database": "it is damaged; move the file away (a new one is made) or bring back a copy",
    "malformed": "it is damaged; move the file away (a new one is made) or bring back a copy",
    "database is locked": "another program keeps it locked; end that program, or wait until it is done",
    "disk is full": "the disk is full; make room",
    "disk I/O error": "it cannot be written; is the disk full?",
    "readonly database": "it may not be written to; give yourself the permission",
    "unable to open database": "it cannot be opened; is its folder there, and may you write into it?",
}


def default() -> Path:
    """The database that is used where nothing else is named."""
    return project.root() / "mlflow.db"


def address(configured: str | None = None) -> str:
    """The store's address for MLflow.

    A relative one is relative to the project's root. User name and password of a server go from the address into
    MLflow's own environment variables, so that no message can show them.

    configured : `run.tracking_uri`. Raises TarkibError where an address is malformed.
    """
    given = (os.environ.get(_URI) or "").strip() or configured
    if not given:
        return _sqlite(default())
    if given in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
        raise TarkibError(
            f"MLFLOW_TRACKING_URI or run.tracking_uri {given}: keeps nothing; name a file, as in {_SQLITE}mlflow.db"
        )
    if given in _DATABRICKS:
        return given
    if given.startswith(_SQLITE):
        path, mark, query = given.removeprefix(_SQLITE).partition("?")
        return given if path.startswith(("/", ":")) else _sqlite(project.root() / unquote(path)) + mark + query
    if given.startswith("file:") and not given.startswith("file://"):
        return (project.root() / unquote(given.removeprefix("file:"))).as_uri()
    if ":" not in given:
        return (project.root() / given).as_uri()
    return _without_credentials(given) if given.startswith(("http:", "https:")) else given


def _sqlite(path: Path) -> str:
    # MLflow and SQLAlchemy read these marks differently. Relative to where the process stands, as a rule the project's
    # root or below, a path is without them.
    return _SQLITE + (quote(os.path.relpath(path)) if any(mark in str(path) for mark in "%?#") else str(path))


def _without_credentials(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError as error:
        raise TarkibError(f"MLFLOW_TRACKING_URI or run.tracking_uri {shown(uri)}: {error}") from None
    if parts.username and parts.password:
        os.environ.setdefault(_USER, unquote(parts.username))
        os.environ.setdefault(_PASSWORD, unquote(parts.password))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown(uri: str) -> str:
    """An address as people may see it: a database's file, or without what stands before an @.

    >>> shown("postgresql://me:secret@host/runs")
    'postgresql://***@host/runs'
    """
    if uri.startswith(_SQLITE):
        return str(Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])).resolve())
    return re.sub(r"//.*@", "//***@", uri)


def connect(configured: str | None) -> None:
    """Choose the tracking store and the experiment, made where it is not there yet.

    Raises TarkibError, within seconds, where the store cannot be used.
    """
    import mlflow

    for name, level in _LOGS.items():
        logging.getLogger(name).setLevel(level)
    choose(configured)
    # A store is set up by the first process that uses it, and two at once would spoil it.
    with usable(), file_lock(project.cache("tracking.lock")):
        # A server decides by itself where artifacts go; for a local store it must not depend on where one stands.
        if mlflow.get_tracking_uri().startswith("sqlite:") and mlflow.get_experiment_by_name(EXPERIMENT) is None:
            mlflow.create_experiment(EXPERIMENT, (project.root() / "mlruns").as_uri())
        mlflow.set_experiment(EXPERIMENT)


def choose(configured: str | None = None) -> None:
    """Let MLflow use the store; raises TarkibError for a database that cannot be opened, and asks no server."""
    import mlflow  # takes seconds to load

    given = os.environ.get(_URI)
    mlflow.set_tracking_uri(address(configured))
    # MLflow writes its choice into the environment, where it would be taken for the user's.
    os.environ.pop(_URI, None)
    if given is not None:
        os.environ[_URI] = given
    with usable():
        _open_database(mlflow.get_tracking_uri())


def _open_database(uri: str) -> None:
    """Open a database once: MLflow would try for two minutes."""
    if uri.startswith(("sqlite:", "postgresql", "mysql", "mssql")):
        import sqlalchemy

        engine = sqlalchemy.create_engine(uri)
        try:
            sqlalchemy.inspect(engine).get_table_names()
        finally:
            engine.dispose()


@contextmanager
def usable() -> Iterator[None]:
    """A block that talks to the store: in seconds for each request, and whatever goes wrong is a TarkibError."""
    import mlflow

    patience = os.environ.get(_TIMEOUT)
    os.environ.setdefault(_TIMEOUT, _SMALL_REQUEST_SECONDS)
    try:
        yield
    except TarkibError:
        raise
    # Stores are anybody's: each database's driver and each of MLflow's plug-ins raises errors of its own.
    except Exception as error:
        raise TarkibError(f"MLflow's store {shown(mlflow.get_tracking_uri())}: {reason(error)}") from error
    finally:
        if patience is None:
            os.environ.pop(_TIMEOUT, None)


@contextmanager
def patiently() -> Iterator[None]:
    """Within `usable`, a block that sends large files, for which MLflow's own time limit is right."""
    ours = os.environ.get(_TIMEOUT) == _SMALL_REQUEST_SECONDS
    if ours:
        del os.environ[_TIMEOUT]
    try:
        yield
    finally:
        if ours:
            os.environ[_TIMEOUT] = _SMALL_REQUEST_SECONDS


def reason(error: BaseException) -> str:
    """What is wrong, and what to do, in one line without passwords."""
    import requests

    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    text = " ".join(map(str, chain))
    for mark, words in _REASONS.items():
        if mark in text:
            return words
    code = status(chain[0])
    other = "or set MLFLOW_TRACKING_URI to another (mlflow.db here where it is unset)"
    if code in (401, 403):
        return f"it refuses access ({code}); set {_USER} and {_PASSWORD}, or MLFLOW_TRACKING_TOKEN, {other}"
    if code:
        return f"it answers with the error {code}; look into the server's log, {other}"
    if any(isinstance(one, requests.exceptions.RequestException) for one in chain):
        return f"it does not answer; start it, {other}"
    if any(isinstance(one, ModuleNotFoundError) for one in chain):
        return f"{chain[0]}; install what this kind of store needs, {other}"
    return f"{_brief(str(chain[0]) or type(chain[0]).__name__)}; correct it, {other}"


def status(error: BaseException) -> int | None:
    """HTTP's status code where a server answered with an error."""
    from mlflow.exceptions import RestException

    if isinstance(error, RestException):
        return error.get_http_status_code()
    found = re.search(r"failed with error code (\d{3})|too many (\d{3}) error responses", str(error))
    return int(found[1] or found[2]) if found else None


def _brief(text: str) -> str:
    """One printable line, bounded, without what stands before an @ in an address and without MLflow's secrets."""
    for name in (_PASSWORD, "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN"):
        if secret := os.environ.get(name):
            text = text.replace(secret, "***")
    return bounded(re.sub(r"//[^/\s]*@", "//***@", text), _LONGEST_REASON)
