"""Whether a run is recorded as finished, read from MLflow's SQLite file itself: MLflow takes two seconds to load.

Where nothing can be said - a server, another database, another version of its tables - nothing is, and MLflow is asked.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from pipeline.store.home import Home
from pipeline.tracking.addresses import sqlite_file

FINISHED = """
    SELECT r.run_uuid FROM runs r
    JOIN experiments e ON e.experiment_id = r.experiment_id AND e.name = ? AND e.lifecycle_stage = 'active'
    JOIN tags k ON k.run_uuid = r.run_uuid AND k.key = 'run_key' AND k.value = ?
    LEFT JOIN tags p ON p.run_uuid = r.run_uuid AND p.key = 'mlflow.parentRunId'
    WHERE r.status = 'FINISHED' AND r.lifecycle_stage = 'active' AND p.value IS NULL
    ORDER BY r.start_time LIMIT 1
"""


def finished_run(home: Home, experiment: str, key: str) -> str:
    """The id of the finished run of that key that is nobody's child; "" where there is none, or nothing can be said."""
    found = _asked(home, FINISHED, (experiment, key))
    return str(found[0][0]) if found else ""


def all_finished(home: Home, run_ids: Sequence[str]) -> bool:
    """Whether each of these runs is there and FINISHED; False where nothing can be said."""
    if not run_ids:
        return True
    query = "SELECT COUNT(*) FROM runs WHERE status = 'FINISHED' AND lifecycle_stage = 'active' AND run_uuid IN ({})"
    found = _asked(home, query.format(", ".join("?" * len(run_ids))), run_ids)
    return bool(found) and int(found[0][0]) == len(set(run_ids))


def _asked(home: Home, query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows of the home's SQLite file; none where there is no such file, or it cannot be asked."""
    path = sqlite_file(home)
    if path is None:
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(query, tuple(values)).fetchall()
    except sqlite3.Error:
        return []
