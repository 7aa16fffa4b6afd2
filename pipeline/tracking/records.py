"""What is recorded of our runs, and its removal, whichever store MLflow has: rows of a SQLite file, or a server."""

from collections.abc import Callable, Sequence

from pipeline.config.digests import digest
from pipeline.errors import TrackingError, cause
from pipeline.store.home import Home
from pipeline.tracking.addresses import sqlite_file, tracking_uri
from pipeline.tracking.database import checked_uri, is_server, mlflow_module, shown
from pipeline.tracking.rows import READ, Recorded, recorded_runs, remove_rows

EVERY = 50_000
"""Runs that are asked for at once: more than a page of MLflow's, less than its limit."""


def records(home: Home) -> list[Recorded]:
    """Every run that carries one of our keys, the oldest first; none where nothing was recorded yet."""
    database = sqlite_file(home)
    if database is not None:
        return recorded_runs(database)
    if tracking_uri(home).startswith("sqlite:"):
        return []
    return _asked_for(home)


def study_records(found: Sequence[Recorded], name: str) -> list[Recorded]:
    """Of a study: its own run, and its children."""
    own = digest("study", name)[:16]
    parents = {run.id for run in found if run.key == own and run.tags.get("study") == name}
    return [run for run in found if run.id in parents or run.parent in parents]


def ablation_records(found: Sequence[Recorded], name: str) -> list[Recorded]:
    """Of the ablations of a name: their own runs, and their children."""
    parents = {
        run.id
        for run in found
        if run.tags.get("kind") == "study" and run.tags.get("study") == name and run.key != digest("study", name)[:16]
    }
    return [run for run in found if run.id in parents or run.parent in parents]


def single_records(found: Sequence[Recorded], key: str) -> list[Recorded]:
    """Of a run by its key: what was recorded of it by itself, as nobody's trial, final or cell."""
    ours = {run.id for run in found}
    return [run for run in found if run.key == key[:16] and run.parent not in ours]


def forget(home: Home, run_ids: Sequence[str], models: Sequence[str]) -> None:
    """Take records out: for good where MLflow's store is a SQLite file, else into the store's own trash, which
    `mlflow gc` empties where the server runs. What is not there any more is nothing to take out."""
    database = sqlite_file(home)
    if database is not None:
        remove_rows(database, run_ids, home=home, models=models)
        return
    if not run_ids or tracking_uri(home).startswith("sqlite:"):
        return
    exceptions = mlflow_module().exceptions
    client = mlflow_module().MlflowClient(tracking_uri=checked_uri(home))
    try:
        for name in models:
            for version in client.search_model_versions(f"name = '{name}'"):
                if version.run_id in run_ids:
                    client.delete_model_version(name, version.version)
            if not client.search_model_versions(f"name = '{name}'"):
                _if_there(client.delete_registered_model, name)
        for run_id in run_ids:
            _if_there(client.delete_run, run_id)
    except (exceptions.MlflowException, OSError) as error:
        raise _away(home, error) from None


def _if_there(remove: Callable[[str], None], name: str) -> None:
    try:
        remove(name)
    except mlflow_module().exceptions.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise


def _asked_for(home: Home) -> list[Recorded]:
    uri = checked_uri(home)
    client = mlflow_module().MlflowClient(tracking_uri=uri)
    try:
        experiments = [e.experiment_id for e in client.search_experiments()]
        found = client.search_runs(
            experiments, "tags.run_key != ''", order_by=["attributes.start_time ASC"], max_results=EVERY
        )
    except (mlflow_module().exceptions.MlflowException, OSError) as error:
        raise _away(home, error) from None
    return [
        Recorded(
            run.info.run_id,
            run.info.run_name or "",
            run.info.status,
            deleted=False,
            started=run.info.start_time,
            tags={name: value for name, value in run.data.tags.items() if name in READ},
        )
        for run in found
    ]


def _away(home: Home, error: Exception) -> TrackingError:
    uri = tracking_uri(home)
    what = "server" if is_server(uri) else "database"
    return TrackingError(
        f"the tracking {what} at {shown(uri)} does not answer ({cause(error)}); check MLFLOW_TRACKING_URI, or unset it "
        "to look at this home alone"
    )
