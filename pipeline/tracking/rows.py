"""MLflow's records as rows of its SQLite file: read, and taken out for good, in a tenth of a second. Knows its tables.

MLflow's library takes seconds to load, its client moves a run to a trash and leaves its artifacts on disk, and what
empties the trash is a command. Here a removal is one transaction: the rows, and whatever refers to them by a foreign
key, whichever tables a version of MLflow has.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.store.sqlite import delete_rows, tables_of
from pipeline.tracking.database import database_lock

PARENT = "mlflow.parentRunId"
READ = ("run_key", PARENT, "kind", "study", "reason", "split", "trial", "unpacked")
"""Tags that say which run it is and how it ended."""
WAIT_SECONDS = 10


@dataclass(frozen=True)
class Recorded:
    """A run as MLflow has it."""

    id: str
    name: str
    status: str
    deleted: bool
    """Whether it is in MLflow's trash."""
    started: int
    """Milliseconds since 1970."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Those of READ that it has."""

    @property
    def key(self) -> str:
        """Our key of it; "" for a run of somebody else."""
        return self.tags.get("run_key", "")

    @property
    def parent(self) -> str:
        return self.tags.get(PARENT, "")


def recorded_runs(database: Path) -> list[Recorded]:
    """Every run that carries one of our keys, the oldest first; TrackingError if the file is no database of MLflow."""
    marks = ", ".join("?" * len(READ))
    with _opened(database, write=False) as connection:
        rows = connection.execute(
            "SELECT r.run_uuid, r.name, r.status, r.lifecycle_stage, r.start_time, t.key, t.value FROM runs r "
            f"JOIN tags t ON t.run_uuid = r.run_uuid WHERE t.key IN ({marks}) ORDER BY r.start_time, r.run_uuid",
            READ,
        ).fetchall()
    found: dict[str, Recorded] = {}
    for run_id, name, status, stage, started, key, value in rows:
        run = found.setdefault(run_id, Recorded(run_id, name or "", status, stage == "deleted", started or 0, {}))
        assert isinstance(run.tags, dict)
        run.tags[key] = value
    return [run for run in found.values() if run.key]


def every_run_id(database: Path) -> set[str]:
    """The ids of all runs, ours or not: whose artifacts are somebody's."""
    with _opened(database, write=False) as connection:
        return {row[0] for row in connection.execute("SELECT run_uuid FROM runs")}


def remove_rows(database: Path, run_ids: Sequence[str], *, home: Home, models: Iterable[str] = ()) -> None:
    """Take runs out for good, with their versions of registered models, and the saved views of their children; models
    of these names that have no version left go, too. One transaction; ids that are not there change nothing."""
    with database_lock(home, f"sqlite:///{database}"), _opened(database, write=True) as connection:
        connection.execute("CREATE TEMP TABLE doomed (id TEXT PRIMARY KEY)")
        connection.executemany("INSERT OR IGNORE INTO doomed VALUES (?)", [(run_id,) for run_id in run_ids])
        tables = tables_of(connection)
        doomed = "(SELECT id FROM doomed)"
        for table, column in (
            ("model_versions", "run_id"),
            ("logged_models", "source_run_id"),
            ("inputs", "destination_id"),
            ("inputs", "source_id"),
            ("runs", "run_uuid"),
        ):
            if column in tables.get(table, ()):
                delete_rows(connection, tables, table, f"{column} IN {doomed}")
        for name in models:
            empty = "name NOT IN (SELECT name FROM model_versions WHERE current_stage != 'Deleted_Internal')"
            delete_rows(connection, tables, "registered_models", f"name = {_quoted(name)} AND {empty}")
        connection.execute(
            f"DELETE FROM experiment_tags WHERE key IN (SELECT 'mlflow.sharedViewState.cvae-pipe-' || id FROM {doomed})"
        )
        connection.commit()


def artifact_folders(home: Home, run_ids: Iterable[str]) -> list[Path]:
    """Where this home keeps files of these runs."""
    doomed = set(run_ids)
    return [folder for folder in _run_folders(home) if folder.name in doomed]


def orphaned_artifacts(home: Home, database: Path) -> list[Path]:
    """Folders of artifacts that no run of the database has any more."""
    known = every_run_id(database)
    return [folder for folder in _run_folders(home) if folder.name not in known]


def torn_uploads(home: Home) -> list[Path]:
    """Files that MLflow was copying into this home's artifacts, or is; a kill leaves them, and nothing reads them."""
    return [path for path in (home.mlruns / "artifacts").rglob(".artifact.uploading.*") if path.is_file()]


def _run_folders(home: Home) -> Iterator[Path]:
    """<mlruns>/artifacts/<experiment>/<run id>: 32 hex digits."""
    for folder in sorted((home.mlruns / "artifacts").glob("*/*")):
        if len(folder.name) == 32 and not set(folder.name) - set("0123456789abcdef"):
            yield folder


# ---- SQLite --------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(database: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """A connection; what is not committed is rolled back, and whatever is wrong with the database is one line."""
    address = f"{database.absolute().as_uri()}?mode={'rw' if write else 'ro'}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise TrackingError(
            f"the tracking database {database} cannot be {'written' if write else 'read'} ({error}); "
            "`cvae-pipe doctor` says what is wrong with it"
        ) from None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
