"""Recorded runs of elsewhere written as rows of MLflow's SQLite file, in one transaction. Knows one schema of it.

MLflow's library takes seconds to load and its client a request for every part of every run. What is written here is
what the client would write, which a test compares; a database of another schema is left to the client.
"""

import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.config.digests import digest
from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.tracking.addresses import sqlite_file, tracking_uri
from pipeline.tracking.database import database_lock
from pipeline.tracking.exchange import UNPACKED, USER, renamed
from pipeline.tracking.moved import follow_home

SCHEMA = "dc11669786a5"
"""MLflow's revision of the tables that are written here."""
WAIT_SECONDS = 30


def takes_rows(home: Home, experiment: str) -> bool:
    """Whether `insert_runs` can write into that experiment; else it takes MLflow: for a server, where there is no
    database or experiment yet, for another schema, and for a database that is damaged, of which MLflow says so."""
    database = sqlite_file(home)
    if database is None:
        return False
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            known = connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA,)]
            return known and _experiment(connection, experiment) is not None
    except sqlite3.Error:
        return False


def insert_runs(
    home: Home, experiment: str, runs: Sequence[Mapping[str, Any]], files: Mapping[str, Path], pack: str
) -> dict[str, str]:
    """Write them into an experiment of a database that `takes_rows`, all or none: old id -> id here.

    `files`: old id -> a folder of its artifacts. The same pack gives the same ids, so that a repeat after a kill copies
    files to where they were.
    """
    database, uri = sqlite_file(home), tracking_uri(home)
    assert database is not None
    try:
        with database_lock(home, uri):
            follow_home(home, uri)
            with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection, connection:
                connection.execute("BEGIN IMMEDIATE")
                found = _experiment(connection, experiment)
                assert found is not None
                number, location = found
                ids = _new_ids(connection, runs, pack)
                for old, folder in files.items():
                    if old in ids:
                        shutil.copytree(folder, _artifacts(location, ids[old]), dirs_exist_ok=True)
                for run in runs:
                    _insert(connection, number, location, run, ids, pack)
            return ids
    except sqlite3.Error as error:
        raise TrackingError(f"the tracking database {database} cannot be written ({error}); check it") from None


def _experiment(connection: sqlite3.Connection, name: str) -> tuple[int, str] | None:
    """The experiment of that name and where its artifacts are, if that is a folder of this machine."""
    query = "SELECT experiment_id, artifact_location FROM experiments WHERE name = ? AND lifecycle_stage = 'active'"
    found = connection.execute(query, (name,)).fetchone()
    return found if found and str(found[1]).startswith("file:///") else None


def _new_ids(connection: sqlite3.Connection, runs: Iterable[Mapping[str, Any]], pack: str) -> dict[str, str]:
    ids = {run["id"]: digest("unpacked", pack, run["id"])[:32] for run in runs}
    for old, new in ids.items():
        if connection.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (new,)).fetchone():  # in MLflow's trash
            ids[old] = uuid.uuid4().hex
    return ids


def _artifacts(location: str, run_id: str) -> Path:
    return Path(unquote(urlsplit(location).path)) / run_id / "artifacts"


def _insert(
    connection: sqlite3.Connection,
    experiment: int,
    location: str,
    run: Mapping[str, Any],
    ids: Mapping[str, str],
    pack: str,
) -> None:
    run_id, tags = ids[run["id"]], {k: renamed(v, ids) for k, v in run["tags"].items()} | {UNPACKED: pack}
    status = run["status"] if run["status"] != "RUNNING" else "KILLED"
    columns = {
        "run_uuid": run_id,
        "name": run["name"],
        "experiment_id": experiment,
        "artifact_uri": f"{location}/{run_id}/artifacts",
        "status": status,
        "lifecycle_stage": "active",
        "start_time": run["start"],
        "end_time": run["end"] or round(time.time() * 1000),
        "user_id": tags.get(USER, "unknown"),
        "source_type": "UNKNOWN",
        **dict.fromkeys(("source_name", "source_version", "entry_point_name"), ""),
    }
    _into(connection, "runs", columns)
    for table, held in (("tags", tags), ("params", run["params"])):
        _into_all(connection, table, ("key", "value"), held.items(), run_id)
    metrics = [(key, value or 0.0, at, step, value is None) for key, value, at, step in run["metrics"]]
    measured = ("key", "value", "timestamp", "step", "is_nan")
    _into_all(connection, "metrics", measured, metrics, run_id)
    _into_all(connection, "latest_metrics", measured, _latest(metrics), run_id)
    for row in run["datasets"]:
        _insert_dataset(connection, experiment, run_id, *row)
    for key, value in run["view"].items():
        connection.execute(
            "INSERT OR REPLACE INTO experiment_tags (key, value, experiment_id) VALUES (?, ?, ?)",
            (renamed(key, ids), renamed(value, ids), experiment),
        )


Metric = tuple[str, float, int, int, bool]
"""Key, value, timestamp, step, whether it is NaN."""


def _latest(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Of every key the metric that MLflow shows: of the last step, the last there, the largest of those."""
    last: dict[str, Metric] = {}
    for metric in metrics:
        _, value, at, step, _ = metric
        held = last.setdefault(metric[0], metric)
        if (step, at, value) > (held[3], held[2], held[1]):
            last[metric[0]] = metric
    yield from last.values()


def _insert_dataset(
    connection: sqlite3.Connection,
    experiment: int,
    run_id: str,
    name: str,
    data_digest: str,
    kind: str,
    source: str,
    profile: str | None,
    tag: str | None,
    value: str | None,
) -> None:
    """A data set, which the runs of an experiment share, and that this run was given it."""
    known = "SELECT dataset_uuid FROM datasets WHERE experiment_id = ? AND name = ? AND digest = ?"
    found = connection.execute(known, (experiment, name, data_digest)).fetchone()
    dataset = found[0] if found else uuid.uuid4().hex
    if not found:
        columns = {"dataset_uuid": dataset, "experiment_id": experiment, "name": name, "digest": data_digest}
        _into(
            connection,
            "datasets",
            columns | {"dataset_source_type": kind, "dataset_source": source, "dataset_profile": profile},
        )
    edge = "SELECT input_uuid FROM inputs WHERE source_id = ? AND destination_id = ?"
    linked = connection.execute(edge, (dataset, run_id)).fetchone()
    given = linked[0] if linked else uuid.uuid4().hex
    if not linked:
        columns = {"input_uuid": given, "source_type": "DATASET", "source_id": dataset, "destination_type": "RUN"}
        _into(connection, "inputs", columns | {"destination_id": run_id})
    if tag:
        _into(connection, "input_tags", {"input_uuid": given, "name": tag, "value": value or ""})


def _into(connection: sqlite3.Connection, table: str, columns: Mapping[str, Any]) -> None:
    marks = ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))


def _into_all(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], run_id: str
) -> None:
    """Rows of a run; one that is there already stays."""
    marks = ", ".join("?" * (len(columns) + 1))
    statement = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}, run_uuid) VALUES ({marks})"
    connection.executemany(statement, ((*row, run_id) for row in rows))
