"""Recorded runs as plain JSON and files, and back through MLflow's client: what a study is handed on with.

Read from the rows of a SQLite file; what a server has stays there. A packaged model, which holds code, is left out:
it is packaged anew where it arrives, by the code that is there.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.store.home import Home
from pipeline.tracking.registry import FOLDER
from pipeline.tracking.rows import Recorded, artifact_folders
from pipeline.tracking.views import TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

UNPACKED = "unpacked"
"""Tag of a run that came with a pack: which pack."""
MOST_METRICS, MOST_OTHERS = 1000, 100
"""What one request of MLflow's may hold."""
USER = "mlflow.user"
"""Tag from which MLflow takes whose run it is, while it is made."""
LONGEST_NAME = 250
"""Of a parameter, metric or tag, as MLflow has it."""


def exported_runs(database: Path, runs: Sequence[Recorded]) -> list[dict[str, Any]]:
    """What MLflow knows of these runs, less their files; parents first."""
    ordered = sorted(runs, key=lambda run: bool(run.parent))
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return [_exported(connection, run) for run in ordered]


def _exported(connection: sqlite3.Connection, run: Recorded) -> dict[str, Any]:
    def rows(query: str, *values: str) -> list[tuple[Any, ...]]:
        return connection.execute(query, values).fetchall()

    end = rows("SELECT end_time FROM runs WHERE run_uuid = ?", run.id)[0][0]
    inputs = rows(
        "SELECT d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_profile, t.name, t.value "
        "FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id "
        "LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid WHERE i.destination_id = ?",
        run.id,
    )
    metrics = "SELECT key, CASE WHEN is_nan THEN NULL ELSE value END, timestamp, step FROM metrics WHERE run_uuid = ?"
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "start": run.started,
        "end": end,
        "params": dict(rows("SELECT key, value FROM params WHERE run_uuid = ?", run.id)),
        "tags": dict(rows("SELECT key, value FROM tags WHERE run_uuid = ?", run.id)),
        "metrics": [list(row) for row in rows(f"{metrics} ORDER BY timestamp, step", run.id)],
        "datasets": [list(row) for row in inputs],
        "view": dict(rows("SELECT key, value FROM experiment_tags WHERE key = ?", f"{TAG}cvae-pipe-{run.id}")),
    }


def exported_files(home: Home, run_id: str) -> dict[str, Path]:
    """The files of a run by their place among its artifacts; its packaged model left out."""
    found = {}
    for folder in artifact_folders(home, [run_id]):
        root = folder / "artifacts"
        for path in sorted(root.rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and not path.is_symlink() and relative.parts[0] != FOLDER:
                found[relative.as_posix()] = path
    return found


STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")


def check_runs(runs: Any) -> None:
    """ValueError for a document that `exported_runs` cannot have written, or that no database would take."""

    def of_text(held: Any) -> bool:
        return isinstance(held, dict) and all(
            isinstance(key, str) and isinstance(value, str) and len(key) <= LONGEST_NAME for key, value in held.items()
        )

    for run in runs if isinstance(runs, list) else [None]:
        right = (
            isinstance(run, dict)
            and all(isinstance(run.get(name), str) for name in ("id", "name", "status"))
            and len(run["id"]) == 32
            and run["status"] in STATUSES
            and _is_64_bit(run.get("start"))
            and (run.get("end") is None or _is_64_bit(run["end"]))
            and all(of_text(run.get(name)) for name in ("params", "tags", "view"))
            and "run_key" in run["tags"]
            and all(name.startswith(TAG) for name in run["view"])
            and _are_rows(run.get("metrics"), (str, float | int | None, int, int))
            and _are_rows(run.get("datasets"), (str, str, str, str, str | None, str | None, str | None))
        )
        if not right:
            raise ValueError("it is no list of runs of MLflow")
    json.dumps(runs, ensure_ascii=False).encode()  # half a pair of surrogates is a UnicodeEncodeError, a ValueError


def _is_64_bit(number: Any) -> bool:
    return isinstance(number, int) and abs(number) < 2**63


def _are_rows(rows: Any, kinds: tuple[Any, ...]) -> bool:
    return isinstance(rows, list) and all(
        isinstance(row, list)
        and len(row) == len(kinds)
        and all(map(isinstance, row, kinds))
        and all(_is_64_bit(part) for part in row if isinstance(part, int))
        for row in rows
    )


def import_runs(
    client: "MlflowClient", experiment_id: str, runs: Sequence[Mapping[str, Any]], files: Mapping[str, Path], pack: str
) -> dict[str, str]:
    """Record them anew, under ids of this store: old id -> new id. `files`: old id -> a folder of its artifacts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    ids: dict[str, str] = {}
    for run in runs:
        known = {"run_key": run["tags"]["run_key"], UNPACKED: pack}  # by which a repeat finds what a kill has left
        known |= {name: value for name, value in run["tags"].items() if name == USER}
        made = client.create_run(experiment_id, start_time=run["start"], run_name=run["name"], tags=known)
        ids[run["id"]] = made.info.run_id
    for run in runs:  # whose texts name each other
        run_id = ids[run["id"]]
        tags = [RunTag(key, renamed(value, ids)) for key, value in run["tags"].items()]
        params = [Param(key, value) for key, value in run["params"].items()]
        metrics = [Metric(k, float("nan") if v is None else v, at, step) for k, v, at, step in run["metrics"]]
        while metrics or params or tags:
            client.log_batch(run_id, metrics[:MOST_METRICS], params[:MOST_OTHERS], tags[:MOST_OTHERS])
            del metrics[:MOST_METRICS], params[:MOST_OTHERS], tags[:MOST_OTHERS]
        for name, digest, kind, source, profile, tag, value in run["datasets"]:
            data = Dataset(name=name, digest=digest, source_type=kind, source=source, profile=profile)
            client.log_inputs(run_id, datasets=[DatasetInput(data, [InputTag(tag, value)] if tag else [])])
        if run["id"] in files:
            client.log_artifacts(run_id, str(files[run["id"]]))
        for key, value in run["view"].items():
            client.set_experiment_tag(experiment_id, renamed(key, ids), renamed(value, ids))
        client.set_terminated(run_id, run["status"] if run["status"] != "RUNNING" else "KILLED", run["end"])
    return ids


def renamed(text: str, ids: Mapping[str, str]) -> str:
    """A text that names runs, with their ids of here: a description, a view, an entry of the ledger."""
    for old, new in ids.items():
        text = text.replace(old, new)
    return text
