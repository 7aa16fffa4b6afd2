"""How MLflow's store is opened without a race, a wait or a word. Knows addresses; no runs."""

import logging
import os
import re
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from filelock import FileLock

from pipeline.errors import TrackingError, cause
from pipeline.store.home import Home
from pipeline.tracking.addresses import checked_uri, is_server, scrubbed, shown, sqlite_path
from pipeline.tracking.moved import follow_home

if TYPE_CHECKING:
    from mlflow import MlflowClient

CONNECT_SECONDS, ANSWER_SECONDS = 2, 10
"""How long an HTTP request waits for a connection and for its answer. MLflow's own 120 s, seven times with growing
pauses, would hold a sweep for minutes."""


def prepare_store(home: Home) -> None:
    """Create the database behind `tracking_uri(home)` if there is none; TrackingError if it cannot be opened.

    Under a lock, because MLflow's migrations fail when two processes run them at once.
    """
    uri = checked_uri(home)
    if not is_server(uri):
        with database_lock(home, uri):
            open_database(uri)


def opened(home: Home) -> "MlflowClient":
    """A client of the home's store, for reading; a database that is not there is made, one that moved is put right.

    TrackingError if a database cannot be opened; a server is not asked.
    """
    uri = checked_uri(home)
    if is_server(uri):
        return mlflow_module().MlflowClient(tracking_uri=uri)
    with database_lock(home, uri):
        client = open_database(uri)
        follow_home(home, uri)
        _forget_folders()
        return client


def _forget_folders() -> None:
    """Let MLflow look up again where runs keep their artifacts.

    It remembers that by run id for the whole process: of two copies of a home, the second would write into the first.
    """
    from mlflow.tracking._tracking_service import utils

    getattr(utils, "_artifact_repos_cache", {}).clear()


def database_lock(home: Home, uri: str) -> FileLock:
    folder = sqlite_path(uri).parent if uri.startswith("sqlite:") else home.mlruns
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(
            f"{folder} cannot be made ({error.strerror}); set MLFLOW_TRACKING_URI or CVAE_PIPE_HOME"
        ) from None
    return FileLock(folder / ".mlflow.lock")


def open_database(uri: str) -> "MlflowClient":
    """A client of the database, which is created if it is a SQLite file that is not there. Hold the lock."""
    import sqlalchemy

    client_of = mlflow_module().MlflowClient
    try:
        if uri.startswith("sqlite:") and not sqlite_path(uri).exists():
            _create_sqlite(sqlite_path(uri))
        # MLflow tries a database that does not answer ten times over 100 s; ask once before it does.
        patience = {} if uri.startswith("sqlite:") else {"connect_timeout": CONNECT_SECONDS + 1}
        engine = sqlalchemy.create_engine(uri, connect_args=patience)
        sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
        return client_of(tracking_uri=uri)
    except Exception as error:
        reason, hint = scrubbed(cause(error), uri), "check it"
        if isinstance(error, ModuleNotFoundError):
            hint = "install it beside cvae-pipe (for postgresql+psycopg:// that is `pip install 'psycopg[binary]'`)"
        if found := re.search(r"out-of-date database schema \(found version (\w+)", str(error)):
            where = shown(uri) if shown(uri) == uri else '"$MLFLOW_TRACKING_URI"'
            hint = f"run `{sys.executable} -m mlflow db upgrade {where}`"
            if not _is_known(found[1]):
                version = mlflow_module().__version__
                reason = f"its schema {found[1]} is of a newer MLflow than the {version} here"
                hint = "install that one, or set MLFLOW_TRACKING_URI"
        raise TrackingError(f"the tracking database {shown(uri)} cannot be opened ({reason}); {hint}") from None


def _is_known(revision: str) -> bool:
    """Whether this MLflow knows a schema's revision, so that it could upgrade from it."""
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    migrations = Path(mlflow_module().__file__ or "").parent / "store" / "db_migrations"
    try:
        return ScriptDirectory(str(migrations)).get_revision(revision) is not None
    except CommandError:
        return False


def _create_sqlite(path: Path) -> None:
    """Migrate a fresh file aside and rename it: a kill during the seconds this takes leaves no half-made database."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    mlflow_module().MlflowClient(tracking_uri=f"sqlite:///{aside}")
    os.replace(aside, path)


@cache
def mlflow_module() -> ModuleType:
    """The mlflow package, with patience, prints and logs set for this process alone: no environment is touched.

    MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES and MLFLOW_LOGGING_LEVEL still win if they are set.
    """
    # Usage reports to the vendor are off unless somebody asks for them. MLflow reads this one while it is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow 3.17's tables use what SQLAlchemy 2.1 deprecates
        import mlflow
        import mlflow.environment_variables as settings
        import mlflow.store.tracking.sqlalchemy_store
    settings.MLFLOW_HTTP_REQUEST_TIMEOUT.default = (CONNECT_SECONDS, ANSWER_SECONDS)
    # One retry, at once: it is for connections that the server closed while we trained.
    settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 1
    settings.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True
    settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.default = False
    if not settings.MLFLOW_LOGGING_LEVEL.is_set():
        # What matters is raised, or given to on_warning.
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return mlflow
