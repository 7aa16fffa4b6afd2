"""A home that was moved or copied: the locations in its own MLflow database follow it. Knows SQLite and that schema.

MLflow writes absolute paths beside experiments, runs and models. Left alone, later runs of a home that moved would
write their artifacts to where it was, and none would be found where it is.
"""

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import TrackingError
from pipeline.store.home import Home
from pipeline.tracking.addresses import embedded

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)
"""Columns that hold a path."""
OURS = re.compile(r"^(file://.*/mlruns/artifacts)/")
"""How a location begins that a home gave; what it captures is the home's folder of artifacts."""


def follow_home(home: Home, uri: str) -> None:
    """Rewrite the locations of the home's own database that lie in the folder where the home was.

    One whose folder is there still, and not in this home, stays: somebody else's experiment in the same database.
    """
    if uri != f"sqlite:///{embedded(home)}":
        return
    here = (home.mlruns / "artifacts").as_uri()
    try:
        with closing(sqlite3.connect(embedded(home), timeout=30)) as database, database:
            database.execute("BEGIN IMMEDIATE")  # which says at once whether it can be written
            for table, column, before, after in _moves(database, here):
                database.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (after, before))
    except sqlite3.Error as error:
        raise TrackingError(f"the tracking database {embedded(home)} cannot be written ({error})") from None


def _moves(database: sqlite3.Connection, here: str) -> list[tuple[str, str, str, str]]:
    """(table, column, location, where that is now) of everything that moved."""
    found = []
    for table, column in LOCATIONS:
        try:
            rows = database.execute(
                f"SELECT DISTINCT {column} FROM {table} WHERE {column} LIKE 'file://%' AND substr({column}, 1, ?) != ?",
                (len(here) + 1, f"{here}/"),
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):
                raise
            continue  # a table of another version
        for (location,) in rows:
            match = OURS.match(location)
            if match is None:
                continue
            after = here + location.removeprefix(match[1])
            if os.path.isdir(_path(after)) or not os.path.isdir(_path(location)):
                found.append((table, column, location, after))
    return found


def _path(location: str) -> Path:
    return Path(unquote(urlsplit(location).path))
